import { BlockList } from 'node:net';
import type { PathKind } from '../types.ts';

/** RFC 1918, shared address space, loopback, unique local, link-local: addresses that only mean something on a site. */
const privateRanges = new BlockList();
for (const [network, prefix] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['127.0.0.0', 8],
] as const) {
  privateRanges.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['fc00::', 7],
  ['fe80::', 10],
  ['::1', 128],
] as const) {
  privateRanges.addSubnet(network, prefix, 'ipv6');
}

/** `lan` for a socket from a private address, `direct` for one from a public address. */
export function pathOfAddress(address: string | undefined): Extract<PathKind, 'lan' | 'direct'> {
  if (address === undefined) return 'direct';
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1];
  const text = v4 ?? address;
  return privateRanges.check(text, text.includes(':') ? 'ipv6' : 'ipv4') ? 'lan' : 'direct';
}
