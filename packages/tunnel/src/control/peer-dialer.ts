import type { Duplex } from 'node:stream';
import { type Clock, type Logger, messageOf, sleep } from '@edgemesh/core';
import type { Libp2p } from '@libp2p/interface';
import { TunnelError } from '../errors.ts';
import type { NodeRecord } from '../types.ts';
import type { Link, Links } from './links.ts';
import { bestConnection } from './rpc.ts';
import { streamToDuplex } from './stream-duplex.ts';

export const CIRCUIT_PROTOCOL = '/edgemesh/circuit/1.0.0';
/** Circuits of one peer at one time; a session needs one. */
const MAX_CIRCUITS_PER_CONNECTION = 16;
/** How often it is looked whether a relay in common has come up, in milliseconds. */
const RELAY_LOOK_MS = 200;
/** A node on the same LAN or with a public address answers within this time, in milliseconds. */
const DIRECT_HEAD_START_MS = 200;

export interface PeerDialerDeps {
  readonly node: Libp2p;
  readonly links: Links;
  /** Connected relays, nearest first. */
  readonly relays: () => readonly Link[];
  /** The newest record of a peer: one that has just started may have named no relay yet. */
  readonly latest: (peerId: string) => NodeRecord | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Control connections and circuits to particular nodes, on demand. */
export class PeerDialer {
  readonly #deps: PeerDialerDeps;
  readonly #running = new Map<string, Promise<void>>();
  #onCircuit: ((stream: Duplex, peerId: string) => void) | undefined;

  private constructor(deps: PeerDialerDeps) {
    this.#deps = deps;
  }

  static async create(deps: PeerDialerDeps): Promise<PeerDialer> {
    const dialer = new PeerDialer(deps);
    const options = {
      maxInboundStreams: MAX_CIRCUITS_PER_CONNECTION,
      maxOutboundStreams: MAX_CIRCUITS_PER_CONNECTION,
      runOnLimitedConnection: true,
    };
    await deps.node.handle(
      CIRCUIT_PROTOCOL,
      (stream, connection) => {
        if (dialer.#onCircuit === undefined) stream.abort(new Error('circuits are not served here'));
        else dialer.#onCircuit(streamToDuplex(stream), connection.remotePeer.toString());
      },
      options,
    );
    return dialer;
  }

  onCircuit(listener: (stream: Duplex, peerId: string) => void): void {
    this.#onCircuit = listener;
  }

  /** Uses the connection that is there; else dials, once for all who ask at the same time. */
  async connect(record: NodeRecord, signal: AbortSignal): Promise<void> {
    if (bestConnection(this.#deps.node, record.peerId) !== undefined) return;
    const running = this.#running.get(record.peerId);
    if (running !== undefined) return running;
    const work = this.#dial(record, signal).finally(() => this.#running.delete(record.peerId));
    this.#running.set(record.peerId, work);
    return work;
  }

  async openCircuit(record: NodeRecord, signal: AbortSignal): Promise<Duplex> {
    await this.connect(record, signal);
    const connection = bestConnection(this.#deps.node, record.peerId);
    if (connection === undefined) {
      throw new TunnelError('unreachable', `the connection to ${record.nodeName} is gone again`, { retryable: true });
    }
    try {
      const limits = { maxOutboundStreams: MAX_CIRCUITS_PER_CONNECTION, runOnLimitedConnection: true };
      return streamToDuplex(await connection.newStream(CIRCUIT_PROTOCOL, { signal, ...limits }));
    } catch (cause) {
      throw new TunnelError('refused', `circuit to ${record.nodeName}: ${messageOf(cause)}`, {
        retryable: true,
        cause,
      });
    }
  }

  /** Directly and, a little later, through relays at the same time: NATs make a direct attempt wait for its timeout. */
  async #dial(record: NodeRecord, signal: AbortSignal): Promise<void> {
    const settled = new AbortController();
    const both = AbortSignal.any([signal, settled.signal]);
    const unanswered = new AbortController();
    try {
      const direct = this.#dialDirect(record, both).catch((error: unknown) => {
        unanswered.abort();
        throw error;
      });
      await Promise.any([direct, this.#dialCircuit(record, both, unanswered.signal)]);
    } catch (error) {
      const reasons = error instanceof AggregateError ? error.errors.map(messageOf) : [messageOf(error)];
      const message = `${record.nodeName}: ${reasons.join('; ')}`;
      throw new TunnelError('unreachable', message, { retryable: true, cause: error });
    } finally {
      settled.abort();
    }
  }

  #dialDirect(record: NodeRecord, signal: AbortSignal): Promise<Link> {
    const addresses = [...record.lanAddresses, ...record.publicAddresses];
    return this.#deps.links.connect(addresses, { signal, expectedPeerId: record.peerId });
  }

  async #dialCircuit(record: NodeRecord, signal: AbortSignal, directFailed: AbortSignal): Promise<Link> {
    const { links, clock } = this.#deps;
    const shared = await this.#relaysInCommon(record, AbortSignal.any([signal, directFailed]));
    if (shared.length === 0) throw new TunnelError('unreachable', 'no relay in common', { retryable: true });
    if (record.lanAddresses.length + record.publicAddresses.length > 0)
      await sleep(DIRECT_HEAD_START_MS, clock, signal);
    const failures: string[] = [];
    for (const relay of shared) {
      try {
        signal.throwIfAborted();
        return await links.connectCircuit(relay.connection.remoteAddr, record.peerId, signal);
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
    throw new TunnelError('unreachable', failures.join('; '), { retryable: true });
  }

  /** Relays that both are connected to; waits for one until the signal aborts. */
  async #relaysInCommon({ peerId, relays: named }: NodeRecord, signal: AbortSignal): Promise<readonly Link[]> {
    const { relays, latest, clock } = this.#deps;
    for (;;) {
      const theirs = latest(peerId)?.relays ?? named;
      const shared = relays().filter((relay) => theirs.includes(relay.peerId));
      if (shared.length > 0 || signal.aborted) return shared;
      await sleep(RELAY_LOOK_MS, clock, signal);
    }
  }
}
