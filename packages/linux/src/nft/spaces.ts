import type { RuleFrontend, ServiceRule } from '@edgemesh/core';

/**
 * A space is one way of finding a Service port from a packet: by address and port, or by node port; for anybody, or for
 * clients from outside only; IPv4 or IPv6. Each space has the same furniture:
 *
 * - `<space>_live`: verdict map, consulted while the agent lives; Service ports with endpoints behind the tunnel
 * - `<space>_kernel`: verdict map of what the kernel can do alone; also the fallback of mixed ones
 * - `<space>_tcp_slots`, `<space>_udp_slots`: (frontend . n) -> endpoint address . port, the endpoints of all Service ports
 * - `<space>_bare`: frontends without a routable endpoint, refused when nobody has translated them
 * - `<space>_masq`: frontends whose clients are masqueraded
 * - chains `<space>_tcp_pick_<n>`, `<space>_udp_pick_<n>`: one for each number of slots: looks up a random slot
 */
export interface Space {
  readonly name: string;
  readonly family: 4 | 6;
  readonly kind: 'address' | 'nodePort';
  readonly origin: 'any' | 'external';
}

/** All spaces; the table always has all of them. */
export const SPACES: readonly Space[] = ([4, 6] as const).flatMap((family) =>
  (['any', 'external'] as const).flatMap((origin) =>
    (['address', 'nodePort'] as const).map((kind): Space => {
      const name = `${origin === 'external' ? 'ext' : ''}${kind === 'address' ? 'svc' : 'np'}${family}`;
      return { name, family, kind, origin };
    }),
  ),
);

const spaceIndex = new Map(SPACES.map((space) => [`${space.family} ${space.kind} ${space.origin}`, space]));

/** The space that a frontend belongs to. */
export function spaceOf(rule: Pick<ServiceRule, 'family'>, frontend: RuleFrontend): Space {
  return spaceIndex.get(`${rule.family} ${frontend.kind} ${frontend.origin}`) as Space;
}

/** `ip daddr` of the family. */
export const daddr = (space: Pick<Space, 'family'>) => (space.family === 4 ? 'ip daddr' : 'ip6 daddr');
/** `ip saddr` of the family. */
export const saddr = (space: Pick<Space, 'family'>) => (space.family === 4 ? 'ip saddr' : 'ip6 saddr');

/** The packet side of a space's key. */
export function keyExpression(space: Space): string {
  return space.kind === 'address' ? `${daddr(space)} . meta l4proto . th dport` : 'meta l4proto . th dport';
}

/** The element side of a space's key. */
export function frontendKey(rule: Pick<ServiceRule, 'protocol'>, frontend: RuleFrontend): string {
  const service = `${rule.protocol.toLowerCase()} . ${frontend.port}`;
  return frontend.kind === 'address' ? `${frontend.address} . ${service}` : service;
}

/** The type of the key in declarations. */
export function keyType(space: Space): string {
  const address = space.family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  return space.kind === 'address' ? `${address} . inet_proto . inet_service` : 'inet_proto . inet_service';
}

/** `tcp` or `udp`, as nft writes it. */
export type Transport = 'tcp' | 'udp';

/** The transport of a rule. */
export const transportOf = (rule: Pick<ServiceRule, 'protocol'>) => rule.protocol.toLowerCase() as Transport;

/**
 * Slots are kept per transport: nft treats `th dport` in the data of a map as TCP, or as a conflict, depending on what it
 * has read before. `tcp dport` in a chain for TCP and `udp dport` in one for UDP leave nothing to guess.
 */
export const slotsMap = (space: Space, transport: Transport) => `${space.name}_${transport}_slots`;

/** Declaration of the slots. The modulus only names the data type of a generated number. */
export function slotsType(space: Space, transport: Transport): string {
  return `typeof ${slotsKey(space, transport)} . numgen random mod 65536 : ${daddr(space)} . ${transport} dport`;
}

function slotsKey(space: Space, transport: Transport): string {
  return space.kind === 'address' ? `${daddr(space)} . ${transport} dport` : `${transport} dport`;
}

/** The element side of a slot's key. */
export function slotKey(frontend: RuleFrontend, slot: number): string {
  return frontend.kind === 'address'
    ? `${frontend.address} . ${frontend.port} . ${slot}`
    : `${frontend.port} . ${slot}`;
}

/** Name of the chain that picks one of `slots` at random. */
export function pickChain(space: Space, transport: Transport, slots: number): string {
  return `${space.name}_${transport}_pick_${slots}`;
}

/**
 * The whole choice in one lookup: the random number is part of the key, so all Service ports with the same number of slots
 * share one chain and a change of endpoints changes map elements only.
 */
export function pickRule(space: Space, transport: Transport, slots: number, generator: 'random' | 'inc'): string {
  const family = space.family === 4 ? 'ip' : 'ip6';
  const key = `${slotsKey(space, transport)} . numgen ${generator} mod ${slots}`;
  return `dnat ${family} to ${key} map @${slotsMap(space, transport)}`;
}
