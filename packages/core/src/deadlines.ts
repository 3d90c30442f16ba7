import type { Clock, Timer } from './clock.ts';

/** A deadline in the list of its duration. */
class Deadline implements Timer {
  next: Deadline | undefined;
  previous: Deadline | undefined;
  readonly dueAt: number;
  readonly run: () => void;
  private readonly list: DeadlineList;

  constructor(list: DeadlineList, dueAt: number, run: () => void) {
    this.list = list;
    this.dueAt = dueAt;
    this.run = run;
  }

  cancel(): void {
    this.list.remove(this);
  }
}

/** Deadlines of one duration: what was added first is due first, so one timer serves all. */
class DeadlineList {
  private first: Deadline | undefined;
  private last: Deadline | undefined;
  private timer: Timer | undefined;
  private readonly clock: Clock;
  private readonly ms: number;

  constructor(clock: Clock, ms: number) {
    this.clock = clock;
    this.ms = ms;
  }

  add(run: () => void): Timer {
    const deadline = new Deadline(this, this.clock.now() + this.ms, run);
    deadline.previous = this.last;
    if (this.last === undefined) this.first = deadline;
    else this.last.next = deadline;
    this.last = deadline;
    // A timer that runs already comes no later than this deadline.
    this.timer ??= this.clock.after(this.ms, () => this.look());
    return deadline;
  }

  remove(deadline: Deadline): void {
    const { previous, next } = deadline;
    if (previous === undefined && this.first !== deadline) return; // is out already
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next === undefined) this.last = previous;
    else next.previous = previous;
    deadline.previous = undefined;
    deadline.next = undefined;
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.first = undefined;
    this.last = undefined;
  }

  private look(): void {
    this.timer = undefined;
    const now = this.clock.now();
    while (this.first !== undefined && this.first.dueAt <= now) {
      const due = this.first;
      this.remove(due);
      due.run();
    }
    if (this.first !== undefined) this.timer ??= this.clock.after(this.first.dueAt - now, () => this.look());
  }
}

/**
 * Timers for a hot path: thousands of deadlines of a few durations, nearly all of which are cancelled. Adding and cancelling
 * touches no timer of the runtime.
 */
export class Deadlines implements Pick<Clock, 'after'> {
  private readonly clock: Clock;
  private readonly lists = new Map<number, DeadlineList>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Runs `run` once after `ms`, at the earliest. Use few different durations: each has a list of its own. */
  after(ms: number, run: () => void): Timer {
    let list = this.lists.get(ms);
    if (list === undefined) {
      list = new DeadlineList(this.clock, ms);
      this.lists.set(ms, list);
    }
    return list.add(run);
  }

  /** Forgets all deadlines. */
  stop(): void {
    for (const list of this.lists.values()) list.stop();
    this.lists.clear();
  }
}
