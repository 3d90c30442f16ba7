import type { Socket } from 'node:net';
import type { ByteStream, Datagrams, DialOptions, MeshError } from '@edgemesh/core';

/**
 * How the bytes of a session travel, best first.
 *
 * | path | meaning |
 * | --- | --- |
 * | `lan` | a private address on the same site |
 * | `direct` | a reachable public address |
 * | `punched` | a TCP simultaneous open through two NATs |
 * | `relayed` | two raw sockets spliced by a relay; TLS stays end to end |
 * | `circuit` | a libp2p circuit-relay-v2 stream |
 */
export type PathKind = 'lan' | 'direct' | 'punched' | 'relayed' | 'circuit';

/** All paths, best first. */
export const PATH_KINDS: readonly PathKind[] = ['lan', 'direct', 'punched', 'relayed', 'circuit'];

/** An IP address and TCP port that a data socket or a control connection can be dialled at. */
export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** What one node says of itself; signed with its node key and sequence-numbered when it travels. */
export interface NodeRecord {
  readonly nodeName: string;
  /** libp2p peer id, base58. */
  readonly peerId: string;
  /** Grows with every change; milliseconds since the epoch when it was made. */
  readonly sequence: number;
  /** Addresses inside the site; worth a try only from the same site. */
  readonly lanAddresses: readonly SocketAddress[];
  /** Addresses that the operator advertises or that were confirmed from outside. */
  readonly publicAddresses: readonly SocketAddress[];
  /** Peer ids of the relays at which this node can be reached, nearest first. */
  readonly relays: readonly string[];
  /** What the node understands beyond the base protocol; unknown names are ignored. */
  readonly capabilities: readonly string[];
}

/**
 * One mutually authenticated TLS connection to a peer: what a session's bytes ride on. Both sides have proved that they
 * hold the node key of `peerId` (certificate) and the mesh secret (bound to this TLS channel).
 */
export interface Carrier {
  readonly peerId: string;
  readonly nodeName: string;
  readonly path: PathKind;
  /** `host:port` of the socket's far end, or the relay's for `relayed`. */
  readonly remoteAddress: string;
  /** True on the side that acted as TLS client. */
  readonly initiator: boolean;
}

/** What a peer asks this node to connect to. */
export interface InboundRequest {
  readonly peerId: string;
  readonly nodeName: string;
  readonly kind: 'tcp' | 'udp' | 'packets';
  readonly address: string;
  readonly port: number;
  /** Address of the original client as the peer reports it; empty when unknown. For access trust it no further than the peer itself. */
  readonly clientAddress: string;
}

/** Decides about streams that peers open here. A refusal travels back with its code and message. */
export interface InboundHandler {
  openStream(request: InboundRequest): ByteStream | MeshError;
  /** What is sent to a channel of kind `packets` is valid during the call only: copy what must stay. */
  openDatagrams(request: InboundRequest): Datagrams | MeshError;
}

/** A session as its users see it. */
export interface Session {
  readonly peerId: string;
  readonly nodeName: string;
  /** `suspended`: no carrier at the moment, resumable until the grace period ends. */
  readonly state: 'active' | 'suspended' | 'closed';
  /** The carrier in use, undefined while suspended. */
  readonly carrier: Carrier | undefined;
  dial(target: { readonly address: string; readonly port: number }, options?: DialOptions): ByteStream;
  openDatagrams(
    target: { readonly address: string; readonly port: number; readonly kind?: 'udp' | 'packets' },
    options?: DialOptions,
  ): Datagrams;
  stats(): SessionStats;
}

export interface SessionStats {
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Smoothed round-trip time in milliseconds; undefined before the first answer. */
  readonly rttMs: number | undefined;
  /** Bytes sent and not yet acknowledged by the peer, kept for resumption. */
  readonly unacknowledgedBytes: number;
  readonly resumptions: number;
}

/** A request/response and push channel on the libp2p control plane; messages are small (64 KiB at most). */
export interface ControlRpc {
  /** Sends one message to a connected peer and resolves with its answer. Rejects with TunnelError. */
  request(peerId: string, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  /** Serves a method; throwing makes the caller's request fail with the error's message. */
  handle(method: string, handler: (peerId: string, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>): void;
}

/** A relay that this node knows, as the control plane sees it. */
export interface RelayState {
  /** Name from the configuration, where it has one. */
  readonly nodeName: string | undefined;
  readonly peerId: string | undefined;
  /** Configured or learnt addresses. */
  readonly addresses: readonly SocketAddress[];
  /** The address in use, where connected. */
  readonly connectedAddress: SocketAddress | undefined;
  readonly state: 'connecting' | 'connected' | 'failed';
  readonly rttMs: number | undefined;
  /** Why it is not connected: what happened and what to check. */
  readonly reason: string | undefined;
}

/** The libp2p side of the tunnel: who is where, and small messages to them. */
export interface ControlPlane extends AsyncDisposable, ControlRpc {
  readonly peerId: string;
  readonly nodeName: string;
  /** The shared TCP port that control and data plane listen on, per bound address. */
  readonly listenAddresses: readonly SocketAddress[];
  /** The freshest verified record of a node: from memory, the LAN, the relays. Undefined when nobody knows it. */
  resolve(nodeName: string, signal: AbortSignal): Promise<NodeRecord | undefined>;
  /** All records known here, own included. */
  records(): readonly NodeRecord[];
  onRecord(listener: (record: NodeRecord) => void): () => void;
  /** True when the peer was seen by mDNS or connected over a private address of one of our own subnets. */
  isOnLan(peerId: string): boolean;
  relays(): readonly RelayState[];
  onRelays(listener: (relays: readonly RelayState[]) => void): () => void;
  /** Which key a node name is pinned to; undefined before it was first seen. */
  pinnedPeer(nodeName: string): string | undefined;
  /** Called for each accepted socket whose first bytes are the data-plane preamble (preamble consumed). */
  onDataSocket(listener: (socket: Socket, preamble: DataPreamble) => void): void;
}

/** First bytes of a data-plane socket: who it is for. */
export type DataPreamble =
  | { readonly kind: 'direct' }
  /** A socket that the relay shall splice with the one that carries the matching ticket. */
  | { readonly kind: 'ticket'; readonly ticket: Uint8Array }
  /** The caller wants to be told its address as seen from here: one text line `host:port`. */
  | { readonly kind: 'observe' };

/** How one peer is reached at the moment, for status. */
export interface PeerStatus {
  readonly node: string;
  readonly peerId: string;
  readonly path: PathKind | undefined;
  readonly state: 'connecting' | 'active' | 'suspended' | 'failed';
  readonly rttMs: number | undefined;
  readonly address: string | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly streams: number;
  /** Why there is no path, or why the last better path was left. */
  readonly reason: string | undefined;
}
