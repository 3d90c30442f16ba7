import type { Catalog, CatalogView, Clock, Dialer, KubeObject, Logger, Metrics, Random, Service } from '@edgemesh/core';
import type { AccessLogEntry, ForwardingOptions, HttpLimits, SessionCookie } from '@edgemesh/proxy-http';
import type { Balancing } from '@edgemesh/proxy-l4';
import type { FollowRef, GatewayPlan } from '../model.ts';
import type { GatewayLimits } from '../options.ts';
import type { AddressOptions, Interfaces } from './addresses.ts';
import type { GatewayStatus } from './status.ts';
import type { StatusPublisher } from './status-publication.ts';

/** Where the gateway listens, what it takes for its own, and its limits. */
export interface GatewayOptions extends AddressOptions {
  readonly clusterDomain?: string;
  /** Labels that selectors of Istio Gateways must match. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly controllerName?: string;
  readonly limits?: Partial<GatewayLimits>;
  /** Limits of the HTTP engine. */
  readonly http?: Partial<HttpLimits>;
  readonly forwarding?: ForwardingOptions;
}

/** What the gateway works with. */
export interface GatewayDeps {
  readonly view: CatalogView;
  readonly balancing: Balancing;
  /** Reaches endpoints: the local kernel, the tunnel, or both. */
  readonly dialer: Dialer;
  /** The cookie that keeps clients of a Service port at their endpoint, where one shall be made for clients without it. */
  readonly sessionCookie?: (service: Service, port: number, subset?: string) => SessionCookie | undefined;
  /** The DestinationRule that binds to a Service. */
  readonly destinationRule?: (service: Service, catalog: Catalog) => KubeObject | undefined;
  /** Told what must be in the catalog beside routes and Services: Secrets, ConfigMaps, Pods of a namespace. */
  readonly follow?: (refs: readonly FollowRef[]) => void;
  /** Writes statuses of Gateway API objects and Ingresses back to where they come from. */
  readonly statusWriter?: StatusPublisher;
  readonly interfaces?: () => Interfaces;
  readonly accessLog?: (entry: AccessLogEntry) => void;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** A running gateway. */
export interface Gateway extends AsyncDisposable {
  /** The plan in force. */
  readonly plan: GatewayPlan;
  status(): GatewayStatus;
  /** Looks at the node's addresses at once instead of at the next poll. Resolves when the listeners have followed. */
  refresh(): Promise<void>;
}
