/**
 * Lets some handshakes run at a time and the others wait in order. When thousands of nodes come back to a restarted relay,
 * all of their handshakes at once would each outlast its timeout, and the work would be done again and again for nobody.
 */
export class HandshakeLine {
  readonly #maxRunning: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(maxRunning: number) {
    this.#maxRunning = maxRunning;
  }

  /** Handshakes that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Calls `go` when it is its turn, maybe at once. Returns what must be called, once, when the handshake has ended in whatever way. */
  enter(go: () => void): () => void {
    if (this.#running >= this.#maxRunning) {
      this.#waiting.add(go);
      return () => {
        if (!this.#waiting.delete(go)) this.#leave();
      };
    }
    this.#running++;
    go();
    return () => this.#leave();
  }

  #leave(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next(); // it takes over the place, so the count stays
      return;
    }
    this.#running--;
  }
}
