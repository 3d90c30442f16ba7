/** Bounds retries to a share of the work, so that they cannot multiply an overload. */
export interface RetryBudget {
  /** Takes a place for one retry; the caller gives it back by `release`. */
  acquire(): boolean;
  release(): void;
}

/** @param active requests in flight */
export function createRetryBudget(active: () => number, percent: number, minimum: number): RetryBudget {
  let retries = 0;
  return {
    acquire() {
      if (retries >= Math.max(minimum, (active() * percent) / 100)) return false;
      retries++;
      return true;
    },
    release() {
      retries--;
    },
  };
}
