import { randomBytes } from 'node:crypto';

/** Length of a ticket in bytes: unguessable, and a fixed size on the wire. */
export const TICKET_BYTES = 32;

/** Why a relay turns a data socket away. */
export type TicketRefusal = 'unknown-ticket' | 'ticket-used';

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

/** Which tickets of a relay are out. Pure bookkeeping; the sockets are the service's. */
export class TicketLedger {
  readonly #ttlMs: number;
  readonly #halves = new Map<string, Half>();
  readonly #circuits = new Map<number, [string, string]>();
  #nextId = 1;

  /** @param ttlMs how long a ticket waits for its socket, in milliseconds */
  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  /** Circuits whose tickets are out or used. */
  get size(): number {
    return this.#circuits.size;
  }

  /** Makes a ticket for each side of a circuit from `caller` to `callee`. */
  announce(caller: string, callee: string, now: number): { circuit: Circuit; tickets: readonly [Buffer, Buffer] } {
    const circuit: Circuit = { id: this.#nextId++, peers: [caller, callee], expiresAt: now + this.#ttlMs };
    const tickets = [randomBytes(TICKET_BYTES), randomBytes(TICKET_BYTES)] as const;
    const keys: [string, string] = [tickets[0].toString('hex'), tickets[1].toString('hex')];
    this.#halves.set(keys[0], { circuit, side: 0, used: false });
    this.#halves.set(keys[1], { circuit, side: 1, used: false });
    this.#circuits.set(circuit.id, keys);
    return { circuit, tickets };
  }

  /** Takes a ticket in: each is good for one socket. */
  redeem(ticket: Uint8Array, now: number): { circuit: Circuit; side: 0 | 1 } | TicketRefusal {
    const half = this.#halves.get(Buffer.from(ticket).toString('hex'));
    if (half === undefined || now >= half.circuit.expiresAt) return 'unknown-ticket';
    if (half.used) return 'ticket-used';
    half.used = true;
    return { circuit: half.circuit, side: half.side };
  }

  /** Forgets a circuit that ended, failed or expired. Idempotent. */
  release(circuit: Circuit): void {
    for (const key of this.#circuits.get(circuit.id) ?? []) this.#halves.delete(key);
    this.#circuits.delete(circuit.id);
  }
}
