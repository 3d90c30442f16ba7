import { type Clock, MeshError, type Timer } from '@edgemesh/core';
import type { Sendable } from './scheduler.ts';

/** A stream or channel that is dialled. */
export interface Dialled extends Sendable {
  readonly id: number;
  /** Nothing of it has left: a failure had no effects at the peer. */
  readonly isUnsent: boolean;
  dialTimer: Timer | undefined;
  fail(error: MeshError): void;
}

export interface OpenLineDeps {
  readonly clock: Clock;
  readonly maxWaiting: number;
  /** How long a stream waits for others to end while the path is well, in milliseconds. */
  readonly patienceMs: number;
  readonly maxStreams: number;
  /** False while nothing flows, so that nothing can end either. */
  hasPath(): boolean;
}

/**
 * Streams beyond the limit of their peer. While a path is sought, new streams pile up that end as soon as there is one:
 * so they wait for a place, in order, instead of being refused.
 */
export class OpenLine {
  readonly #deps: OpenLineDeps;
  /** To the time at which the dial has failed. */
  readonly #waiting = new Map<Dialled, number>();

  constructor(deps: OpenLineDeps) {
    this.#deps = deps;
  }

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  /** False when there is no room; the stream is then to be refused. */
  add(channel: Dialled, timeoutMs: number): boolean {
    const { maxWaiting, patienceMs, clock } = this.#deps;
    if (patienceMs === 0 || this.#waiting.size >= maxWaiting) return false;
    channel.queue = 'held';
    this.#waiting.set(channel, clock.now() + timeoutMs);
    this.#wait(channel);
    return true;
  }

  #wait(channel: Dialled): void {
    const { clock, patienceMs, maxStreams } = this.#deps;
    const leftMs = (this.#waiting.get(channel) ?? 0) - clock.now();
    channel.dialTimer = clock.after(Math.min(patienceMs, leftMs), () => {
      if (leftMs > patienceMs && !this.#deps.hasPath()) return this.#wait(channel);
      const message = `maxStreamsOutPerPeer (${maxStreams}) streams are open already`;
      channel.fail(new MeshError('limit', message, { retryable: true }));
    });
  }

  /** Takes the first that waits, for it to be opened, and says how much of its time is left, in milliseconds. */
  next(): { readonly channel: Dialled; readonly leftMs: number } | undefined {
    for (const [channel, deadline] of this.#waiting) {
      this.remove(channel);
      return { channel, leftMs: Math.max(1, deadline - this.#deps.clock.now()) };
    }
    return undefined;
  }

  /** True when the stream was waiting. */
  remove(channel: Dialled): boolean {
    if (!this.#waiting.delete(channel)) return false;
    channel.dialTimer?.cancel();
    channel.dialTimer = undefined;
    channel.queue = 'none';
    return true;
  }
}
