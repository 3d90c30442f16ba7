import type { Duplex } from 'node:stream';
import { type Logger, messageOf } from '@edgemesh/core';
import type { Libp2p } from '@libp2p/interface';
import { TunnelError } from '../errors.ts';
import type { NodeRecord } from '../types.ts';
import type { Link, Links } from './links.ts';
import { bestConnection } from './rpc.ts';
import { streamToDuplex } from './stream-duplex.ts';

export const CIRCUIT_PROTOCOL = '/edgemesh/circuit/1.0.0';
/** Circuits of one peer at one time; a session needs one. */
const MAX_CIRCUITS_PER_CONNECTION = 16;

export interface PeerDialerDeps {
  readonly node: Libp2p;
  readonly links: Links;
  /** Connected relays, nearest first. */
  readonly relays: () => readonly Link[];
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

  async #dial(record: NodeRecord, signal: AbortSignal): Promise<void> {
    const failures: string[] = [];
    const attempt = async (dial: () => Promise<Link>): Promise<boolean> => {
      try {
        await dial();
        return true;
      } catch (error) {
        failures.push(messageOf(error));
        return false;
      }
    };
    const { links } = this.#deps;
    const addresses = [...record.lanAddresses, ...record.publicAddresses];
    const direct = () => links.connect(addresses, { signal, expectedPeerId: record.peerId });
    if (addresses.length > 0 && (await attempt(direct))) return;
    const shared = this.#deps.relays().filter((relay) => record.relays.includes(relay.peerId));
    for (const relay of shared) {
      if (await attempt(() => links.connectCircuit(relay.connection.remoteAddr, record.peerId, signal))) return;
    }
    if (shared.length === 0) failures.push('no relay in common');
    throw new TunnelError('unreachable', `${record.nodeName}: ${failures.join('; ')}`, { retryable: true });
  }
}
