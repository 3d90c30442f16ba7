import {
  type Catalog,
  type CatalogChange,
  type CatalogView,
  createCatalogFeed,
  EMPTY_CATALOG,
  type Endpoint,
  type KubeObject,
  type NodeInfo,
  objectKey,
  parseServiceId,
  type Service,
  type ServiceId,
} from '@edgemesh/core';

/** A ClusterIP Service on 10.96.0.1 with one port `http`, 80/TCP. */
export function makeService(id: ServiceId, overrides: Partial<Service> = {}): Service {
  return {
    id,
    ...parseServiceId(id),
    uid: id,
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

/** A catalog that tests change by hand. Every call is one revision, and one notice to each subscriber. */
export interface TestCatalog extends CatalogView {
  /** Adds or replaces a Service and its endpoints; without them the present ones stay. */
  put(service: Service, endpoints?: readonly Endpoint[]): void;
  remove(id: ServiceId): void;
  /** Replaces all nodes. */
  nodes(...nodes: NodeInfo[]): void;
  /** Replaces all objects of a kind, `Kind.group`. */
  objects(kind: string, ...objects: KubeObject[]): void;
  /** Replaces everything. By default each Service and kind of before and after counts as changed. */
  set(next: Omit<Catalog, 'revision'>, changed?: Partial<CatalogChange>): void;
  /** Publishes a new revision that changes nothing. */
  touch(): void;
  readonly subscribers: number;
}

/** Makes a catalog, empty unless told otherwise. */
export function createTestCatalog(initial: Catalog = EMPTY_CATALOG): TestCatalog {
  const feed = createCatalogFeed(initial);
  const publish = (next: Partial<Catalog>, changed: Partial<CatalogChange>) =>
    feed.publish({ ...feed.current, ...next, revision: feed.current.revision + 1 }, changed);
  return {
    get current() {
      return feed.current;
    },
    get subscribers() {
      return feed.subscribers;
    },
    subscribe: feed.subscribe,
    put(service, endpoints) {
      const { id } = service;
      const { services, endpoints: known } = feed.current;
      const all = new Map(known);
      if (endpoints !== undefined) all.set(id, endpoints);
      publish({ services: new Map(services).set(id, service), endpoints: all }, { services: new Set([id]) });
    },
    remove(id) {
      const services = new Map(feed.current.services);
      const endpoints = new Map(feed.current.endpoints);
      services.delete(id);
      endpoints.delete(id);
      publish({ services, endpoints }, { services: new Set([id]) });
    },
    nodes(...nodes) {
      const byName = new Map(nodes.map((n) => [n.name, n]));
      publish({ nodes: byName }, { nodes: new Set([...feed.current.nodes.keys(), ...byName.keys()]) });
    },
    objects(kind, ...objects) {
      const byKey = new Map(objects.map((object) => [objectKey(object.metadata), object]));
      publish({ objects: new Map(feed.current.objects).set(kind, byKey) }, { objects: new Set([kind]) });
    },
    set(next, changed) {
      const services = new Set([...feed.current.services.keys(), ...next.services.keys()]);
      const objects = new Set([...feed.current.objects.keys(), ...next.objects.keys()]);
      publish(next, { services, objects, ...changed });
    },
    touch: () => publish({}, {}),
  };
}
