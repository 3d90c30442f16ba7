import type { Clock, Timer } from '@edgemesh/core';

/** Added bytes that are sent at once instead of at the end of the event-loop turn. */
const FULL_BATCH_BYTES = 131_072;
/** How often the sockets are looked at before what was found is sent, while each look finds more, and for how long (milliseconds). */
const MOST_LOOKS = 8;
const LOOKING_MS = 1;
/** Longest that a frame waits for company that nobody waits for, in milliseconds. */
const LATE_MS = 2;

/** When a session sends: so that what comes up in one turn of the event loop leaves in one batch. */
export class Turns {
  private readonly clock: Clock;
  private readonly pump: () => void;
  private pendingBytes = 0;
  private immediate: NodeJS.Immediate | undefined;
  private isEarly = false;
  private looks = 0;
  private lookingSince = 0;
  private hasFound = false;
  private lateTimer: Timer | undefined;

  /** @param pump - sends what there is */
  constructor(clock: Clock, pump: () => void) {
    this.clock = clock;
    this.pump = pump;
  }

  /** Something waits to be sent, of which so many bytes are new. */
  wake(addedBytes: number): void {
    this.pendingBytes += addedBytes;
    this.hasFound = true;
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
    this.looks = 0;
    this.lateTimer?.cancel();
    this.lateTimer = undefined;
  }

  private readonly flush = () => {
    // What another look at the sockets finds goes along: a turn of the loop costs less than a write, here and at the peer. libuv
    // accepts one connection in a turn.
    if (this.wantsLook()) {
      this.hasFound = false;
      this.looks++;
      this.immediate = setImmediate(this.flush);
      return;
    }
    this.looks = 0;
    this.immediate = undefined;
    this.pump();
  };

  private wantsLook(): boolean {
    if (this.looks === 0) {
      this.lookingSince = this.clock.now();
      return true;
    }
    return this.hasFound && this.looks < MOST_LOOKS && this.clock.now() - this.lookingSince < LOOKING_MS;
  }

  private readonly flushEarly = () => {
    this.isEarly = false;
    this.pump();
  };
}
