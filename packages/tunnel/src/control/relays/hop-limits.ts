import type { Clock } from '@edgemesh/core';
import {
  type CircuitRelayServerComponents,
  type CircuitRelayServerInit,
  type CircuitRelayService,
  circuitRelayServer,
} from '@libp2p/circuit-relay-v2';
import type { AbortOptions, Connection, PeerId, Stream } from '@libp2p/interface';
import { peerIdFromMultihash } from '@libp2p/peer-id';
import type { ProtobufStream } from '@libp2p/utils';
import { joinStreams, type StreamFlow } from './join-streams.ts';

/** A circuit that has its place among all circuits of the relay. */
export interface HopPlace {
  start(flows: readonly [StreamFlow, StreamFlow]): void;
  end(): void;
}

/** What a relay grants to whoever speaks circuit-relay-v2. */
export interface HopGrants {
  /** False where there is no room for the reservation of one more peer. */
  reserve(peerId: string): boolean;
  /** A place for a circuit, or the name of the limit that is in the way. */
  open(caller: string, callee: string): HopPlace | string;
}

export interface HopOptions {
  readonly grants: HopGrants;
  /** A circuit without a byte for this long is cut, in milliseconds. */
  readonly idleMs: number;
  readonly clock: Clock;
}

interface Hop {
  readonly stream: ProtobufStream<Stream>;
  readonly connection: Connection;
  readonly request: { readonly peer?: { readonly id: Uint8Array } };
}

interface Stop {
  readonly connection: Connection;
  readonly request: { readonly type: 'CONNECT'; readonly peer: { readonly id: Uint8Array; readonly addrs: [] } };
}

/** The steps of libp2p's server: methods of its class, whose type the package does not export. */
interface HopServer extends CircuitRelayService {
  handleReserve(hop: Hop, options: AbortOptions): Promise<void>;
  handleConnect(hop: Hop, options: AbortOptions): Promise<void>;
  stopHop(stop: Stop, options: AbortOptions): Promise<Stream | undefined>;
}

/** Status codes of the protocol (libp2p's circuit-v2.md, "Status Codes"). */
const STATUS = {
  ok: 100,
  reservationRefused: 200,
  resourceLimitExceeded: 201,
  permissionDenied: 202,
  connectionFailed: 203,
  noReservation: 204,
  malformedMessage: 400,
} as const;

type Components = CircuitRelayServerComponents & { readonly events: EventTarget };

/**
 * libp2p's relay server with our limits. It has none for circuits and bandwidth, buffers without bound for slow readers, and
 * keeps reservations for hours after their owners have left; so two of its steps are replaced: who may reserve, and what
 * becomes of a circuit.
 */
export function limitedRelayServer(init: CircuitRelayServerInit, options: HopOptions) {
  return (components: Components): CircuitRelayService => {
    const server = circuitRelayServer(init)(components) as HopServer;
    const reserve = server.handleReserve.bind(server);
    server.handleReserve = (hop, call) => {
      const { direct, remotePeer: peer } = hop.connection;
      if (!direct) return reserve(hop, call); // which denies it
      if (!options.grants.reserve(peer.toString())) return answer(hop, STATUS.reservationRefused, call);
      forget(server, peer); // libp2p ends a refreshed one when the first refresh runs out, and its circuits with it
      return reserve(hop, call);
    };
    server.handleConnect = (hop, call) => connect(hop, call, { server, components, ...options });
    components.events.addEventListener('peer:disconnect', (event) =>
      forget(server, (event as CustomEvent<PeerId>).detail),
    );
    return server;
  };
}

function forget({ reservations }: CircuitRelayService, peer: PeerId): void {
  reservations.get(peer)?.signal.clear();
  reservations.delete(peer);
}

interface ConnectDeps extends HopOptions {
  readonly server: HopServer;
  readonly components: Components;
}

/** Serves CONNECT: libp2p's checks in libp2p's order, then the limits. */
async function connect(hop: Hop, call: AbortOptions, deps: ConnectDeps): Promise<void> {
  const { server, components, grants } = deps;
  const caller = hop.connection.remotePeer;
  if (!hop.connection.direct) return answer(hop, STATUS.permissionDenied, call);
  const callee = calleeOf(hop);
  if (callee === undefined) return answer(hop, STATUS.malformedMessage, call);
  const connection = components.connectionManager.getConnections(callee).find(({ direct }) => direct);
  if (connection === undefined || !server.reservations.has(callee)) return answer(hop, STATUS.noReservation, call);
  const place = grants.open(caller.toString(), callee.toString());
  if (typeof place === 'string') return answer(hop, STATUS.resourceLimitExceeded, call);
  let far: Stream | undefined;
  try {
    const peer = { id: caller.toMultihash().bytes, addrs: [] as [] };
    far = await server.stopHop({ connection, request: { type: 'CONNECT', peer } }, call).catch(() => undefined);
    await answer(hop, far === undefined ? STATUS.connectionFailed : STATUS.ok, call);
  } catch (error) {
    place.end();
    far?.abort(new Error('the caller has gone', { cause: error }));
    throw error;
  }
  if (far === undefined) place.end();
  else joinStreams(hop.stream.unwrap(), far, { ...deps, place });
}

/** The peer that the request names: a multihash, identity or SHA-256, whose code and length are single bytes. */
function calleeOf({ request: { peer } }: Hop): PeerId | undefined {
  const [code = -1, size = -1] = peer?.id ?? [];
  if (peer === undefined || size !== peer.id.length - 2) return undefined;
  try {
    const bytes = Uint8Array.from(peer.id);
    return peerIdFromMultihash({ code, size, digest: bytes.subarray(2), bytes });
  } catch {
    return undefined; // no key of a kind that libp2p knows
  }
}

/** Sends HopMessage { type = 1: STATUS (2); status = 5 }. */
function answer({ stream }: Hop, status: number, call: AbortOptions): Promise<void> {
  const low = (status & 0x7f) | 0x80; // all codes are varints of two bytes, but 100
  const code = status < 0x80 ? [status] : [low, status >> 7];
  return stream.write(Uint8Array.of(0x08, 0x02, 0x28, ...code), { encode: (bytes: Uint8Array) => bytes }, call);
}
