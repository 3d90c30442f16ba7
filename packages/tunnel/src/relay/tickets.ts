import { randomBytes } from 'node:crypto';
import type { RelayLimits } from '../options.ts';

/** Length of a ticket in bytes: unguessable, and a fixed size on the wire. */
export const TICKET_BYTES = 32;

/** Why a relay refuses a circuit. */
export type CircuitRefusal = 'circuits-total' | 'circuits-per-peer' | 'unknown-ticket' | 'ticket-used';

/** A circuit between two members: announced when its tickets are given out, open once both sockets have come. */
export interface Circuit {
  readonly id: number;
  readonly peers: readonly [string, string];
  /** Monotonic milliseconds after which unused tickets are void. */
  readonly expiresAt: number;
}

interface Half {
  readonly circuit: Circuit;
  readonly side: 0 | 1;
  used: boolean;
}

/**
 * The ledger of a relay: which tickets are out, how many circuits each peer has. Pure bookkeeping; the sockets are the
 * service's. A circuit counts against both peers from the moment it is announced until it is released.
 */
export class TicketLedger {
  readonly #limits: RelayLimits;
  readonly #halves = new Map<string, Half>();
  readonly #perPeer = new Map<string, number>();
  readonly #circuits = new Map<number, [string, string]>();
  #nextId = 1;

  constructor(limits: RelayLimits) {
    this.#limits = limits;
  }

  /** Circuits announced or open. */
  get size(): number {
    return this.#circuits.size;
  }

  /** Announces a circuit from `caller` to `callee` and makes a ticket for each. */
  announce(
    caller: string,
    callee: string,
    now: number,
  ): { circuit: Circuit; tickets: readonly [Buffer, Buffer] } | CircuitRefusal {
    if (this.#circuits.size >= this.#limits.maxCircuits) return 'circuits-total';
    for (const peer of [caller, callee]) {
      if ((this.#perPeer.get(peer) ?? 0) >= this.#limits.maxCircuitsPerPeer) return 'circuits-per-peer';
    }
    const circuit: Circuit = {
      id: this.#nextId++,
      peers: [caller, callee],
      expiresAt: now + this.#limits.ticketTtlMs,
    };
    const tickets = [randomBytes(TICKET_BYTES), randomBytes(TICKET_BYTES)] as const;
    const keys: [string, string] = [tickets[0].toString('hex'), tickets[1].toString('hex')];
    this.#halves.set(keys[0], { circuit, side: 0, used: false });
    this.#halves.set(keys[1], { circuit, side: 1, used: false });
    this.#circuits.set(circuit.id, keys);
    for (const peer of circuit.peers) this.#perPeer.set(peer, (this.#perPeer.get(peer) ?? 0) + 1);
    return { circuit, tickets };
  }

  /** Takes a ticket in: each is good for one socket. */
  redeem(ticket: Uint8Array, now: number): { circuit: Circuit; side: 0 | 1 } | CircuitRefusal {
    const half = this.#halves.get(Buffer.from(ticket).toString('hex'));
    if (half === undefined || now >= half.circuit.expiresAt) return 'unknown-ticket';
    if (half.used) return 'ticket-used';
    half.used = true;
    return { circuit: half.circuit, side: half.side };
  }

  /** Forgets a circuit that ended, failed or expired. Idempotent. */
  release(circuit: Circuit): void {
    const keys = this.#circuits.get(circuit.id);
    if (keys === undefined) return;
    this.#circuits.delete(circuit.id);
    for (const key of keys) this.#halves.delete(key);
    for (const peer of circuit.peers) {
      const left = (this.#perPeer.get(peer) ?? 1) - 1;
      if (left === 0) this.#perPeer.delete(peer);
      else this.#perPeer.set(peer, left);
    }
  }
}
