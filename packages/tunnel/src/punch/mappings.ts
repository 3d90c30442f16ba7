import { ipVersion } from '@edgemesh/core';
import { pickLocalPort } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { RelayState, SocketAddress } from '../types.ts';
import { type NatKind, natKindOf } from './nat-kind.ts';
import { type Mapping, observeMapping } from './observe.ts';
import type { OpenPair } from './simultaneous-open.ts';

/** IP version of a mapping: a punch needs one that both sides have. */
export type Family = 4 | 6;

export interface MappedPorts extends Disposable {
  /** Those of an IPv4 NAT that is symmetric are left out. */
  readonly mappings: readonly Mapping[];
  /** Of the IPv4 NAT; undefined when no relay was asked. */
  readonly natKind: NatKind | undefined;
}

export interface MapOptions {
  /** Fresh ports per family, at least one in all. */
  readonly counts: Readonly<Partial<Record<Family, number>>>;
  readonly relays: readonly RelayState[];
  /** A global IPv6 address of this node, which is what peers see: nobody translates those. */
  readonly ipv6: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Fresh local ports as others see them: IPv4 as the nearest relay says, and a second relay tells whether the NAT is
 * symmetric; IPv6 as it is. Rejects with TunnelError when relays do not answer and there is no IPv6.
 */
export async function mapPorts(options: MapOptions): Promise<MappedPorts> {
  const { counts, ipv6 } = options;
  const [v4, v6] = await Promise.allSettled([
    (counts[4] ?? 0) > 0 ? mapIpv4(counts[4] as number, options) : nothing(),
    ipv6 !== undefined && (counts[6] ?? 0) > 0 ? ownIpv6(ipv6, counts[6] as number) : [],
  ]);
  const four = v4.status === 'fulfilled' ? v4.value : nothing();
  const mappings = [...four.mappings, ...(v6.status === 'fulfilled' ? v6.value : [])];
  if (mappings.length === 0 && v4.status === 'rejected') throw v4.reason;
  return {
    mappings,
    natKind: four.natKind,
    [Symbol.dispose]: () => disposeAll(mappings),
  };
}

/** Every way from our mappings to the peer's addresses. */
export function pairsOf(mappings: readonly Mapping[], peers: readonly SocketAddress[]): OpenPair[] {
  return mappings.flatMap(({ local }) =>
    peers.filter((peer) => familyOf(peer) === familyOf(local)).map((peer) => ({ local, peer })),
  );
}

/** IP version of an address; host names count as IPv4. */
export function familyOf({ host }: SocketAddress): Family {
  return ipVersion(host) === 6 ? 6 : 4;
}

function nothing(): Pick<MappedPorts, 'mappings' | 'natKind'> {
  return { mappings: [], natKind: undefined };
}

function disposeAll(mappings: readonly Mapping[]): void {
  for (const mapping of mappings) mapping[Symbol.dispose]();
}

async function mapIpv4(
  count: number,
  { relays, signal }: MapOptions,
): Promise<Pick<MappedPorts, 'mappings' | 'natKind'>> {
  const [nearest, second] = connectedRelays(relays);
  if (nearest === undefined) throw new TunnelError('unreachable', 'no relay is connected to ask for our mapping');
  const attempts = Array.from({ length: count }, async () => observeMapping(nearest, await pickLocalPort(), signal));
  const results = await Promise.allSettled(attempts);
  const mappings = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  const [first] = mappings;
  if (first === undefined || failed !== undefined) {
    disposeAll(mappings);
    throw failed?.reason;
  }
  const natKind = natKindOf({
    local: first.local,
    observed: [first.observed, ...(second === undefined ? [] : await look(second, first.local.port, signal))],
  });
  if (natKind !== 'symmetric') return { mappings, natKind };
  disposeAll(mappings);
  return { mappings: [], natKind };
}

function ownIpv6(host: string, count: number): Promise<Mapping[]> {
  const attempts = Array.from({ length: count }, async () => {
    const local = { host, port: await pickLocalPort() };
    return { local, observed: local, [Symbol.dispose]: () => undefined };
  });
  return Promise.all(attempts);
}

/** The same port as another relay sees it; nothing when that one does not say. */
async function look(relay: SocketAddress, localPort: number, signal: AbortSignal): Promise<SocketAddress[]> {
  try {
    using mapping = await observeMapping(relay, localPort, signal);
    return [mapping.observed];
  } catch {
    return []; // one relay's word must do
  }
}

/** IPv4 addresses of the connected relays, nearest first; one that is connected by IPv6 may have such an address as well. */
function connectedRelays(relays: readonly RelayState[]): SocketAddress[] {
  return [...relays]
    .filter((relay) => relay.state === 'connected')
    .sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY))
    .flatMap(({ connectedAddress, addresses }) => {
      const known = connectedAddress === undefined ? addresses : [connectedAddress, ...addresses];
      return known.find((address) => familyOf(address) === 4) ?? [];
    });
}
