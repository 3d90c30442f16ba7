import type { NetworkInterfaceInfo } from 'node:os';
import { type Cidr, canonicalIp, cidrContains, parseCidr, parseIp } from '@edgemesh/core';

/** Where to listen. `*` or an empty list is no restriction (for `excludeIPs`: no exclusion). */
export interface AddressOptions {
  /** Names of interfaces. */
  readonly nics?: readonly string[];
  /** Addresses and CIDRs. */
  readonly includeIPs?: readonly string[];
  /** Addresses and CIDRs; stronger than the others. */
  readonly excludeIPs?: readonly string[];
  /** Interfaces never to listen on: the agent's own links. */
  readonly excludeNics?: readonly string[];
  /** Interfaces to listen on only where `nics` or `includeIPs` ask for them: the loopback link. */
  readonly unlessAsked?: readonly string[];
}

/** What `os.networkInterfaces()` says. */
export type Interfaces = Readonly<Record<string, readonly Pick<NetworkInterfaceInfo, 'address'>[] | undefined>>;

/** The addresses of this node that the options allow, each once, in the order of the interfaces. */
export function chooseAddresses(interfaces: Interfaces, options: AddressOptions): string[] {
  const nics = restriction(options.nics);
  const include = restriction(options.includeIPs)?.flatMap(ranges);
  const exclude = (restriction(options.excludeIPs) ?? []).flatMap(ranges);
  const found = new Set<string>();
  for (const [nic, list] of Object.entries(interfaces)) {
    if ((nics !== undefined && !nics.includes(nic)) || options.excludeNics?.includes(nic)) continue;
    const isAsked = nics !== undefined || !options.unlessAsked?.includes(nic);
    for (const { address } of list ?? []) {
      const bytes = parseIp(address);
      // Link-local IPv6 addresses mean nothing without an interface.
      if (bytes === undefined || isLinkLocal(bytes)) continue;
      if (include === undefined ? !isAsked : !include.some((range) => cidrContains(range, bytes))) continue;
      if (exclude.some((range) => cidrContains(range, bytes))) continue;
      found.add(canonicalIp(address) as string);
    }
  }
  return [...found];
}

function restriction(list: readonly string[] | undefined): readonly string[] | undefined {
  return list === undefined || list.length === 0 || list.includes('*') ? undefined : list;
}

function ranges(text: string): Cidr[] {
  const range = parseCidr(text.trim());
  return range === undefined ? [] : [range];
}

function isLinkLocal(bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes[0] === 0xfe && ((bytes[1] as number) & 0xc0) === 0x80;
}
