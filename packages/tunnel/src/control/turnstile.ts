import { TunnelError } from '../errors.ts';

/** Lets a number of pieces of work run at the same time per key; others wait in line, in order. */
export class Turnstile {
  readonly #maxRunning: number;
  readonly #maxWaiting: number;
  readonly #running = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(maxRunning: number, maxWaiting: number) {
    this.#maxRunning = maxRunning;
    this.#maxWaiting = maxWaiting;
  }

  /** Runs the work when it is its turn. Rejects with TunnelError `limit` (line too long) or `closed` (aborted in line). */
  async run<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key) ?? 0;
    // whoever hands over its place leaves the count as it is
    if (running < this.#maxRunning) this.#running.set(key, running + 1);
    else await this.#wait(key, signal);
    try {
      return await work();
    } finally {
      this.#leave(key);
    }
  }

  #wait(key: string, signal: AbortSignal): Promise<void> {
    const line = this.#waiting.get(key) ?? new Set();
    if (line.size >= this.#maxWaiting) {
      return Promise.reject(new TunnelError('limit', `more than ${this.#maxWaiting} requests wait for this peer`));
    }
    if (signal.aborted) return Promise.reject(new TunnelError('closed', 'given up while waiting', { retryable: true }));
    this.#waiting.set(key, line);
    return new Promise((resolve, reject) => {
      const go = () => {
        signal.removeEventListener('abort', give);
        resolve();
      };
      const give = () => {
        line.delete(go);
        reject(new TunnelError('closed', 'given up while waiting', { retryable: true }));
      };
      line.add(go);
      signal.addEventListener('abort', give, { once: true });
    });
  }

  #leave(key: string): void {
    const line = this.#waiting.get(key);
    for (const next of line ?? []) {
      line?.delete(next);
      if (line?.size === 0) this.#waiting.delete(key);
      next();
      return;
    }
    const left = (this.#running.get(key) ?? 1) - 1;
    if (left === 0) this.#running.delete(key);
    else this.#running.set(key, left);
  }
}
