import { CNI_DEFAULTS } from '../options.ts';
import type { CniRoute } from '../spec/types.ts';

/** One pod's link, as a plan: names and numbers, all derived from the request, so that ADD can be repeated. */
export interface PodLink {
  readonly hostName: string;
  readonly hostMac: string;
  readonly podName: string;
  readonly podMac: string;
  readonly netns: string;
  readonly bridge: string;
  readonly mtu: number;
  readonly hairpin: boolean;
  /** Address and range it is from. */
  readonly addresses: readonly PodAddress[];
}

/** An address of a pod, with the gateway that the bridge has for it. */
export interface PodAddress {
  readonly address: string;
  readonly gateway: string;
  /** Length of the range's prefix: what the bridge reaches directly. */
  readonly prefix: number;
}

/** FNV-1a, 64 bits: spreads names, keeps no secret. node:crypto would cost a tenth of the plugin's start. */
export function hash64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** Name of the host's end of a pod link: 60 bits of hash in 12 characters. */
export function hostLinkName(network: string, containerId: string, ifname: string): string {
  const digits = hash64(`${network}/${containerId}/${ifname}`).toString(36).padStart(13, '0');
  return `${CNI_DEFAULTS.linkPrefix}${digits.slice(-12)}`;
}

/** A locally administered unicast MAC from a name. */
export function macOf(name: string): string {
  const hex = hash64(`mac ${name}`).toString(16).padStart(16, '0').slice(-10);
  return ['0a', ...(hex.match(/../g) as string[])].join(':');
}

const host = (address: string) => `${address}/${address.includes(':') ? 128 : 32}`;
const nodad = (address: string) => (address.includes(':') ? ' nodad' : '');

/** The `ip -batch` line that makes the bridge; it fails without harm where there is one. */
export function bridgeLine(bridge: string, mtu: number): string {
  // A fixed MAC: the default follows the ports, and pods would lose their gateway's neighbour entry with it.
  return `link add name ${bridge} address ${macOf(`bridge ${bridge}`)} mtu ${mtu} type bridge`;
}

/** Settings of the host, between making the bridge and bringing it up. */
export function bridgeSettings(
  bridge: string,
  addresses: readonly PodAddress[],
): readonly (readonly [path: string, value: string])[] {
  const v6 = addresses.some(({ address }) => address.includes(':'));
  return [
    ['net/ipv4/ip_forward', '1'],
    // Pods reach each other through the host, on purpose. Other links keep their own setting, which is enough for them.
    ['net/ipv4/conf/all/send_redirects', '0'],
    [`net/ipv4/conf/${bridge}/send_redirects`, '0'],
    ...(v6
      ? ([
          ['net/ipv6/conf/all/forwarding', '1'],
          [`net/ipv6/conf/${bridge}/accept_dad`, '0'],
          [`net/ipv6/conf/${bridge}/disable_ipv6`, '0'],
        ] as const)
      : []),
  ];
}

/** The rest of the bridge; repeated without harm. */
export function bridgeLines(bridge: string, addresses: readonly PodAddress[]): string[] {
  return [
    `link set dev ${bridge} alias ${CNI_DEFAULTS.linkAlias}`,
    // The gateway's address with the range as on-link route: by it the host reaches its pods.
    ...addresses.map(({ gateway, prefix }) => `addr replace ${gateway}/${prefix} dev ${bridge}${nodad(gateway)}`),
    `link set dev ${bridge} up`,
  ];
}

/**
 * The host's side. The pod's end is made in its namespace at once, so a crash never leaves half a link among the host's own.
 * Ports are isolated from each other: pods talk through the host's IP layer, where policies see them.
 */
export function hostLines(link: PodLink): string[] {
  const { hostName, hostMac, podName, podMac, netns, bridge, mtu } = link;
  return [
    `link add name ${hostName} address ${hostMac} mtu ${mtu} type veth peer name ${podName} address ${podMac} mtu ${mtu} netns ${netns}`,
    `link set dev ${hostName} alias ${CNI_DEFAULTS.linkAlias} master ${bridge} up`,
    `link set dev ${hostName} type bridge_slave isolated on${link.hairpin ? ' hairpin on' : ''}`,
  ];
}

/** The pod's side: host addresses, everything goes through the gateway. */
export function podLines(link: PodLink, extra: readonly CniRoute[] = []): string[] {
  const { podName, addresses } = link;
  return [
    'link set dev lo up',
    `link set dev ${podName} up`,
    ...addresses.map(({ address }) => `addr replace ${host(address)} dev ${podName}${nodad(address)}`),
    ...addresses.map(({ gateway }) => `route replace ${host(gateway)} dev ${podName} scope link`),
    ...podRoutes(addresses).map(({ dst, gw }) => `route replace ${dst} via ${gw} dev ${podName} onlink`),
    ...extra.map(({ dst, gw }) => `route replace ${dst}${gw === undefined ? '' : ` via ${gw}`} dev ${podName} onlink`),
    // Last, for old versions of ip do not know it.
    `link set dev ${podName} gso_max_size ${CNI_DEFAULTS.gsoMaxBytes}`,
  ];
}

/** The default routes of a pod. */
export function podRoutes(addresses: readonly PodAddress[]): CniRoute[] {
  return addresses.map(({ address, gateway }) => ({ dst: address.includes(':') ? '::/0' : '0.0.0.0/0', gw: gateway }));
}

/**
 * Settings inside the pod's namespace. The host must be allowed to send packets back out of the bridge they came from
 * without teaching pods "shorter" ways, which isolated ports do not let through.
 */
export function podSettings(link: PodLink): readonly (readonly [path: string, value: string])[] {
  const devices = ['all', 'default', link.podName];
  const v4 = devices.map((dev) => [`net/ipv4/conf/${dev}/accept_redirects`, '0'] as const);
  if (!link.addresses.some(({ address }) => address.includes(':'))) return v4;
  const v6 = devices.flatMap(
    (dev) =>
      [
        [`net/ipv6/conf/${dev}/disable_ipv6`, '0'],
        [`net/ipv6/conf/${dev}/accept_redirects`, '0'],
      ] as const,
  );
  // Addresses are ours alone: waiting for duplicates would cost each pod its first two seconds.
  return [...v4, ...v6, [`net/ipv6/conf/${link.podName}/accept_dad`, '0']];
}
