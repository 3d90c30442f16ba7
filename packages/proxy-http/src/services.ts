import type { Clock, Endpoint, Flow, Logger, Outcome, Random } from '@edgemesh/core';
import type { AccessLogEntry } from './access-log.ts';
import type { HttpMetrics } from './metrics.ts';
import type { HttpLimits } from './options.ts';
import type { RetryBudget } from './retry-budget.ts';
import type { ClusterRef, RouteTable } from './route-model.ts';
import type { UpstreamPools } from './upstream/pools.ts';

/** A cookie that keeps a client at its endpoint. */
export interface SessionCookie {
  readonly name: string;
  readonly path?: string;
  /** Absent or 0: until the client forgets it. */
  readonly ttlMs?: number;
}

/** Chooses endpoints: the balancers of whoever runs the proxy. */
export interface Upstreams {
  /**
   * @param flow reads headers, cookies and query of this request; call its functions as methods
   * @param exclude endpoints already tried, by endpointKey
   */
  pickEndpoint(cluster: ClusterRef, flow: Flow, exclude: ReadonlySet<string>): Endpoint | undefined;
  /**
   * The cookie by which the cluster's balancer keeps clients together, where it shall be made for clients that bring none
   * (DestinationRule `httpCookie` with a ttl).
   */
  sessionCookie?(cluster: ClusterRef): SessionCookie | undefined;
  /** How it went: once per try. */
  report?(cluster: ClusterRef, endpoint: Endpoint, outcome: Outcome): void;
  /** An endpoint is in use from `begin` to `end`. */
  begin?(cluster: ClusterRef, endpoint: Endpoint): void;
  end?(cluster: ClusterRef, endpoint: Endpoint): void;
}

/** What is told to backends and clients about the hop through this proxy. */
export interface ForwardingOptions {
  /**
   * Whether X-Forwarded-*, Forwarded and the request id of a peer are believed: extended and passed on. Else they are
   * replaced. Default: never.
   */
  readonly trust?: (peerAddress: string) => boolean;
  /** Send X-Forwarded-For, -Proto, -Host, -Port. Default true. */
  readonly xForwarded?: boolean;
  /** Send Forwarded (RFC 7239). Default false. */
  readonly forwarded?: boolean;
  /** Pseudonym for Via (RFC 9110 7.6.3) in both directions. Default: none is sent. */
  readonly via?: string;
  /** Header of the request id, lower-case. Default `x-request-id`; empty turns it off. */
  readonly requestIdHeader?: string;
  /** Start a W3C trace where the client has none. Default true; false only passes it through. */
  readonly startTraces?: boolean;
}

/** What the layers work with. */
export interface ProxyServices {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: HttpMetrics;
  readonly routes: () => RouteTable;
  readonly upstreams: Upstreams;
  readonly pools: UpstreamPools;
  readonly forwarding: ForwardingOptions;
  readonly retryBudget: RetryBudget;
  readonly accessLog: ((entry: AccessLogEntry) => void) | undefined;
  /** Requests in flight. */
  active: number;
}
