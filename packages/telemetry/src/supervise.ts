import {
  type BackoffOptions,
  backoffDelay,
  type Clock,
  type Logger,
  messageOf,
  type Random,
  silentLogger,
  sleep,
  systemClock,
} from '@edgemesh/core';
import type { Health, ModuleHealth } from './health.ts';
import { RETRY_INITIAL_MS, RETRY_MAX_MS, START_WARN_MS, STOP_TIMEOUT_MS } from './options.ts';

/** What a module gets when it is started. */
export interface ModuleContext {
  /** Aborts when this run of the module shall end. */
  readonly signal: AbortSignal;
  /** The module works again in full. */
  ready(): void;
  /** The module works in part; it goes on running. */
  degraded(reason: string): void;
  /** The module broke after it had started: it is stopped and started again. */
  failed(error: unknown): void;
}

/** Starts one run of a module. What it returns is disposed when the run ends. */
export type StartModule = (context: ModuleContext) => Promise<AsyncDisposable | Disposable | undefined>;

export interface SuperviseOptions {
  readonly health: Health;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Delays between attempts. Default 1 s doubling to 60 s. */
  readonly retry?: BackoffOptions;
  /** Readiness does not wait for it when false. Default true. */
  readonly critical?: boolean;
  /** Time to stop before it is left behind, milliseconds. */
  readonly stopTimeoutMs?: number;
}

/** A module under supervision. Disposing stops it: the last state is `stopped`. */
export interface SupervisedModule extends AsyncDisposable {
  readonly name: string;
  /** Resolves after the first attempt, successful or not: for an orderly start that nothing can block for long. */
  readonly firstAttempt: Promise<void>;
  /** Ends this run and starts another one at once, e.g. with a new configuration. */
  restart(reason: string): void;
}

/**
 * Keeps a module running: starts it, says in `health` how it is, starts it again after a failure with growing delays, and
 * stops it cleanly. Never throws or rejects because of the module.
 */
export function superviseModule(name: string, start: StartModule, options: SuperviseOptions): SupervisedModule {
  return new Supervisor(name, start, options);
}

type RunEnd =
  | { readonly kind: 'stop' }
  | { readonly kind: 'restart'; readonly reason: string }
  | { readonly kind: 'failed'; readonly error: unknown };

class Supervisor implements SupervisedModule {
  readonly name: string;
  readonly firstAttempt: Promise<void>;
  readonly #start: StartModule;
  readonly #options: SuperviseOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #health: ModuleHealth;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  /** Wakes the pause between two attempts. */
  #pause = new AbortController();
  #end: ((end: RunEnd) => void) | undefined;

  constructor(name: string, start: StartModule, options: SuperviseOptions) {
    this.name = name;
    this.#start = start;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? silentLogger).child({ component: name });
    this.#health = options.health.register(name, { critical: options.critical ?? true });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.firstAttempt = promise;
    this.#done = this.#loop(resolve);
  }

  restart(reason: string): void {
    this.#log.info('module restarts', { reason });
    this.#pause.abort();
    this.#end?.({ kind: 'restart', reason });
  }

  async #loop(attempted: () => void): Promise<void> {
    const backoff = this.#options.retry ?? { initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS };
    let attempt = 0;
    while (!this.#stop.signal.aborted) {
      this.#pause = new AbortController();
      const began = this.#clock.now();
      const end = await this.#run(attempted);
      attempted();
      if (end.kind === 'stop' || this.#stop.signal.aborted) break;
      if (end.kind === 'restart') {
        this.#health.set('starting', end.reason);
        attempt = 0;
        continue;
      }
      if (this.#clock.now() - began > backoff.maxMs) attempt = 0;
      const delayMs = Math.round(backoffDelay(attempt++, backoff, this.#options.random));
      this.#health.set('degraded', messageOf(end.error));
      this.#log.warn('module failed, will be started again', { error: messageOf(end.error), delayMs });
      await sleep(delayMs, this.#clock, AbortSignal.any([this.#stop.signal, this.#pause.signal]));
    }
    attempted();
    this.#health.set('stopped');
  }

  /** One run from start to the end of its disposal. */
  async #run(attempted: () => void): Promise<RunEnd> {
    const run = new AbortController();
    const ended = Promise.withResolvers<RunEnd>();
    this.#end = ended.resolve;
    const onStop = () => ended.resolve({ kind: 'stop' });
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    const slow = this.#clock.after(START_WARN_MS, () => {
      this.#health.set('degraded', `has not started after ${START_WARN_MS / 1000} s, still trying`);
      attempted();
    });
    const started = this.#startOnce(run.signal, ended.resolve);
    let end: RunEnd;
    try {
      const first = await Promise.race([started, ended.promise]);
      slow.cancel();
      if (first.kind === 'started') {
        this.#log.info('module started');
        attempted();
      }
      end = first.kind === 'started' ? await ended.promise : first;
    } finally {
      slow.cancel();
      this.#stop.signal.removeEventListener('abort', onStop);
      this.#end = undefined;
    }
    run.abort();
    await this.#dispose(started);
    return end;
  }

  async #startOnce(signal: AbortSignal, end: (end: RunEnd) => void): Promise<StartResult> {
    const report = (state: 'ready' | 'degraded', reason?: string) => {
      if (!signal.aborted) this.#health.set(state, reason);
    };
    let said = false;
    try {
      const resource = await this.#start({
        signal,
        ready: () => report('ready'),
        degraded: (reason) => {
          said = true;
          report('degraded', reason);
        },
        failed: (error) => end({ kind: 'failed', error }),
      });
      // A module that came up degraded has said so itself.
      if (!said) report('ready');
      return { kind: 'started', resource };
    } catch (error) {
      return { kind: 'failed', error };
    }
  }

  /** Waits for a start under way too: what it brings forth late must not stay behind. Bounded in time. */
  async #dispose(started: Promise<StartResult>): Promise<void> {
    const stopping = (async () => {
      const result = await started;
      if (result.kind !== 'started' || result.resource === undefined) return;
      if (Symbol.asyncDispose in result.resource) await result.resource[Symbol.asyncDispose]();
      else result.resource[Symbol.dispose]();
    })().catch((error: unknown) => this.#log.error('module failed to stop', { error: messageOf(error) }));
    const timeoutMs = this.#options.stopTimeoutMs ?? STOP_TIMEOUT_MS;
    const over = new AbortController();
    const timeout = sleep(timeoutMs, this.#clock, over.signal).then(() => {
      if (!over.signal.aborted) this.#log.error('module does not stop, it is left behind', { timeoutMs });
    });
    await Promise.race([stopping, timeout]);
    over.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

type StartResult =
  | { readonly kind: 'started'; readonly resource: AsyncDisposable | Disposable | undefined }
  | { readonly kind: 'failed'; readonly error: unknown };
