import type { Clock, Timer } from '@edgemesh/core';

/** Added bytes that are sent at once instead of at the end of the event-loop turn. */
const FULL_BATCH_BYTES = 131_072;
/** Longest that a frame waits for company that nobody waits for, in milliseconds. */
const LATE_MS = 2;

/** When a session sends: so that what comes up in one turn of the event loop leaves in one batch. */
export class Turns {
  private readonly clock: Clock;
  private readonly pump: () => void;
  private pendingBytes = 0;
  private immediate: NodeJS.Immediate | undefined;
  private isEarly = false;
  private hasLooked = false;
  private lateTimer: Timer | undefined;

  /** @param pump - sends what there is */
  constructor(clock: Clock, pump: () => void) {
    this.clock = clock;
    this.pump = pump;
  }

  /** Something waits to be sent, of which so many bytes are new. */
  wake(addedBytes: number): void {
    this.pendingBytes += addedBytes;
    if (this.immediate === undefined) this.immediate = setImmediate(this.flush);
    if (this.pendingBytes < FULL_BATCH_BYTES || this.isEarly) return;
    // A full batch does not wait for the end of the turn; but never inside the writer's own call.
    this.isEarly = true;
    queueMicrotask(this.flushEarly);
  }

  /** The same for what may wait for something to go with. */
  wakeLater(): void {
    if (this.immediate !== undefined) return;
    this.lateTimer ??= this.clock.after(LATE_MS, () => {
      this.lateTimer = undefined;
      this.wake(0);
    });
  }

  /** All that waits is being sent. */
  begin(): void {
    this.pendingBytes = 0;
  }

  stop(): void {
    if (this.immediate !== undefined) clearImmediate(this.immediate);
    this.immediate = undefined;
    this.hasLooked = false;
    this.lateTimer?.cancel();
    this.lateTimer = undefined;
  }

  private readonly flush = () => {
    // What another look at the sockets finds goes along: a turn of the loop costs less than a write, here and at the peer.
    this.hasLooked = !this.hasLooked;
    this.immediate = this.hasLooked ? setImmediate(this.flush) : undefined;
    if (!this.hasLooked) this.pump();
  };

  private readonly flushEarly = () => {
    this.isEarly = false;
    this.pump();
  };
}
