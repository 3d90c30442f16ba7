import {
  type Catalog,
  type CatalogView,
  createCatalogFeed,
  type Endpoint,
  endpointKey,
  type ServiceId,
} from '@edgemesh/core';

/**
 * The catalog with failing endpoints marked not ready, as the cluster itself would mark them when it could see them. So everything
 * that reads readiness leaves them out: kernel rules, listeners, gateway and names.
 */
export interface CheckedCatalog extends CatalogView, Disposable {
  /** Names the endpoints of a Service that are left out from now on, by {@link endpointKey}. */
  leaveOut(service: ServiceId, keys: ReadonlySet<string>): void;
}

/** Starts with the view as it is. Endpoints that are left out come and go by `leaveOut` alone. */
export function createCheckedCatalog(view: CatalogView): CheckedCatalog {
  const out = new Map<ServiceId, ReadonlySet<string>>();
  const marked = new WeakMap<Endpoint, Endpoint>();
  /** Lists of endpoints stay the same objects while nothing changes in them. */
  const lists = new Map<ServiceId, { from: readonly Endpoint[]; keys: ReadonlySet<string>; to: readonly Endpoint[] }>();

  const mark = (endpoint: Endpoint): Endpoint => {
    let failing = marked.get(endpoint);
    if (failing === undefined) {
      failing = { ...endpoint, ready: false, serving: false };
      marked.set(endpoint, failing);
    }
    return failing;
  };
  const listOf = (id: ServiceId, from: readonly Endpoint[], keys: ReadonlySet<string>) => {
    const before = lists.get(id);
    if (before?.from === from && before.keys === keys) return before.to;
    const to = from.map((endpoint) => (keys.has(endpointKey(endpoint)) ? mark(endpoint) : endpoint));
    lists.set(id, { from, keys, to });
    return to;
  };
  const compute = (revision: number): Catalog => {
    const { current: catalog } = view;
    if (out.size === 0) return catalog.revision === revision ? catalog : { ...catalog, revision };
    const endpoints = new Map(catalog.endpoints);
    for (const [id, keys] of out) {
      const from = catalog.endpoints.get(id);
      if (from !== undefined) endpoints.set(id, listOf(id, from, keys));
    }
    return { ...catalog, endpoints, revision };
  };

  const feed = createCatalogFeed(view.current);
  const next = () => compute(Math.max(feed.current.revision + 1, view.current.revision));
  const unsubscribe = view.subscribe((_, change) => {
    for (const id of change.services) {
      if (view.current.services.has(id)) continue;
      out.delete(id);
      lists.delete(id);
    }
    feed.publish(next(), change);
  });

  return {
    get current() {
      return feed.current;
    },
    subscribe: feed.subscribe,
    leaveOut(service, keys) {
      if (keys.size > 0) out.set(service, keys);
      else if (out.delete(service)) lists.delete(service);
      else return;
      feed.publish(next(), { services: new Set([service]) });
    },
    [Symbol.dispose]() {
      unsubscribe();
      feed[Symbol.dispose]();
    },
  };
}
