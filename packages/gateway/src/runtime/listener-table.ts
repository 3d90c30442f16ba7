import { type Clock, type Logger, messageOf, type Timer } from '@edgemesh/core';

/** An open listener, whatever it serves. */
export interface OpenListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

/** How listeners are opened, and how many. */
export interface ListenerTableOptions<Spec> {
  readonly open: (spec: Spec) => Promise<OpenListener>;
  /** Called after a listener has opened, failed or gone. */
  readonly changed: () => void;
  readonly maxListeners: number;
  readonly retryMs: number;
  readonly log: Logger;
  readonly clock: Clock;
}

/** One wanted listener and how it is. */
export interface ListenerState<Spec> {
  readonly key: string;
  readonly spec: Spec;
  readonly listener?: OpenListener;
  /** Why it is not open. */
  readonly problem?: string;
}

/** Keeps the open listeners equal to the wanted ones. One that cannot be opened is tried again; the others go on. */
export interface ListenerTable<Spec> extends AsyncDisposable {
  want(specs: ReadonlyMap<string, Spec>): void;
  /** Resolves when everything wanted so far has been opened or has failed. */
  settled(): Promise<void>;
  states(): ListenerState<Spec>[];
  /** Wanted listeners beyond the limit. */
  readonly overflow: number;
}

interface Entry<Spec> {
  readonly spec: Spec;
  work: Promise<void>;
  listener?: OpenListener;
  problem?: string;
  wanted: boolean;
  busy: boolean;
}

/** Makes an empty table; disposing it closes every listener and waits until they have drained. */
export function createListenerTable<Spec>(options: ListenerTableOptions<Spec>): ListenerTable<Spec> {
  const { log, clock } = options;
  const entries = new Map<string, Entry<Spec>>();
  const closing = new Set<Promise<void>>();
  let overflow = 0;
  let retry: Timer | undefined;
  let stopped = false;

  const attempt = async (key: string, entry: Entry<Spec>): Promise<void> => {
    entry.busy = true;
    try {
      // What is being closed may hold the very address until the next turn.
      if (closing.size > 0) await new Promise((resolve) => setImmediate(resolve));
      const listener = await options.open(entry.spec);
      if (!entry.wanted) return void (await listener[Symbol.asyncDispose]());
      entry.listener = listener;
      delete entry.problem;
      log.info('listening', { listener: key });
    } catch (error) {
      const problem = messageOf(error);
      if (entry.problem !== problem) log.warn('listener not opened, will retry', { listener: key, error: problem });
      entry.problem = problem;
      if (!stopped) retry ??= clock.after(options.retryMs, retryFailed);
    } finally {
      entry.busy = false;
      if (entry.wanted) options.changed();
    }
  };

  const retryFailed = () => {
    retry = undefined;
    for (const [key, entry] of entries) {
      if (!entry.busy && entry.listener === undefined) entry.work = attempt(key, entry);
    }
  };

  const close = (key: string, entry: Entry<Spec>) => {
    entry.wanted = false;
    entries.delete(key);
    // The address that becomes free may be what another listener waits for.
    retry?.cancel();
    retry = stopped ? undefined : clock.after(0, retryFailed);
    const disposal = entry.listener?.[Symbol.asyncDispose]();
    const work: Promise<void> = Promise.all([entry.work, disposal])
      .catch((error: unknown) => log.error('listener not closed', { listener: key, error: messageOf(error) }))
      .then(() => void closing.delete(work));
    closing.add(work);
    log.info('no longer listening', { listener: key });
  };

  return {
    want(specs) {
      if (stopped) return;
      const keys = [...specs.keys()].slice(0, options.maxListeners);
      overflow = specs.size - keys.length;
      const allowed = new Set(keys);
      for (const [key, entry] of entries) if (!allowed.has(key)) close(key, entry);
      for (const key of keys) {
        if (entries.has(key)) continue;
        const entry: Entry<Spec> = { spec: specs.get(key) as Spec, wanted: true, busy: false, work: Promise.resolve() };
        entries.set(key, entry);
        entry.work = attempt(key, entry);
      }
    },
    async settled() {
      await Promise.all([...entries.values()].map(({ work }) => work));
    },
    states: () =>
      [...entries].map(([key, { spec, listener, problem }]) => ({
        key,
        spec,
        ...(listener && { listener }),
        ...(problem !== undefined && { problem }),
      })),
    get overflow() {
      return overflow;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      retry?.cancel();
      for (const [key, entry] of entries) close(key, entry);
      await Promise.all(closing);
    },
  };
}
