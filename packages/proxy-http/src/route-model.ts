import type { ServiceId } from '@edgemesh/core';

/*
 * The route model: what Istio VirtualServices, Gateway API routes and Ingresses are compiled to. Plain immutable data. Order
 * is precedence everywhere: the first route of a virtual host that matches wins, so a compiler sorts by its own rules.
 * Percentages are numbers from 0 to 100, times are milliseconds, header names are lower-case, regular expressions are RE2
 * syntax and always match the whole value (see `regex/`).
 */

/** Everything a listener routes by, at one moment. Readers keep the reference; a change makes a new table. */
export interface RouteTable {
  readonly virtualHosts: readonly VirtualHost[];
}

/**
 * Routes of a set of host names. The most specific pattern wins: exact, then the longest `*.suffix`, then the longest
 * `prefix.*`, then `*`. Virtual hosts that share a pattern are merged in their order.
 */
export interface VirtualHost {
  /** For logs and metrics. */
  readonly name: string;
  /** `shop.example.com`, `*.example.com` (one or more labels), `shop.*`, or `*`. Any case, without port, IPv6 without brackets. */
  readonly hosts: readonly string[];
  readonly routes: readonly Route[];
  /** When no route matches, go on with the next less specific virtual host instead of answering 404. Default false. */
  readonly fallThrough?: boolean;
}

/** What to do with the requests that match. */
export interface Route {
  /** For logs and metrics, e.g. `default/shop/0`. */
  readonly name: string;
  /** One of them must match; empty means every request. */
  readonly matches: readonly RouteMatch[];
  readonly action: RouteAction;
  readonly requestHeaders?: HeaderOps;
  readonly responseHeaders?: HeaderOps;
  readonly cors?: CorsPolicy;
  readonly fault?: FaultPolicy;
}

/** All given parts must match. */
export interface RouteMatch {
  /** Against the path without query. */
  readonly path?: PathMatch;
  readonly method?: StringMatch;
  readonly headers?: readonly NamedMatch[];
  /** None of these may match. A missing header never matches. */
  readonly withoutHeaders?: readonly NamedMatch[];
  /** Query parameters, decoded; the first of several with one name counts. Names are case-sensitive. */
  readonly query?: readonly NamedMatch[];
  /** Against Host or `:authority` as sent, port included where the client sent one. */
  readonly authority?: StringMatch;
  /** `http` or `https`, as the client connected. */
  readonly scheme?: StringMatch;
  /** Port that the client connected to. */
  readonly port?: number;
}

/**
 * `exact` is equality; `prefix` is textual (Istio: `/api` matches `/apiary`); `segments` is by path segment (Gateway API:
 * `/api` and `/api/` match `/api`, `/api/` and `/api/x`, not `/apiary`); `regex` is the whole path.
 */
export interface PathMatch {
  readonly kind: 'exact' | 'prefix' | 'segments' | 'regex';
  readonly value: string;
  readonly ignoreCase?: boolean;
}

/** How one string is compared. `present` matches any value that is there. */
export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix' | 'regex'; readonly value: string; readonly ignoreCase?: boolean }
  | { readonly kind: 'present' };

/** A header or query parameter and how its value is compared. Values of repeated headers are joined by `,`. */
export interface NamedMatch {
  readonly name: string;
  readonly match: StringMatch;
}

/** Forward to a backend, or answer at once. */
export type RouteAction = ForwardAction | RedirectAction | RespondAction;

/** Send the request to one of the backends. */
export interface ForwardAction {
  readonly kind: 'forward';
  /** Chosen per request by weight. None, or a total of 0: 500 (Gateway API's rule). */
  readonly backends: readonly WeightedBackend[];
  readonly rewrite?: Rewrite;
  /** For the whole request with its retries, until the response has begun; 0 or absent is no limit. Else 504. */
  readonly timeoutMs?: number;
  readonly retries?: RetryPolicy;
  readonly mirrors?: readonly Mirror[];
}

/** A share of the requests. */
export interface WeightedBackend {
  readonly weight: number;
  /** Absent: the reference could not be resolved, and its share is answered with `invalidStatus`. */
  readonly cluster?: ClusterRef;
  /** Default 500. */
  readonly invalidStatus?: number;
  readonly requestHeaders?: HeaderOps;
  readonly responseHeaders?: HeaderOps;
}

/** A Service port, or a subset of one, and how to speak to its endpoints. */
export interface ClusterRef {
  /** Identity: two references with one key are the same cluster. E.g. `default/shop:80/v2`. */
  readonly key: string;
  readonly service: ServiceId;
  /** Service port number. */
  readonly port: number;
  /** Subset of the DestinationRule. */
  readonly subset?: string;
  /**
   * `http1`; `h2` (prior knowledge without TLS, ALPN with); `auto`: h2 for gRPC requests, else http1. Upgrades (WebSocket)
   * always go by http1.
   */
  readonly protocol: 'http1' | 'h2' | 'auto';
  /** Speak TLS to the endpoints. */
  readonly tls?: UpstreamTls;
}

/** TLS towards endpoints (DestinationRule `tls`, BackendTLSPolicy). PEM texts. */
export interface UpstreamTls {
  /** SNI, and the name that the certificate must carry. */
  readonly serverName?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Default false: a certificate that cannot be verified is a 502. */
  readonly insecureSkipVerify?: boolean;
}

/** Changes of what is sent upstream. */
export interface Rewrite {
  readonly path?: PathRewrite;
  /** New Host / `:authority`. */
  readonly host?: string;
}

/**
 * `prefix` replaces what the route's path match has matched: textually for `prefix` matches, by segment for `segments`
 * matches (slashes as in Gateway API's table), all of the path for `exact` and `regex` matches. `full` replaces the whole
 * path. `regex` replaces every match; `\1` in the substitution is the first group, `\0` the whole. The query is kept.
 */
export type PathRewrite =
  | { readonly kind: 'prefix' | 'full'; readonly value: string }
  | { readonly kind: 'regex'; readonly pattern: string; readonly substitution: string };

/** Answer with a Location. Absent parts are taken from the request. */
export interface RedirectAction {
  readonly kind: 'redirect';
  readonly status: 301 | 302 | 303 | 307 | 308;
  readonly scheme?: 'http' | 'https';
  readonly host?: string;
  /**
   * `scheme` is the default port of the resulting scheme, `request` the port that the client connected to. Absent: `scheme`
   * where a scheme is given, else `request`. Default ports are left out of the Location.
   */
  readonly port?: number | 'scheme' | 'request';
  readonly path?: PathRewrite;
  readonly stripQuery?: boolean;
}

/** Answer with fixed content. */
export interface RespondAction {
  readonly kind: 'respond';
  readonly status: number;
  readonly body?: string;
  /** Default `text/plain; charset=utf-8`. */
  readonly contentType?: string;
}

/** Applied in the order remove, set, add. Values are literal. `host` is set by a rewrite, not here. */
export interface HeaderOps {
  readonly set?: readonly HeaderField[];
  readonly add?: readonly HeaderField[];
  readonly remove?: readonly string[];
}

/** Lower-case name, value. */
export type HeaderField = readonly [name: string, value: string];

/**
 * When another try may be made. All but `connect-failure` and `refused-stream` (nothing was processed) hold for idempotent
 * requests (RFC 9110 9.2.2) or where `nonIdempotent` is set, and only while no byte of the body had to be dropped.
 */
export type RetryCondition =
  | 'connect-failure'
  | 'refused-stream'
  | 'reset'
  | '5xx'
  | 'gateway-error'
  | 'retriable-4xx'
  | 'per-try-timeout';

/** Further tries of one request, each on another endpoint where there is one. */
export interface RetryPolicy {
  /** Tries after the first. */
  readonly attempts: number;
  readonly on: readonly RetryCondition[];
  /** Statuses that are retried on top of the conditions. */
  readonly statuses?: readonly number[];
  /** Until the response of one try has begun; 0 or absent is no limit. */
  readonly perTryTimeoutMs?: number;
  /** First pause between tries, doubling, with jitter. Default: `retryBackoffMs` of the options. */
  readonly backoffMs?: number;
  /** Retry POST, PATCH and other methods that are not idempotent, too. Default false. */
  readonly nonIdempotent?: boolean;
}

/** Send a copy of a share of the requests to another cluster; its answer is dropped. */
export interface Mirror {
  readonly cluster: ClusterRef;
  readonly percent: number;
}

/** Faults on purpose. Delay comes first, then abort. */
export interface FaultPolicy {
  readonly delay?: { readonly percent: number; readonly ms: number };
  readonly abort?: { readonly percent: number; readonly status: number; readonly grpcStatus?: number };
}

/** Fetch standard, CORS protocol. Preflights of allowed origins are answered with 204 here. */
export interface CorsPolicy {
  readonly allowOrigins: readonly StringMatch[];
  /** `*` is any. */
  readonly allowMethods?: readonly string[];
  /** `*` is any. */
  readonly allowHeaders?: readonly string[];
  readonly exposeHeaders?: readonly string[];
  readonly maxAgeSeconds?: number;
  readonly allowCredentials?: boolean;
  /** Preflights of other origins: to the backend (default), or answered here without CORS headers. */
  readonly unmatchedPreflights?: 'forward' | 'answer';
}

/** The table that answers 404 to everything. */
export const EMPTY_ROUTE_TABLE: RouteTable = Object.freeze({ virtualHosts: [] });
