import { pickLocalPort } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { RelayState, SocketAddress } from '../types.ts';
import { type NatKind, natKindOf } from './nat-kind.ts';
import { type Mapping, observeMapping } from './observe.ts';

export interface MappedPorts extends Disposable {
  readonly mappings: readonly Mapping[];
  readonly natKind: NatKind | undefined;
}

/**
 * Fresh local ports as the nearest relay sees them; a second relay tells whether the NAT is symmetric.
 * Rejects with TunnelError, also where it is.
 */
export async function mapPorts(
  count: number,
  relays: readonly RelayState[],
  signal: AbortSignal,
): Promise<MappedPorts> {
  const [nearest, second] = connectedRelays(relays);
  if (nearest === undefined) throw new TunnelError('unreachable', 'no relay is connected to ask for our mapping');
  const attempts = Array.from({ length: count }, async () => observeMapping(nearest, await pickLocalPort(), signal));
  const results = await Promise.allSettled(attempts);
  const mappings = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const dispose = () => {
    for (const mapping of mappings) mapping[Symbol.dispose]();
  };
  const failed = results.find((result) => result.status === 'rejected');
  const [first] = mappings;
  if (first === undefined || failed !== undefined) {
    dispose();
    throw failed?.reason;
  }
  const natKind = natKindOf({
    local: { host: first.localHost, port: first.localPort },
    observed: [first.observed, ...(second === undefined ? [] : await look(second, first.localPort, signal))],
  });
  return { mappings, natKind, [Symbol.dispose]: dispose };
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

function connectedRelays(relays: readonly RelayState[]): SocketAddress[] {
  return [...relays]
    .filter((relay) => relay.state === 'connected')
    .sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY))
    .flatMap((relay) => relay.connectedAddress ?? []);
}
