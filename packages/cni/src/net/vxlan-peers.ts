import { type Cidr, formatIp } from '@edgemesh/core';
import { gatewayOf } from '../ipam/range.ts';
import { macOf } from '../plugin/links.ts';

/** A path to the pods of a node of the LAN: encapsulated to its IPv4 address there. */
export interface VxlanPath {
  readonly node: string;
  readonly cidr: string;
  readonly kind: 'vxlan';
  /** Next hop behind the device. */
  readonly gateway: string;
  readonly remote: string;
}

/** MAC of a node's VXLAN device: known to all others without asking. */
export const vxlanMac = (nodeName: string): string => macOf(`vxlan ${nodeName}`);

/**
 * Next hop of the routes to a node's range. The node's own address in it, and for IPv6 the link-local one of the MAC (RFC 4291,
 * appendix A): Linux takes no other next hop of a range that is routed elsewhere already.
 */
export function vxlanHop(nodeName: string, range: Cidr): string {
  if (range.bytes.length === 4) return formatIp(gatewayOf(range));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = vxlanMac(nodeName)
    .split(':')
    .map((byte) => Number.parseInt(byte, 16));
  return formatIp(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}

/** What the VXLAN device must know of the nodes behind it: one entry for each, with all next hops that are its. */
export function vxlanPeers(paths: readonly (VxlanPath | { readonly kind: 'lan' | 'tunnel' })[]) {
  const peers = new Map<string, { readonly remote: string; readonly mac: string; readonly gateways: string[] }>();
  for (const path of paths) {
    if (path.kind !== 'vxlan') continue;
    const peer = peers.get(path.node) ?? { remote: path.remote, mac: vxlanMac(path.node), gateways: [] };
    if (!peer.gateways.includes(path.gateway)) peer.gateways.push(path.gateway);
    peers.set(path.node, peer);
  }
  return [...peers.values()];
}
