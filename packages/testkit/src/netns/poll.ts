import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from './errors.ts';
import { LAB_DEFAULTS } from './options.ts';

export interface PollOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** Said in the error when the deadline passes. */
  readonly what?: string;
}

/**
 * Looks again and again until `look` answers something truthy, and returns that. What it throws counts as "not yet" and
 * becomes the cause of the LabError with code `timeout` when the deadline passes.
 */
export async function pollUntil<T>(
  look: () => T | Promise<T>,
  options: PollOptions = {},
): Promise<Exclude<T, false | undefined | null | 0 | ''>> {
  const timeoutMs = options.timeoutMs ?? LAB_DEFAULTS.waitTimeoutMs;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value) return value as Exclude<T, false | undefined | null | 0 | ''>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) break;
    await delay(options.intervalMs ?? LAB_DEFAULTS.pollIntervalMs);
  }
  throw new LabError('timeout', `${options.what ?? 'condition'} did not hold within ${timeoutMs} ms`, last);
}
