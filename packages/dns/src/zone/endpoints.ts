import type { Catalog, Endpoint, Service } from '@edgemesh/core';
import type { DnsServerDeps } from '../options.ts';

/** An endpoint as names see it. */
export interface NamedEndpoint {
  readonly endpoint: Endpoint;
  /** First label of `<hostname>.<service>.<ns>.svc.<zone>`. */
  readonly hostname: string;
  /** The address to answer with. */
  readonly address: string;
}

const TOLERATE_UNREADY = 'service.alpha.kubernetes.io/tolerate-unready-endpoints';

/** `10-0-0-1`, `fd00--1`: an address as a label. */
export function dashed(address: string): string {
  return address.replaceAll('.', '-').replaceAll(':', '-');
}

/** True when the Service has endpoint addresses as its own: `clusterIP: None`, not an alias. */
export function isHeadless(service: Service): boolean {
  return service.headless && service.type !== 'ExternalName';
}

/**
 * The endpoints that have names: ready ones, or all where the Service publishes unready addresses. An endpoint without
 * a hostname is called by its address; where several nodes use one address (docker's 172.17.0.2) by its Pod's name, or
 * by address and node, so that each stays distinguishable.
 */
export function namedEndpoints(
  catalog: Catalog,
  service: Service,
  addressOf: DnsServerDeps['addressOf'],
): NamedEndpoint[] {
  const endpoints = endpointsWithNames(catalog, service);
  const nodeOf = new Map<string, string>();
  const shared = new Set<string>();
  for (const { address, nodeName = '' } of endpoints) {
    if ((nodeOf.get(address) ?? nodeName) !== nodeName) shared.add(address);
    nodeOf.set(address, nodeName);
  }
  return endpoints.map((endpoint) => ({
    endpoint,
    hostname: hostnameOf(endpoint, shared.has(endpoint.address)),
    address: answeredAddress(service, endpoint, addressOf),
  }));
}

/** All addresses that names or their owners may be asked by, without making the names: for an index of 100,000 endpoints. */
export function namedAddresses(
  catalog: Catalog,
  service: Service,
  addressOf: DnsServerDeps['addressOf'],
): Iterable<string> {
  const addresses = new Set<string>(service.clusterIPs);
  for (const endpoint of endpointsWithNames(catalog, service)) {
    addresses.add(endpoint.address);
    addresses.add(answeredAddress(service, endpoint, addressOf));
  }
  return addresses;
}

function endpointsWithNames(catalog: Catalog, service: Service): readonly Endpoint[] {
  const all = service.publishNotReadyAddresses || service.annotations[TOLERATE_UNREADY] === 'true';
  return (catalog.endpoints.get(service.id) ?? []).filter((endpoint) => all || endpoint.ready);
}

function answeredAddress(service: Service, endpoint: Endpoint, addressOf: DnsServerDeps['addressOf']): string {
  return (isHeadless(service) ? addressOf?.(service, endpoint) : undefined) ?? endpoint.address;
}

function hostnameOf(endpoint: Endpoint, shared: boolean): string {
  if (endpoint.hostname) return endpoint.hostname.toLowerCase();
  const own = dashed(endpoint.address);
  if (!shared) return own;
  const pod = endpoint.targetRef?.kind === 'Pod' ? endpoint.targetRef.name : undefined;
  // Pod names may contain dots, labels may not.
  return (pod ?? `${own}-${endpoint.nodeName ?? ''}`).replaceAll('.', '-').toLowerCase().slice(0, 63);
}
