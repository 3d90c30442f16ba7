import type { Clock } from '@edgemesh/core';

/** A clock that stands still until `advance`. */
export interface FakeClock extends Clock {
  /** Moves time on and runs the timers that fall due, in order; timers set meanwhile run too when they fall due. */
  advance(ms: number): void;
  /** Timers that are set and neither run nor cancelled. */
  readonly pendingTimers: number;
}

/** Starts at monotonic 0; the wall clock starts at `wallStart` (milliseconds since the epoch). */
export function createFakeClock(wallStart = Date.UTC(2026, 0, 1)): FakeClock {
  let now = 0;
  let order = 0;
  const timers = new Map<number, { due: number; run: () => void }>();
  const nextDue = (limit: number) => {
    let best: number | undefined;
    for (const [id, timer] of timers) {
      if (timer.due <= limit && (best === undefined || timer.due < (timers.get(best)?.due as number))) best = id;
    }
    return best;
  };
  return {
    now: () => now,
    wallNow: () => wallStart + now,
    after(ms, run) {
      const id = order++;
      timers.set(id, { due: now + Math.max(0, ms), run });
      return { cancel: () => void timers.delete(id) };
    },
    advance(ms) {
      const end = now + ms;
      for (let id = nextDue(end); id !== undefined; id = nextDue(end)) {
        const timer = timers.get(id) as { due: number; run: () => void };
        timers.delete(id);
        now = timer.due;
        timer.run();
      }
      now = end;
    },
    get pendingTimers() {
      return timers.size;
    },
  };
}
