import { INITIAL_WINDOW_BYTES, protocolError } from './wire.ts';

/**
 * Two event loops and what they serve share the cores of a small machine: credit takes this much longer than the path, in
 * milliseconds. Measured: without it a window stays at 256 KiB on a LAN, and two busy agents wait for credit most of the time.
 */
const WAKE_MS = 20;

/** Room that all streams of a session share for windows beyond the initial one. */
export interface WindowBudget {
  /** Bytes that may still be added to windows. */
  spareBytes: number;
  readonly maxWindowBytes: number;
}

/**
 * What the peer may send on one stream. Credit is given back when half of the window has been consumed; a window that is
 * used up within two round trips and the time to wake up is too small for the path and doubles, up to the stream's and the
 * session's limits.
 */
export class ReceiveWindow {
  private readonly budget: WindowBudget;
  private size = INITIAL_WINDOW_BYTES;
  private allowed = INITIAL_WINDOW_BYTES;
  private consumed = 0;
  private lastGrantAt: number;

  constructor(budget: WindowBudget, now: number) {
    this.budget = budget;
    this.lastGrantAt = now;
  }

  get windowBytes(): number {
    return this.size;
  }

  /** Bytes arrived. */
  receive(bytes: number): void {
    this.allowed -= bytes;
    if (this.allowed < 0) throw protocolError('more data than the credit of a stream allows');
  }

  /** Bytes went on to the reader; true when credit is due. */
  consume(bytes: number): boolean {
    this.consumed += bytes;
    return this.consumed * 2 >= this.size;
  }

  /** The credit to send now. */
  grant(now: number, rttMs: number | undefined): number {
    let credit = this.consumed;
    if (rttMs !== undefined && now - this.lastGrantAt < 2 * rttMs + WAKE_MS) {
      const growth = Math.max(0, Math.min(this.size, this.budget.maxWindowBytes - this.size, this.budget.spareBytes));
      this.budget.spareBytes -= growth;
      this.size += growth;
      credit += growth;
    }
    this.lastGrantAt = now;
    this.consumed = 0;
    this.allowed += credit;
    return credit;
  }

  /** Gives the borrowed room back; the stream is over. */
  release(): void {
    this.budget.spareBytes += this.size - INITIAL_WINDOW_BYTES;
    this.size = INITIAL_WINDOW_BYTES;
  }
}
