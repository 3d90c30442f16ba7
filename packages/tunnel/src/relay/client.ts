import type { Duplex } from 'node:stream';
import { messageOf } from '@edgemesh/core';
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
}

/** Circuits through relays, from the agent's side. */
export interface RelayClient {
  /** Asks the connected relays, nearest first, for a circuit to the peer. Rejects with every relay's reason. */
  connect(peerId: string, peerRelays: readonly string[], signal: AbortSignal): Promise<RelayedSocket>;
}

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

  return {
    async connect(peerId, peerRelays, signal) {
      const reasons: string[] = [];
      for (const relay of usableRelays(deps.control.relays(), peerRelays)) {
        try {
          const reply = await deps.control.request(
            relay.peerId as string,
            RELAY_CONNECT,
            encodeMessage({ peerId }),
            signal,
          );
          return await openWithTicket(relay, decodeFields(reply, 'ticket').ticket, signal);
        } catch (error) {
          reasons.push(`${relay.nodeName ?? relay.peerId}: ${messageOf(error)}`);
        }
      }
      throw new TunnelError('unreachable', reasons.join('; ') || describeRelays(deps.control.relays()), {
        retryable: true,
      });
    },
  };
}

/** Connected relays, those that the peer names first, then nearest first. */
function usableRelays(relays: readonly RelayState[], peerRelays: readonly string[]): RelayState[] {
  const known = (relay: RelayState) => (peerRelays.includes(relay.peerId ?? '') ? 0 : 1);
  return relays
    .filter((relay) => relay.state === 'connected' && relay.peerId !== undefined)
    .sort((a, b) => known(a) - known(b) || (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity));
}

function describeRelays(relays: readonly RelayState[]): string {
  if (relays.length === 0) return 'no relay is configured (modules.edgeTunnel.relayNodes)';
  return relays
    .map(
      (r) => `relay ${r.nodeName ?? formatAddress(r.addresses[0] ?? { host: '?', port: 0 })}: ${r.reason ?? r.state}`,
    )
    .join('; ');
}
