import {
  type Catalog,
  type CatalogListener,
  type CatalogView,
  EMPTY_CATALOG,
  type Endpoint,
  type Service,
  type ServiceId,
  type ServicePort,
} from '@edgemesh/core';

/** A catalog that tests change at will. */
export interface TestCatalog extends CatalogView {
  /** Adds or replaces a Service and its endpoints; without them the present ones stay. */
  put(service: Service, endpoints?: readonly Endpoint[]): void;
  remove(id: ServiceId): void;
  /** Publishes a new revision that changes nothing. */
  touch(): void;
}

/** Makes an empty catalog. */
export function createTestCatalog(): TestCatalog {
  let current: Catalog = EMPTY_CATALOG;
  const listeners = new Set<CatalogListener>();
  const publish = (services: Catalog['services'], endpoints: Catalog['endpoints'], changed: ServiceId[]) => {
    current = { ...current, revision: current.revision + 1, services, endpoints };
    const change = { services: new Set(changed), nodes: new Set<string>(), objects: new Set<string>() };
    for (const listener of listeners) listener(current, change);
  };
  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    put(service, endpoints) {
      publish(
        new Map(current.services).set(service.id, service),
        endpoints === undefined ? current.endpoints : new Map(current.endpoints).set(service.id, endpoints),
        [service.id],
      );
    },
    remove(id) {
      const services = new Map(current.services);
      const endpoints = new Map(current.endpoints);
      services.delete(id);
      endpoints.delete(id);
      publish(services, endpoints, [id]);
    },
    touch: () => publish(current.services, current.endpoints, []),
  };
}

/** A ClusterIP Service in namespace `shop`. */
export function makeService(name: string, ports: readonly ServicePort[], overrides: Partial<Service> = {}): Service {
  return {
    id: `shop/${name}`,
    namespace: 'shop',
    name,
    uid: name,
    labels: {},
    annotations: {},
    type: 'ClusterIP',
    clusterIPs: ['10.96.0.1'],
    headless: false,
    externalIPs: [],
    loadBalancerIngress: [],
    loadBalancerSourceRanges: [],
    ports,
    sessionAffinity: { type: 'None' },
    internalTrafficPolicy: 'Cluster',
    externalTrafficPolicy: 'Cluster',
    publishNotReadyAddresses: false,
    hasSelector: true,
    ...overrides,
  };
}
