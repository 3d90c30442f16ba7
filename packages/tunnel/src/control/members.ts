import { TunnelError } from '../errors.ts';

/**
 * Who is connected to this node: members that have greeted, and guests, which are standard libp2p clients that hold a
 * reservation only. A relay's `maxReservations` is for both together; everybody counts once.
 */
export class Members {
  readonly #greeted = new Set<string>();
  readonly #guests = new Set<string>();
  readonly #max: number;

  /** @param max members and guests at one time; Infinity where this node is no relay */
  constructor(max: number) {
    this.#max = max;
  }

  /** Members that have greeted. */
  get size(): number {
    return this.#greeted.size;
  }

  /** Peers that have greeted us or that we have greeted. */
  greeted(): readonly string[] {
    return [...this.#greeted];
  }

  hasGreeted(peerId: string): boolean {
    return this.#greeted.has(peerId);
  }

  /** Throws TunnelError `limit` where there is no room for one more. */
  admit(peerId: string): void {
    if (this.#hasRoomFor(peerId)) return;
    throw new TunnelError('limit', `the relay is full: maxReservations (${this.#max}) nodes are connected to it`);
  }

  greet(peerId: string): void {
    this.#guests.delete(peerId);
    this.#greeted.add(peerId);
  }

  /** Somebody asks for a reservation: true when there is a place, which is then taken. */
  host(peerId: string): boolean {
    if (!this.#hasRoomFor(peerId)) return false;
    if (!this.#greeted.has(peerId)) this.#guests.add(peerId);
    return true;
  }

  leave(peerId: string): void {
    this.#greeted.delete(peerId);
    this.#guests.delete(peerId);
  }

  #hasRoomFor(peerId: string): boolean {
    const isCounted = this.#greeted.has(peerId) || this.#guests.has(peerId);
    return isCounted || this.#greeted.size + this.#guests.size < this.#max;
  }
}
