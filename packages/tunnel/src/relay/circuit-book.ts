import type { Clock, Metrics } from '@edgemesh/core';
import type { RelayLimits } from '../options.ts';
import { createRateLimiter, type RateLimiter } from './rate-limit.ts';
import type { SpliceFlow } from './splice-sockets.ts';

/** Why a relay has no place for a circuit. */
export type CircuitRefusal = 'circuits-total' | 'circuits-per-peer';

/** Who carries a circuit: raw sockets that came with tickets, or streams of circuit-relay-v2. */
export type CircuitKind = 'spliced' | 'libp2p';

/** What a relay passes on for others. */
export interface RelayStatus {
  /** Circuits with both sockets spliced. */
  readonly circuits: number;
  /** Circuits of libp2p's own protocol: signalling of members, and standard clients. */
  readonly libp2pCircuits: number;
  /** Circuits announced that do not carry bytes yet. */
  readonly pending: number;
  /** Payload of all circuits that have ended. */
  readonly bytesRelayed: number;
}

/** One circuit's place in the book. */
export interface CircuitPlace {
  /** Bytes flow: both directions are held to the bandwidth from now on. At most once. */
  start(flows: readonly [SpliceFlow, SpliceFlow]): void;
  /** The circuit is gone. Idempotent. */
  end(): void;
}

/** Stands for all peers in the limiter of the relay's own bandwidth. */
const ALL = '';

/**
 * The circuits of a relay, whoever carries them: how many there are of each peer and in all, and how fast they may be. A
 * circuit counts against both of its peers from the moment it is announced until it ends.
 */
export class CircuitBook {
  readonly #limits: RelayLimits;
  readonly #perPeer = new Map<string, number>();
  readonly #carried = { spliced: 0, libp2p: 0 };
  readonly #rates: RateLimiter;
  readonly #totalRate: RateLimiter;
  readonly #refused;
  readonly #relayed;
  #open = 0;
  #bytes = 0;

  constructor(limits: RelayLimits, { metrics, clock }: { readonly metrics: Metrics; readonly clock: Clock }) {
    this.#limits = limits;
    this.#rates = createRateLimiter(limits.maxBytesPerSecondPerPeer, clock);
    this.#totalRate = createRateLimiter(limits.maxBytesPerSecond, clock);
    this.#refused = metrics.counter({
      name: 'edgemesh_relay_refused_total',
      help: 'Circuits or data sockets that the relay refused.',
      labels: ['reason'],
    });
    this.#relayed = metrics.counter({ name: 'edgemesh_relay_bytes_total', help: 'Bytes passed on.' }).with();
    const { observe } = metrics;
    observe({ name: 'edgemesh_relay_circuits', help: 'Circuits of spliced sockets.' }, () => this.#carried.spliced);
    const libp2p = { name: 'edgemesh_relay_libp2p_circuits', help: 'Circuits of circuit-relay-v2 streams.' };
    observe(libp2p, () => this.#carried.libp2p);
  }

  /** Takes a place for a circuit, or says which limit is in the way. */
  open(kind: CircuitKind, caller: string, callee: string): CircuitPlace | CircuitRefusal {
    const refusal = this.#refusal(caller, callee);
    if (refusal !== undefined) {
      this.refuse(refusal);
      return refusal;
    }
    const peers = [caller, callee] as const;
    this.#open++;
    for (const peer of peers) this.#perPeer.set(peer, (this.#perPeer.get(peer) ?? 0) + 1);
    let flows: readonly [SpliceFlow, SpliceFlow] | undefined;
    let isOver = false;
    return {
      start: (started) => {
        flows = started;
        this.#start(kind, peers, started);
      },
      end: () => {
        if (isOver) return;
        isOver = true;
        if (flows !== undefined) this.#stop(kind, peers, flows);
        this.#leave(peers);
      },
    };
  }

  /** Counts what was turned away. */
  refuse(reason: string): void {
    this.#refused.with(reason).add();
  }

  status(): RelayStatus {
    const { spliced, libp2p } = this.#carried;
    return {
      circuits: spliced,
      libp2pCircuits: libp2p,
      pending: this.#open - spliced - libp2p,
      bytesRelayed: this.#bytes,
    };
  }

  #refusal(caller: string, callee: string): CircuitRefusal | undefined {
    if (this.#open >= this.#limits.maxCircuits) return 'circuits-total';
    const isFull = (peer: string) => (this.#perPeer.get(peer) ?? 0) >= this.#limits.maxCircuitsPerPeer;
    return isFull(caller) || isFull(callee) ? 'circuits-per-peer' : undefined;
  }

  #start(kind: CircuitKind, peers: readonly [string, string], flows: readonly [SpliceFlow, SpliceFlow]): void {
    this.#carried[kind]++;
    for (const side of [0, 1] as const) {
      this.#rates.attach(peers[side], flows[side]);
      this.#totalRate.attach(ALL, flows[side]);
    }
  }

  #stop(kind: CircuitKind, peers: readonly [string, string], flows: readonly [SpliceFlow, SpliceFlow]): void {
    this.#carried[kind]--;
    const bytes = flows[0].bytes() + flows[1].bytes();
    this.#bytes += bytes;
    this.#relayed.add(bytes);
    for (const side of [0, 1] as const) {
      this.#rates.detach(peers[side], flows[side]);
      this.#totalRate.detach(ALL, flows[side]);
    }
  }

  #leave(peers: readonly [string, string]): void {
    this.#open--;
    for (const peer of peers) {
      const left = (this.#perPeer.get(peer) ?? 1) - 1;
      if (left === 0) this.#perPeer.delete(peer);
      else this.#perPeer.set(peer, left);
    }
  }
}
