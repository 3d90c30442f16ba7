import type { Endpoint } from './endpoint.ts';
import type { GroupKind, KubeObject } from './kube-object.ts';
import type { Service, ServiceId } from './service.ts';

/** A node of the cluster, as far as traffic needs it. */
export interface NodeInfo {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly internalIPs: readonly string[];
  /** CIDRs, IPv4 and IPv6. */
  readonly podCIDRs: readonly string[];
  readonly zone?: string;
}

/**
 * Everything the data side knows about names and intents at one moment. Immutable: readers keep a reference as long as
 * they like and never lock or await.
 */
export interface Catalog {
  /** Grows by one with every published change; starts at 0 (empty). */
  readonly revision: number;
  readonly services: ReadonlyMap<ServiceId, Service>;
  /** Endpoints by Service, in a canonical order that does not depend on the order of events. */
  readonly endpoints: ReadonlyMap<ServiceId, readonly Endpoint[]>;
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  /** Every other kind, raw, by `Kind.group` and then by `namespace/name`. */
  readonly objects: ReadonlyMap<GroupKind, ReadonlyMap<string, KubeObject>>;
}

/** What differs from the previous revision. A Service is listed when it or its endpoints changed, came or went. */
export interface CatalogChange {
  readonly services: ReadonlySet<ServiceId>;
  readonly nodes: ReadonlySet<string>;
  readonly objects: ReadonlySet<GroupKind>;
}

export type CatalogListener = (catalog: Catalog, change: CatalogChange) => void;

/** The one port through which modules learn of names: an immutable snapshot and a notice of change. */
export interface CatalogView {
  readonly current: Catalog;
  /** Calls the listener on every later change, synchronously and in order. Returns the unsubscribe function. */
  subscribe(listener: CatalogListener): () => void;
}

/** The catalog before anything is known. */
export const EMPTY_CATALOG: Catalog = Object.freeze({
  revision: 0,
  services: new Map(),
  endpoints: new Map(),
  nodes: new Map(),
  objects: new Map(),
});
