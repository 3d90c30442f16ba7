import type { Catalog, CatalogChange, CatalogView, Endpoint, NodeInfo, Service } from '@edgemesh/core';
import { createCatalogFeed, type KubeObject, type ServiceId, serviceId } from '@edgemesh/core';
import { makeService } from '@edgemesh/testkit';

/** A Service with sensible fields; a port `http` 80/TCP unless told otherwise. */
export function service(namespace: string, name: string, fields: Partial<Service> = {}): Service {
  return makeService(serviceId(namespace, name), { clusterIPs: [], ...fields });
}

/** A ready endpoint of port `http` 8080/TCP. */
export function endpoint(address: string, fields: Partial<Endpoint> = {}): Endpoint {
  return {
    address,
    port: 8080,
    protocol: 'TCP',
    portName: 'http',
    ready: true,
    serving: true,
    terminating: false,
    ...fields,
  };
}

export interface Content {
  readonly services?: readonly Service[];
  readonly endpoints?: Readonly<Record<ServiceId, readonly Endpoint[]>>;
  readonly nodes?: readonly NodeInfo[];
  readonly objects?: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>;
}

/** A snapshot with this content. */
export function catalog(content: Content, revision = 1): Catalog {
  return {
    revision,
    services: new Map((content.services ?? []).map((s) => [s.id, s])),
    endpoints: new Map(Object.entries(content.endpoints ?? {}) as [ServiceId, readonly Endpoint[]][]),
    nodes: new Map((content.nodes ?? []).map((n) => [n.name, n])),
    objects: content.objects ?? new Map(),
  };
}

/** A view whose content tests set. */
export interface FakeView extends CatalogView {
  readonly listeners: number;
  publish(content: Content, changed?: Partial<CatalogChange>): void;
}

/** Without content it starts empty, at revision 0. */
export function fakeView(content?: Content): FakeView {
  const feed = createCatalogFeed(content && catalog(content));
  return {
    get current() {
      return feed.current;
    },
    get listeners() {
      return feed.subscribers;
    },
    subscribe: feed.subscribe,
    publish(content, changed) {
      const { revision, services } = feed.current;
      const next = catalog(content, revision + 1);
      feed.publish(next, { services: new Set([...services.keys(), ...next.services.keys()]), ...changed });
    },
  };
}
