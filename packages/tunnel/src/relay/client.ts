import type { Duplex } from 'node:stream';
import { type Clock, messageOf, sleep } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import { connectFirst, formatAddress } from '../paths/connect.ts';
import type { ControlPlane, DataPreamble, RelayState } from '../types.ts';
import { decodeFields, encodeMessage, parseTicket, RELAY_CONNECT, RELAY_INCOMING } from './messages.ts';

/** A raw data socket through a relay, its ticket already sent. */
export interface RelayedSocket {
  readonly socket: Duplex;
  /** The relay's address. */
  readonly remoteAddress: string;
  readonly relayPeerId: string;
}

export interface RelayClientDeps {
  readonly control: Pick<ControlPlane, 'request' | 'handle' | 'relays'>;
  writePreamble(socket: Duplex, preamble: DataPreamble): void;
  /** A peer wants this node: finish the handshake as TLS server. */
  onIncoming(from: string, socket: RelayedSocket): void;
  /** Time for the data socket to the relay, in milliseconds. */
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
}

/** Circuits through relays, from the agent's side. */
export interface RelayClient {
  /**
   * Asks the connected relays for a circuit to the peer, nearest first, the one at address `avoid` last. A relay that is
   * slow to answer does not keep the next one from being asked; the first circuit counts. Rejects with every relay's reason.
   */
  connect(
    peer: { readonly peerId: string; readonly relays: readonly string[] },
    signal: AbortSignal,
    avoid?: string,
  ): Promise<RelayedSocket>;
}

/** A relay that answers within this time is not raced against the next one, in milliseconds: two round trips over 4G. */
const HEAD_START_MS = 500;

export function createRelayClient(deps: RelayClientDeps): RelayClient {
  const openWithTicket = async (relay: RelayState, ticket: string, signal: AbortSignal): Promise<RelayedSocket> => {
    if (relay.connectedAddress === undefined) throw new TunnelError('unreachable', 'the relay is not connected');
    const { socket, address } = await connectFirst([relay.connectedAddress], signal);
    deps.writePreamble(socket, { kind: 'ticket', ticket: parseTicket(ticket) });
    return { socket, remoteAddress: formatAddress(address), relayPeerId: relay.peerId ?? '' };
  };

  deps.control.handle(RELAY_INCOMING, async (caller, body) => {
    const relay = deps.control.relays().find((candidate) => candidate.peerId === caller);
    if (relay === undefined) throw new TunnelError('refused', 'only a relay of this node may announce a circuit');
    const { from, ticket } = decodeFields(body, 'from', 'ticket');
    parseTicket(ticket);
    // Answered at once: the relay waits for this before it tells the caller, and the dial takes a round trip of its own.
    openWithTicket(relay, ticket, AbortSignal.timeout(deps.connectTimeoutMs)).then(
      (socket) => deps.onIncoming(from, socket),
      () => undefined, // the ticket expires at the relay, which ends the caller's attempt
    );
    return new Uint8Array();
  });

  const ask = async (relay: RelayState, peerId: string, signal: AbortSignal): Promise<RelayedSocket> => {
    try {
      const body = encodeMessage({ peerId });
      const reply = await deps.control.request(relay.peerId as string, RELAY_CONNECT, body, signal);
      return await openWithTicket(relay, decodeFields(reply, 'ticket').ticket, signal);
    } catch (error) {
      throw new Error(`${relay.nodeName ?? relay.peerId}: ${messageOf(error)}`, { cause: error });
    }
  };

  return {
    async connect(peer, signal, avoid) {
      const relays = usableRelays(deps.control.relays(), peer.relays, avoid);
      const lost = new AbortController();
      const attempts: Promise<RelayedSocket>[] = [];
      for (const relay of relays) {
        const attempt = ask(relay, peer.peerId, AbortSignal.any([signal, lost.signal]));
        attempts.push(attempt);
        const head = new AbortController();
        const isSlow = sleep(HEAD_START_MS, deps.clock, AbortSignal.any([signal, head.signal])).then(() => 'slow');
        const outcome = await Promise.race([attempt.then(() => 'done', () => 'failed'), isSlow]); // biome-ignore format: one race
        head.abort();
        if (outcome === 'done' || signal.aborted) break;
      }
      try {
        const winner = await Promise.any(attempts);
        for (const attempt of attempts) {
          attempt.then(
            (late) => late.socket !== winner.socket && late.socket.destroy(),
            () => undefined, // it lost
          );
        }
        return winner;
      } catch (error) {
        const reasons = error instanceof AggregateError ? error.errors.map(messageOf) : [messageOf(error)];
        const message = reasons.length > 0 ? reasons.join('; ') : describeRelays(deps.control.relays());
        throw new TunnelError('unreachable', message, { retryable: true });
      } finally {
        lost.abort(new Error('another relay was faster'));
      }
    },
  };
}

/** Connected relays, those that the peer names first, then nearest first; the one to avoid comes last. */
function usableRelays(
  relays: readonly RelayState[],
  peerRelays: readonly string[],
  avoid: string | undefined,
): RelayState[] {
  const isAvoided = ({ connectedAddress }: RelayState) =>
    connectedAddress !== undefined && formatAddress(connectedAddress) === avoid;
  const rank = (relay: RelayState) => (isAvoided(relay) ? 2 : peerRelays.includes(relay.peerId ?? '') ? 0 : 1);
  return relays
    .filter((relay) => relay.state === 'connected' && relay.peerId !== undefined)
    .sort((a, b) => rank(a) - rank(b) || (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity));
}

function describeRelays(relays: readonly RelayState[]): string {
  if (relays.length === 0) return 'no relay is configured (modules.edgeTunnel.relayNodes)';
  return relays
    .map(
      (r) => `relay ${r.nodeName ?? formatAddress(r.addresses[0] ?? { host: '?', port: 0 })}: ${r.reason ?? r.state}`,
    )
    .join('; ');
}
