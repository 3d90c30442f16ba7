import { canonicalIp, ipVersion } from '@edgemesh/core';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { SocketAddress } from '../../types.ts';

/** `/ip4/10.0.0.1/tcp/20006`; the host must be an IP address. */
export function toMultiaddr(address: SocketAddress): Multiaddr {
  return multiaddr(`/ip${ipVersion(address.host)}/${address.host}/tcp/${address.port}`);
}

/** The IP and TCP port of a plain TCP multiaddr (a trailing `/p2p/…` is fine); undefined for circuits and anything else. */
export function fromMultiaddr(address: Multiaddr): SocketAddress | undefined {
  const [ip, tcp, ...rest] = address.getComponents();
  if (ip?.value === undefined || (ip.name !== 'ip4' && ip.name !== 'ip6')) return undefined;
  if (tcp?.value === undefined || tcp.name !== 'tcp') return undefined;
  if (rest.some((component) => component.name !== 'p2p')) return undefined;
  const host = canonicalIp(ip.value);
  return host === undefined ? undefined : { host, port: Number(tcp.value) };
}

/** IPv4 addresses that arrive on a dual-stack socket come as `::ffff:a.b.c.d`; returns the plain form. */
export function plainIp(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
