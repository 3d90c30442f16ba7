import { ipVersion, type Service, type ServiceId, type ServicePort } from '@edgemesh/core';

/**
 * How Services are offered to local clients.
 * - `none`: only through `ServiceProxy.upstream` and `dial`.
 * - `loopback`: on the ClusterIP itself, for ClusterIPs in 127.0.0.0/8: a node without root, a demo.
 * - `mapped`: each Service port on a port of `address` that the kernel chooses; `ServiceProxy.mappings` tells the rules
 *   that send ClusterIP traffic there. Node cannot ask for the original destination, so the port says it.
 */
export type ServiceListeners =
  | { readonly mode: 'none' }
  | { readonly mode: 'loopback' }
  | {
      readonly mode: 'mapped';
      readonly address: string;
      /** Its twin of the other family; without it, Services have listeners of the one family only. */
      readonly otherAddress?: string;
    };

/** One listener of a Service port. */
export interface ListenerSpec {
  readonly service: ServiceId;
  readonly port: ServicePort;
  readonly protocol: 'TCP' | 'UDP';
  readonly listen: { readonly host: string; readonly port: number };
}

/** The listeners that a Service wants, by a key that says all about them. */
export function wantedListeners(
  service: Service | undefined,
  listeners: ServiceListeners,
  include: (service: Service) => boolean,
): Map<string, ListenerSpec> {
  const wanted = new Map<string, ListenerSpec>();
  if (listeners.mode === 'none' || service === undefined) return wanted;
  if (service.type === 'ExternalName' || service.clusterIPs.length === 0 || !include(service)) return wanted;
  for (const port of service.ports) {
    const { protocol } = port;
    if (protocol === 'SCTP') continue;
    for (const listen of listenAddresses(service, port, listeners)) {
      const key = `${service.id} ${port.name} ${port.port} ${protocol} ${listen.host} ${listen.port}`;
      wanted.set(key, { service: service.id, port, protocol, listen });
    }
  }
  return wanted;
}

function listenAddresses(
  service: Service,
  port: ServicePort,
  listeners: Exclude<ServiceListeners, { mode: 'none' }>,
): { host: string; port: number }[] {
  if (listeners.mode === 'mapped') {
    const all = hosts(listeners);
    const families = new Set(service.clusterIPs.map(ipVersion));
    const ours = all.length === 1 ? all : all.filter((host) => families.has(ipVersion(host)));
    return ours.map((host) => ({ host, port: 0 }));
  }
  return service.clusterIPs.filter((ip) => ip.startsWith('127.')).map((host) => ({ host, port: port.port }));
}

/** The addresses of mapped listeners. */
export function hosts({ address, otherAddress }: Extract<ServiceListeners, { mode: 'mapped' }>): readonly string[] {
  return otherAddress === undefined ? [address] : [address, otherAddress];
}
