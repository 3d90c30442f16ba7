import {
  type Catalog,
  type CatalogListener,
  type CatalogView,
  EMPTY_CATALOG,
  type Endpoint,
  groupKind,
  type KubeObject,
  objectKey,
  type Service,
  serviceId,
} from '@edgemesh/core';

/** A Service with TCP ports, given as `name:port` or a number. */
export function serviceOf(id: string, ...ports: readonly (number | string)[]): Service {
  const [namespace, name] = id.split('/') as [string, string];
  return {
    id: serviceId(namespace, name),
    namespace,
    name,
    uid: id,
    labels: {},
    annotations: {},
    type: 'ClusterIP',
    clusterIPs: ['10.96.0.1'],
    headless: false,
    externalIPs: [],
    loadBalancerIngress: [],
    loadBalancerSourceRanges: [],
    ports: ports.map((text) => {
      const [portName, port, protocol] = String(text).includes(':') ? String(text).split(':') : ['', String(text)];
      return { name: portName ?? '', port: Number(port), protocol: protocol === 'udp' ? 'UDP' : 'TCP' };
    }),
    sessionAffinity: { type: 'None' },
    internalTrafficPolicy: 'Cluster',
    externalTrafficPolicy: 'Cluster',
    publishNotReadyAddresses: false,
    hasSelector: true,
  };
}

/** An endpoint of a Service port on this machine. */
export function endpointOf(port: number, portName = '', more: Partial<Endpoint> = {}): Endpoint {
  return {
    address: '127.0.0.1',
    port,
    protocol: 'TCP',
    portName,
    ready: true,
    serving: true,
    terminating: false,
    ...more,
  };
}

/** A catalog of these things. */
export function catalogOf(
  services: readonly Service[],
  objects: readonly unknown[] = [],
  endpoints: Readonly<Record<string, readonly Endpoint[]>> = {},
): Catalog {
  const byKind = new Map<string, Map<string, KubeObject>>();
  for (const object of objects as readonly KubeObject[]) {
    const kind = byKind.get(groupKind(object)) ?? new Map<string, KubeObject>();
    byKind.set(groupKind(object), kind);
    kind.set(objectKey(object.metadata), object);
  }
  return {
    ...EMPTY_CATALOG,
    services: new Map(services.map((service) => [service.id, service])),
    endpoints: new Map(Object.entries(endpoints)) as Catalog['endpoints'],
    objects: byKind,
  };
}

/** A view whose catalog a test replaces. */
export function viewOf(initial: Catalog): CatalogView & { set(next: Catalog): void } {
  const listeners = new Set<CatalogListener>();
  let current = initial;
  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    set(next) {
      const previous = current;
      current = { ...next, revision: previous.revision + 1 };
      const services = new Set([...previous.services.keys(), ...next.services.keys()]);
      const objects = new Set([...previous.objects.keys(), ...next.objects.keys()]);
      for (const listener of listeners) listener(current, { services, nodes: new Set(), objects });
    },
  };
}
