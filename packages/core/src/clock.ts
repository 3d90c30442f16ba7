/** A timer that can be cancelled; cancelling twice is harmless. */
export interface Timer {
  cancel(): void;
}

/** Time as a dependency, so that state machines and caches run under a fake clock in tests. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since the epoch, for records that travel or persist. */
  wallNow(): number;
  /** Runs `run` once after `ms`. Does not keep the process alive. */
  after(ms: number, run: () => void): Timer;
}

/** The clock of the process. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(ms, run) {
    const handle = setTimeout(run, ms);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** A source of numbers in [0, 1). */
export type Random = () => number;
