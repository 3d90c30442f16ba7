import {
  type Catalog,
  type CatalogChange,
  type CatalogListener,
  type CatalogView,
  EMPTY_CATALOG,
  type Endpoint,
  type KubeObject,
  type NodeInfo,
  type Service,
  type ServiceId,
} from '@edgemesh/core';

/** A catalog that tests change by hand. */
export interface TestCatalog extends CatalogView {
  /** Replaces a Service and its endpoints; undefined removes it. */
  put(service: Service | undefined, endpoints?: readonly Endpoint[], id?: ServiceId): void;
  nodes(...nodes: NodeInfo[]): void;
  objects(kind: string, ...objects: KubeObject[]): void;
  readonly subscribers: number;
}

export function testCatalog(): TestCatalog {
  let current: Catalog = EMPTY_CATALOG;
  const listeners = new Set<CatalogListener>();
  const publish = (next: Partial<Catalog>, change: Partial<CatalogChange>) => {
    current = { ...current, ...next, revision: current.revision + 1 };
    const none = { services: new Set<ServiceId>(), nodes: new Set<string>(), objects: new Set<string>() };
    for (const listener of listeners) listener(current, { ...none, ...change });
  };
  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    put(service, endpoints = [], id = service?.id) {
      if (id === undefined) throw new TypeError('which Service?');
      const services = new Map(current.services);
      const all = new Map(current.endpoints);
      if (service === undefined) {
        services.delete(id);
        all.delete(id);
      } else {
        services.set(id, service);
        all.set(id, endpoints);
      }
      publish({ services, endpoints: all }, { services: new Set([id]) });
    },
    nodes(...nodes) {
      publish({ nodes: new Map(nodes.map((n) => [n.name, n])) }, { nodes: new Set(nodes.map((n) => n.name)) });
    },
    objects(kind, ...objects) {
      const byName = new Map(objects.map((o) => [`${o.metadata.namespace}/${o.metadata.name}`, o]));
      publish({ objects: new Map([[kind, byName]]) }, { objects: new Set([kind]) });
    },
    get subscribers() {
      return listeners.size;
    },
  };
}

/** A Service `default/<name>` with one TCP port 80. */
export function testService(name: string, overrides: Partial<Service> = {}): Service {
  return {
    id: `default/${name}`,
    namespace: 'default',
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
    ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
    sessionAffinity: { type: 'None' },
    internalTrafficPolicy: 'Cluster',
    externalTrafficPolicy: 'Cluster',
    publishNotReadyAddresses: false,
    hasSelector: true,
    ...overrides,
  };
}

/** A node. */
export function testNode(name: string, internalIP: string, podCIDR?: string): NodeInfo {
  return { name, labels: {}, internalIPs: [internalIP], podCIDRs: podCIDR === undefined ? [] : [podCIDR] };
}
