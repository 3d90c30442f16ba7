import type { Clock, Random } from './clock.ts';
import { messageOf } from './errors.ts';
import type { Logger } from './logger.ts';

export interface BackoffOptions {
  /** First delay in milliseconds. */
  readonly initialMs: number;
  /** Largest delay in milliseconds. */
  readonly maxMs: number;
}

/** Exponential backoff with full jitter on the upper half: attempt 0 waits 50 to 100 % of `initialMs`, doubling to `maxMs`. */
export function backoffDelay(attempt: number, options: BackoffOptions, random: Random = Math.random): number {
  const ceiling = Math.min(options.maxMs, options.initialMs * 2 ** Math.min(attempt, 30));
  return ceiling / 2 + (ceiling / 2) * random();
}

/** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
export function sleep(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal.addEventListener('abort', done, { once: true });
  });
}

export interface BackgroundOptions {
  readonly name: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly backoff: BackoffOptions;
}

/**
 * Runs `work` again and again until the signal aborts: at once after it returns, after a growing delay when it throws.
 * A run that lasted longer than the largest delay resets the backoff. The returned promise never rejects.
 */
export async function runForever(
  options: BackgroundOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { name, log, clock, signal, backoff } = options;
  let attempt = 0;
  while (!signal.aborted) {
    const started = clock.now();
    try {
      await work(signal);
      attempt = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (clock.now() - started > backoff.maxMs) attempt = 0;
      const delayMs = backoffDelay(attempt++, backoff);
      log.warn('background work failed, will retry', {
        work: name,
        error: messageOf(error),
        delayMs: Math.round(delayMs),
      });
      await sleep(delayMs, clock, signal);
    }
  }
}

/** Starts one piece of work that nobody awaits: a failure is logged under its name instead of becoming an unhandled rejection. */
export function detach(name: string, log: Logger, work: Promise<unknown>): void {
  work.catch((error: unknown) => log.error('background work failed', { work: name, error: messageOf(error) }));
}
