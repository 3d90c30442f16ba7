import type { Clock, Timer } from '@edgemesh/core';

/** Something with a time after which it is dealt with. */
export interface Deadlined {
  /** Milliseconds of the sweeper's clock; Infinity is never. */
  deadline: number;
  onDeadline(): void;
}

/**
 * Checks many deadlines with one timer: setting one is an assignment, so a request costs no timer of its own. Deadlines are
 * late by up to the interval.
 */
export class Sweeper {
  /** Milliseconds; as old as the last sweep. */
  now: number;
  private readonly clock: Clock;
  private readonly intervalMs: number;
  private readonly members = new Set<Deadlined>();
  private timer: Timer | undefined;

  constructor(clock: Clock, intervalMs: number) {
    this.clock = clock;
    this.intervalMs = intervalMs;
    this.now = clock.now();
  }

  get size(): number {
    return this.members.size;
  }

  add(member: Deadlined): void {
    this.members.add(member);
    if (this.timer !== undefined) return;
    this.now = this.clock.now();
    this.timer = this.clock.after(this.intervalMs, () => this.sweep());
  }

  delete(member: Deadlined): void {
    this.members.delete(member);
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private sweep(): void {
    this.timer = undefined;
    this.now = this.clock.now();
    for (const member of this.members) {
      if (member.deadline > this.now) continue;
      member.deadline = Number.POSITIVE_INFINITY;
      member.onDeadline();
    }
    // Nobody left: the timer sleeps until somebody comes.
    if (this.members.size > 0) this.timer = this.clock.after(this.intervalMs, () => this.sweep());
  }
}
