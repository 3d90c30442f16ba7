/** Smoothed round trip and its deviation, as TCP estimates them (RFC 6298 2). */
export interface RttEstimator {
  /** Undefined before the first sample. */
  readonly smoothedMs: number | undefined;
  /** After this time an answer is late: smoothed + 4 deviations, within the bounds. */
  readonly hedgeMs: number;
  observe(elapsedMs: number): void;
}

/** Without samples an answer is late after half of the upper bound. */
export function createRttEstimator(minMs: number, maxMs: number): RttEstimator {
  let smoothed: number | undefined;
  let deviation = 0;
  return {
    get smoothedMs() {
      return smoothed;
    },
    get hedgeMs() {
      if (smoothed === undefined) return Math.max(minMs, maxMs / 2);
      return Math.min(maxMs, Math.max(minMs, smoothed + 4 * deviation));
    },
    observe(elapsedMs) {
      if (smoothed === undefined) {
        smoothed = elapsedMs;
        deviation = elapsedMs / 2;
        return;
      }
      deviation += (Math.abs(elapsedMs - smoothed) - deviation) / 4;
      smoothed += (elapsedMs - smoothed) / 8;
    },
  };
}
