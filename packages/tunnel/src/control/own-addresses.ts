import { networkInterfaces } from 'node:os';
import { type Cidr, cidrContains, parseCidr, parseIp } from '@edgemesh/core';
import type { SocketAddress } from '../types.ts';

/** One address of one network interface. */
export interface InterfaceAddress {
  readonly interface: string;
  readonly host: string;
  /** The subnet, `address/prefix`. */
  readonly cidr: string;
  readonly loopback: boolean;
}

export interface AddressFilter {
  /** Interfaces to use, names with `*` as wildcard; empty = all. */
  readonly listenInterfaces: readonly string[];
  /** Interfaces (names with `*`) or address ranges that are never advertised. */
  readonly filtered: readonly string[];
}

/** What a node can say about its own addresses. */
export interface OwnAddresses {
  readonly lan: readonly SocketAddress[];
  readonly public: readonly SocketAddress[];
}

/** Interfaces whose addresses are the same on every node or cannot be dialled from outside. Bridges named `br0` are real. */
const FILTERED_INTERFACES = [
  'docker0',
  'docker_gwbridge',
  'cni0',
  'cni-*',
  'podman*',
  'flannel*',
  'cali*',
  'cilium*',
  'lxc*',
  'veth*',
  'virbr*',
  'kube-*',
  'nodelocaldns',
  'edgemesh*',
  'edge-dummy0',
  'tunl0',
];
/** docker's user networks: `br-` and twelve hex digits. */
const DOCKER_BRIDGE = /^br-[0-9a-f]{12}$/;

/** The bridge address of EdgeMesh, KubeEdge's dummy address, and link-local ranges. */
const FILTERED_RANGES = ['169.254.0.0/16', 'fe80::/10', '0.0.0.0/8', '224.0.0.0/4', 'ff00::/8'].map(cidrOf);
const PRIVATE_RANGES = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '127.0.0.0/8',
  'fc00::/7',
  '::1/128',
].map(cidrOf);
const LOOPBACK_RANGES = ['127.0.0.0/8', '::1/128'].map(cidrOf);

function cidrOf(text: string): Cidr {
  return parseCidr(text) as Cidr;
}

function inAny(ranges: readonly Cidr[], host: string): boolean {
  const bytes = parseIp(host);
  return bytes !== undefined && ranges.some((range) => cidrContains(range, bytes));
}

/** RFC 1918, RFC 6598, unique local and loopback addresses: reachable inside the site only. */
export function isPrivateHost(host: string): boolean {
  return inAny(PRIVATE_RANGES, host);
}

export function isLoopbackHost(host: string): boolean {
  return inAny(LOOPBACK_RANGES, host);
}

/** The addresses of this machine as the kernel has them now. */
export function readInterfaces(): InterfaceAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map((address) => ({
      interface: name,
      host: address.address,
      cidr: address.cidr ?? `${address.address}/32`,
      loopback: address.internal,
    })),
  );
}

/** Interface addresses that peers may be told about. */
export function usableInterfaces(all: readonly InterfaceAddress[], filter: AddressFilter): InterfaceAddress[] {
  const wanted = filter.listenInterfaces.filter((name) => name !== '' && name !== '*');
  const extraRanges = filter.filtered.flatMap((text) => parseCidr(text) ?? []);
  const extraNames = filter.filtered.filter((text) => text !== '' && parseCidr(text) === undefined);
  return all.filter(
    (address) =>
      !address.loopback &&
      (wanted.length === 0 || matchesAny(address.interface, wanted)) &&
      !matchesAny(address.interface, [...FILTERED_INTERFACES, ...extraNames]) &&
      !DOCKER_BRIDGE.test(address.interface) &&
      !inAny([...FILTERED_RANGES, ...extraRanges], address.host),
  );
}

function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
}

/**
 * Where this node can be reached: a wildcard listener stands for all usable interfaces, another for itself. Loopback
 * listeners count as LAN addresses when there is nothing else (several agents on one machine), unless `lo` is filtered.
 */
export function ownAddresses(
  listen: readonly SocketAddress[],
  usable: readonly InterfaceAddress[],
  advertise: readonly SocketAddress[],
  filtered: readonly string[] = [],
): OwnAddresses {
  const found = new Map<string, SocketAddress>();
  const add = (host: string, port: number) => found.set(`${host} ${port}`, { host, port });
  for (const { host, port } of listen) {
    if (host === '0.0.0.0' || host === '::') {
      const family = host === '::' ? ':' : '.';
      for (const address of usable) if (address.host.includes(family)) add(address.host, port);
    } else if (!isLoopbackHost(host)) {
      add(host, port);
    }
  }
  if (found.size === 0 && !matchesAny('lo', filtered))
    for (const { host, port } of listen) if (isLoopbackHost(host)) add(host, port);
  const all = [...found.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
  const isAdvertised = (own: SocketAddress) => advertise.some((a) => a.host === own.host && a.port === own.port);
  return {
    lan: all.filter((own) => isPrivateHost(own.host)),
    public: [...advertise, ...all.filter((own) => !isPrivateHost(own.host) && !isAdvertised(own))],
  };
}

/** True when the host is a private address in one of our own subnets (loopback counts when we listen there). */
export function isOnOwnSubnet(host: string, interfaces: readonly InterfaceAddress[]): boolean {
  const bytes = parseIp(host);
  if (bytes === undefined || !isPrivateHost(host)) return false;
  return interfaces.some(({ cidr }) => {
    const range = parseCidr(cidr);
    return range !== undefined && range.prefix > 0 && cidrContains(range, bytes);
  });
}
