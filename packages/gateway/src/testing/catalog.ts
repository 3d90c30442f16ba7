import {
  type Catalog,
  EMPTY_CATALOG,
  type Endpoint,
  groupKind,
  type KubeObject,
  objectKey,
  type Service,
  type ServiceId,
} from '@edgemesh/core';
import { makeService } from '@edgemesh/testkit';

/** A Service with TCP ports, given as `name:port` or a number. */
export function serviceOf(id: ServiceId, ...ports: readonly (number | string)[]): Service {
  return makeService(id, {
    ports: ports.map((text) => {
      const [portName, port, protocol] = String(text).includes(':') ? String(text).split(':') : ['', String(text)];
      return { name: portName ?? '', port: Number(port), protocol: protocol === 'udp' ? 'UDP' : 'TCP' };
    }),
  });
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
