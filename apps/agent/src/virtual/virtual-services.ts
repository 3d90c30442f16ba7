import {
  type Catalog,
  type CatalogChange,
  type CatalogView,
  createCatalogFeed,
  type Endpoint,
  type Service,
  type ServiceId,
} from '@edgemesh/core';
import type { AddressPool } from './address-pool.ts';
import { mayBeVirtual, type VirtualTarget, virtualService, virtualTargets } from './plan-virtual.ts';

export interface VirtualServicesOptions {
  readonly view: CatalogView;
  /** Undefined: no virtual addresses, the catalog goes through as it is. */
  readonly pool?: AddressPool | undefined;
  /** Services that are ours to serve. */
  readonly include: (service: Service) => boolean;
  /** True when the kernel cannot reach the endpoint. */
  readonly needsTunnel: (endpoint: Endpoint) => boolean;
  /** Called after assignments have changed: to remember them. */
  readonly changed?: () => void;
}

/**
 * The catalog as the proxy sees it: for each pod of a headless Service that is behind the tunnel there is a Service of this node
 * with one address and that one pod. DNS answers with those addresses ({@link addressOf}), so `db-0.db.shop.svc` leads to the
 * pod across any network, by the same rules and listeners as every ClusterIP.
 */
export interface VirtualServices extends CatalogView, Disposable {
  /** The address that names give for an endpoint; undefined: its own. */
  addressOf(service: Service, endpoint: Endpoint): string | undefined;
  /** Endpoints became reachable by the kernel, or no longer are. */
  recompute(): void;
  /** Calls back with headless Services whose addresses changed without a change of the catalog. */
  onMoved(listener: (services: ReadonlySet<ServiceId>) => void): () => void;
  readonly status: { readonly used: number; readonly full: readonly ServiceId[] };
}

interface Made {
  readonly services: readonly Service[];
  readonly endpoints: ReadonlyMap<ServiceId, readonly Endpoint[]>;
  readonly keys: readonly string[];
  readonly addresses: ReadonlyMap<string, string>;
  readonly full: boolean;
}

const endpointId = (endpoint: Endpoint) => `${endpoint.nodeName}|${endpoint.address}`;

export function createVirtualServices(options: VirtualServicesOptions): VirtualServices {
  const { view, pool, include, needsTunnel } = options;
  const made = new Map<ServiceId, Made>();
  const movedListeners = new Set<(services: ReadonlySet<ServiceId>) => void>();

  const make = (id: ServiceId): Made | undefined => {
    const service = view.current.services.get(id);
    if (pool === undefined || service === undefined || !mayBeVirtual(service) || !include(service)) return undefined;
    return makeFor(service, virtualTargets(view.current.endpoints.get(id) ?? [], needsTunnel), pool);
  };

  /** Makes the virtual Services of these anew; returns the ids of all that came, changed or went. */
  const update = (ids: Iterable<ServiceId>): Set<ServiceId> => {
    const touched = new Set<ServiceId>();
    for (const id of ids) {
      const before = made.get(id);
      const after = make(id);
      if (before === undefined && after === undefined) continue;
      for (const key of before?.keys ?? []) if (!after?.keys.includes(key)) pool?.release(key);
      if (after === undefined || after.keys.length + Number(after.full) === 0) made.delete(id);
      else made.set(id, after);
      for (const service of [...(before?.services ?? []), ...(after?.services ?? [])]) touched.add(service.id);
    }
    if (touched.size > 0) options.changed?.();
    return touched;
  };

  update(view.current.services.keys());
  const feed = createCatalogFeed(merge(view.current, made.values(), view.current.revision));
  const publish = (change: Partial<CatalogChange>, touched: ReadonlySet<ServiceId>) => {
    const all =
      touched.size === 0 ? change : { ...change, services: new Set([...(change.services ?? []), ...touched]) };
    feed.publish(merge(view.current, made.values(), feed.current.revision + 1), all);
  };
  const unsubscribe = view.subscribe((_, change) => publish(change, update(change.services)));

  return {
    get current() {
      return feed.current;
    },
    subscribe: feed.subscribe,
    addressOf: (service, endpoint) => made.get(service.id)?.addresses.get(endpointId(endpoint)),
    recompute() {
      const headless = [...view.current.services.values()].filter(mayBeVirtual).map(({ id }) => id);
      const before = new Map(headless.map((id) => [id, addressText(made.get(id))]));
      const touched = update(headless);
      const moved = new Set(headless.filter((id) => before.get(id) !== addressText(made.get(id))));
      if (moved.size === 0) return;
      publish({}, touched);
      for (const listener of movedListeners) listener(moved);
    },
    onMoved(listener) {
      movedListeners.add(listener);
      return () => void movedListeners.delete(listener);
    },
    get status() {
      const full = [...made].filter(([, { full: isFull }]) => isFull).map(([id]) => id);
      return { used: pool?.used ?? 0, full };
    },
    [Symbol.dispose]() {
      unsubscribe();
      feed[Symbol.dispose]();
      movedListeners.clear();
    },
  };
}

const addressText = (entry: Made | undefined) => JSON.stringify([...(entry?.addresses ?? [])]);

function makeFor(headless: Service, targets: readonly VirtualTarget[], pool: AddressPool): Made {
  const services: Service[] = [];
  const endpoints = new Map<ServiceId, readonly Endpoint[]>();
  const keys: string[] = [];
  const addresses = new Map<string, string>();
  let full = false;
  for (const target of targets) {
    const key = `${headless.id} ${target.key}`;
    const address = pool.take(key);
    if (address === undefined) {
      full = true;
      continue;
    }
    keys.push(key);
    for (const endpoint of target.endpoints) addresses.set(endpointId(endpoint), address);
    const virtual = virtualService(headless, target, address);
    services.push(virtual.service);
    endpoints.set(virtual.service.id, virtual.endpoints);
  }
  return { services, endpoints, keys, addresses, full };
}

function merge(catalog: Catalog, made: Iterable<Made>, revision: number): Catalog {
  const all = [...made].filter(({ services }) => services.length > 0);
  if (all.length === 0) return catalog.revision === revision ? catalog : { ...catalog, revision };
  const services = new Map(catalog.services);
  const endpoints = new Map(catalog.endpoints);
  for (const entry of all) {
    for (const service of entry.services) services.set(service.id, service);
    for (const [id, list] of entry.endpoints) endpoints.set(id, list);
  }
  return { ...catalog, services, endpoints, revision: Math.max(revision, catalog.revision) };
}
