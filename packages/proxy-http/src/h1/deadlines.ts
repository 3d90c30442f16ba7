import type { HttpLimits } from '../options.ts';
import type { Sweeper } from '../sweeper.ts';

/** Until when each state of a server connection may last, counted from now. Milliseconds of the sweeper's clock. */
export class Deadlines {
  private readonly limits: HttpLimits;
  private readonly sweeper: Sweeper;
  private lastByteAt = 0;

  constructor(limits: HttpLimits, sweeper: Sweeper) {
    this.limits = limits;
    this.sweeper = sweeper;
  }

  /** For the rest of a request head. */
  head(): number {
    return this.sweeper.now + this.limits.headerTimeoutMs;
  }

  /** For more of a request body. */
  body(responded: boolean): number {
    // A body that goes on beside the response may be as silent as it likes; the time of the endpoint bounds both.
    return responded ? Number.POSITIVE_INFINITY : this.sweeper.now + this.limits.bodyIdleMs;
  }

  /** While the endpoint takes its time. */
  response(halfClosed: boolean): number {
    return halfClosed ? this.sweeper.now + this.limits.halfClosedMs : Number.POSITIVE_INFINITY;
  }

  /** For the client to take what was written. */
  write(): number {
    return this.sweeper.now + this.limits.writeIdleMs;
  }

  /** For the next request. */
  keepAlive(): number {
    return this.sweeper.now + this.limits.keepAliveMs;
  }

  /** For what is read only to be dropped. */
  linger(): number {
    return this.sweeper.now + this.limits.lingerMs;
  }

  /** For more bytes after an upgrade, either way. */
  tunnel(): number {
    const { tunnelIdleMs } = this.limits;
    return tunnelIdleMs === 0 ? Number.POSITIVE_INFINITY : this.sweeper.now + tunnelIdleMs;
  }

  /** The client has sent something. */
  heard(): void {
    this.lastByteAt = this.sweeper.now;
  }

  /**
   * A FIN can mean "this was all" or "I am gone", and looks the same. Scripts that close their side do so with their request;
   * who closes after having waited for a while has given up, and the work for it is cancelled.
   */
  isHalfClose(): boolean {
    return this.sweeper.now - this.lastByteAt < this.limits.halfCloseWindowMs;
  }
}
