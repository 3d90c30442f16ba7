import { type Clock, type Logger, messageOf, sleep } from '@edgemesh/core';
import type { Connection } from '@libp2p/interface';
import type { Multiaddr } from '@multiformats/multiaddr';
import { TunnelError } from '../errors.ts';
import type { ControlTunables } from '../options.ts';
import type { SocketAddress } from '../types.ts';
import type { Host } from './host.ts';
import { decodeHello, encodeHello, type Hello, METHODS } from './messages.ts';
import type { Rpc, RpcCaller } from './rpc.ts';
import { connectFirst } from './transport/connect.ts';
import { fromMultiaddr, plainIp, toMultiaddr } from './transport/multiaddrs.ts';

/** A control connection that this node dialled, greeted and watches. */
export interface Link {
  readonly peerId: string;
  readonly nodeName: string;
  /** What answered; undefined for a circuit. */
  readonly address: SocketAddress | undefined;
  /** The peer relays and keeps records for others. */
  readonly relay: boolean;
  /** Our own address and port as the peer sees them. */
  readonly observed: string;
  readonly connection: Connection;
  /** Smoothed round trip in milliseconds. */
  readonly rttMs: number | undefined;
  /** Resolves when the connection is gone, with the reason. */
  readonly closed: Promise<string>;
  /** Asks for an answer now, with less patience: our own network has changed. */
  probe(): void;
}

/** What links need from the records: our own proof, and a check of the peer's. */
export interface Introductions {
  /** Our record, and which sequence we hold of the peer's. */
  own(peerId: string): { readonly envelope: Uint8Array; readonly sequenceOfPeer: number };
  /** Rejects when there is no room for one more peer. */
  admit(peerId: string): void;
  /** Verifies the peer's record and returns its node name. Rejects when the peer must not be believed. */
  meet(peerId: string, hello: Hello): Promise<string>;
}

export interface LinksDeps {
  readonly host: Host;
  readonly rpc: Rpc;
  readonly introductions: Introductions;
  readonly tunables: ControlTunables;
  readonly serveRelay: boolean;
  readonly localPort: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export interface ConnectPeerOptions {
  readonly signal: AbortSignal;
  /** Fail unless this key answers. */
  readonly expectedPeerId?: string | undefined;
}

/** Opens control connections: race of addresses, handshake, greeting, then a ping watch until they end. */
export class Links {
  readonly #deps: LinksDeps;

  constructor(deps: LinksDeps) {
    this.#deps = deps;
    deps.rpc.handle(METHODS.hello, (caller, body) => this.#welcome(caller, body));
  }

  /** Connects to whoever answers first at these addresses. Rejects with TunnelError. */
  async connect(addresses: readonly SocketAddress[], options: ConnectPeerOptions): Promise<Link> {
    const { tunables, localPort, host } = this.#deps;
    const signal = AbortSignal.any([options.signal, this.#deps.signal]);
    const { socket } = await connectFirst(addresses, { signal, timeoutMs: tunables.connectTimeoutMs, localPort });
    const address = { host: plainIp(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 };
    const expected = options.expectedPeerId;
    const target = expected === undefined ? toMultiaddr(address) : toMultiaddr(address).encapsulate(`/p2p/${expected}`);
    const handshake = AbortSignal.any([signal, AbortSignal.timeout(tunables.handshakeTimeoutMs)]);
    return this.#greet(await host.dial(target, { signal: handshake, socket }), address, signal);
  }

  /** Connects through a relay that both nodes are connected to, by circuit-relay-v2. */
  async connectCircuit(relay: Multiaddr, peerId: string, signal: AbortSignal): Promise<Link> {
    const both = AbortSignal.any([
      signal,
      this.#deps.signal,
      AbortSignal.timeout(this.#deps.tunables.handshakeTimeoutMs),
    ]);
    const address = relay.encapsulate(`/p2p-circuit/p2p/${peerId}`);
    try {
      return await this.#greet(await this.#deps.host.dial(address, { signal: both }), undefined, both);
    } catch (error) {
      if (error instanceof TunnelError) throw error;
      throw new TunnelError('unreachable', `circuit by relay ${relay.toString()}: ${messageOf(error)}`, {
        retryable: true,
        cause: error,
      });
    }
  }

  /** Introduces us on a fresh connection and starts watching it. */
  async #greet(connection: Connection, address: SocketAddress | undefined, signal: AbortSignal): Promise<Link> {
    const { rpc, introductions, clock } = this.#deps;
    const peerId = connection.remotePeer.toString();
    try {
      const started = clock.now();
      const answer = await rpc.requestOn(connection, METHODS.hello, this.#hello(peerId, connection), signal);
      const rttMs = clock.now() - started;
      const hello = decodeHello(answer);
      const nodeName = await introductions.meet(peerId, hello);
      const { relay, observed } = hello;
      return new WatchedLink({ peerId, nodeName, address, relay, observed, connection }, rttMs, this.#deps);
    } catch (error) {
      connection.abort(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  #hello(peerId: string, connection: Connection): Uint8Array {
    const { envelope, sequenceOfPeer } = this.#deps.introductions.own(peerId);
    const seen = fromMultiaddr(connection.remoteAddr);
    const observed = seen === undefined ? '' : `${seen.host.includes(':') ? `[${seen.host}]` : seen.host}:${seen.port}`;
    return encodeHello({ record: envelope, relay: this.#deps.serveRelay, observed, sequence: sequenceOfPeer });
  }

  async #welcome(caller: RpcCaller, body: Uint8Array): Promise<Uint8Array> {
    this.#deps.introductions.admit(caller.peerId);
    await this.#deps.introductions.meet(caller.peerId, decodeHello(body));
    return this.#hello(caller.peerId, caller.connection);
  }
}

type LinkFacts = Omit<Link, 'rttMs' | 'closed' | 'probe'>;

class WatchedLink implements Link {
  readonly peerId: string;
  readonly nodeName: string;
  readonly address: SocketAddress | undefined;
  readonly relay: boolean;
  readonly observed: string;
  readonly connection: Connection;
  readonly closed: Promise<string>;
  #rttMs: number;
  #nudge = new AbortController();

  constructor(facts: LinkFacts, rttMs: number, deps: LinksDeps) {
    this.peerId = facts.peerId;
    this.nodeName = facts.nodeName;
    this.address = facts.address;
    this.relay = facts.relay;
    this.observed = facts.observed;
    this.connection = facts.connection;
    this.#rttMs = rttMs;
    this.closed = this.#watch(deps);
  }

  get rttMs(): number {
    return this.#rttMs;
  }

  probe(): void {
    this.#nudge.abort();
  }

  async #watch(deps: LinksDeps): Promise<string> {
    const gone = new AbortController();
    let reason = 'connection closed by the peer';
    const onClose = (event: { error?: Error }) => {
      if (event.error !== undefined) reason = `connection lost: ${event.error.message}`;
      gone.abort();
    };
    this.connection.addEventListener('close', onClose);
    if (this.connection.status !== 'open') gone.abort();
    const signal = AbortSignal.any([gone.signal, deps.signal]);
    while (!signal.aborted) {
      const { pingIntervalMs, peerPingIntervalMs, pingTimeoutMs, probeTimeoutMs } = deps.tunables;
      const pauseMs = this.relay ? pingIntervalMs : peerPingIntervalMs;
      await sleep(pauseMs, deps.clock, AbortSignal.any([signal, this.#nudge.signal]));
      const isProbe = this.#nudge.signal.aborted;
      if (isProbe) this.#nudge = new AbortController();
      if (!signal.aborted)
        await this.#ping(deps, signal, isProbe ? Math.max(probeTimeoutMs, 4 * this.#rttMs) : pingTimeoutMs);
    }
    return reason;
  }

  async #ping(deps: LinksDeps, signal: AbortSignal, timeoutMs: number): Promise<void> {
    const deadline = AbortSignal.timeout(timeoutMs);
    const started = deps.clock.now();
    try {
      const both = AbortSignal.any([signal, deadline]);
      await deps.host.ping(this.connection, { signal: both });
      // RFC 6298's weight of one eighth
      this.#rttMs += (deps.clock.now() - started - this.#rttMs) / 8;
    } catch (error) {
      if (signal.aborted) return;
      deps.log.debug('control connection does not answer', { peerId: this.peerId, error: messageOf(error) });
      this.connection.abort(new Error(`no answer to a ping within ${Math.round(timeoutMs)} ms`));
    }
  }
}
