import { formatIp } from '@edgemesh/core';
import type { Name } from '../wire/name.ts';
import { isHeadless, namedEndpoints } from './endpoints.ts';
import type { ZoneContext } from './types.ts';

/** The address that a whole reverse name spells (RFC 1035 3.5, RFC 3596 2.5), canonical; undefined for any other name. */
export function reverseAddress(name: Name): string | undefined {
  if (name.at(-1) !== 'arpa') return undefined;
  if (name.at(-2) === 'in-addr' && name.length === 6) {
    const octets = name.slice(0, 4).reverse();
    const sound = octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256);
    return sound ? octets.join('.') : undefined;
  }
  if (name.at(-2) !== 'ip6' || name.length !== 34) return undefined;
  const nibbles = name.slice(0, 32).reverse();
  if (!nibbles.every((nibble) => /^[0-9a-f]$/.test(nibble))) return undefined;
  return formatIp(Buffer.from(nibbles.join(''), 'hex'));
}

/** Reverse name of an address given as bytes. */
export function reverseName(bytes: Uint8Array): Name {
  if (bytes.length === 4) return [...bytes].reverse().map(String).concat('in-addr', 'arpa');
  return [...Buffer.from(bytes).toString('hex')].reverse().concat('ip6', 'arpa');
}

/**
 * Names of an address: the Service whose ClusterIP it is; else the endpoints of headless Services; else, as CoreDNS
 * does, endpoints of other Services. The same address on several nodes gives several names.
 */
export function reverseTargets(context: ZoneContext, address: string): Name[] {
  const zone = context.domains[0] as Name;
  const headless: Name[] = [];
  const others: Name[] = [];
  // In an order that does not depend on the order of events.
  for (const id of [...context.index.servicesAt(address)].sort()) {
    const service = context.catalog.services.get(id);
    if (service === undefined) continue;
    const base = [service.name, service.namespace, 'svc', ...zone];
    if (service.clusterIPs.includes(address)) return [base];
    const list = isHeadless(service) ? headless : others;
    for (const named of namedEndpoints(context.catalog, service, context.addressOf)) {
      if (named.address === address || named.endpoint.address === address) list.push([named.hostname, ...base]);
    }
  }
  const found = headless.length > 0 ? headless : others;
  return [...new Map(found.map((name) => [name.join('.'), name])).values()];
}
