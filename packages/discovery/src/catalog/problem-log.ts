import type { Logger } from '@edgemesh/core';
import type { DiscoveryError } from '../errors.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import { MAX_REMEMBERED_PROBLEMS } from '../options.ts';

/** Counts every problem, logs each distinct one once: a re-list repeats them all. */
export interface ProblemLog {
  readonly count: number;
  add(problem: DiscoveryError): void;
}

/** A log that has seen no problem yet. */
export function createProblemLog(log: Logger, metrics: DiscoveryMetrics): ProblemLog {
  const seen = new Set<string>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    add(problem) {
      count += 1;
      metrics.rejected.with(problem.object?.kind ?? '').add();
      if (seen.has(problem.message)) return;
      if (seen.size >= MAX_REMEMBERED_PROBLEMS) seen.clear();
      seen.add(problem.message);
      log.warn('object rejected', { code: problem.code, error: problem.message, ...problem.object });
    },
  };
}
