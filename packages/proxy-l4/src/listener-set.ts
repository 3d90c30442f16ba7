import { type Clock, type Logger, messageOf, type Timer } from '@edgemesh/core';

/** An open listener, whatever its protocol. */
export interface OpenListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Accepts no more and lets what it carries come to its end, whenever that is. Absent: closing ends all at once. */
  retire?(): Promise<void>;
}

/** How listeners are opened, and how many. */
export interface ListenerSetOptions<Spec> {
  readonly open: (spec: Spec) => Promise<OpenListener>;
  /** Called after a listener has come, or (`undefined`) gone. */
  readonly changed: (spec: Spec, listener: OpenListener | undefined) => void;
  readonly maxListeners: number;
  readonly retryMs: number;
  readonly log: Logger;
  readonly clock: Clock;
}

interface Entry<Spec> {
  readonly spec: Spec;
  /** The work that opens it, or has opened it; resolves to undefined when that failed. */
  opening: Promise<OpenListener | undefined>;
  listener?: OpenListener;
  problem?: string;
  wanted: boolean;
  /** An attempt is under way; there is never a second one. */
  busy: boolean;
}

/** Keeps a set of listeners equal to a wanted set. Opening and closing run in the background; failures are retried. */
export interface ListenerSet<Spec> extends AsyncDisposable {
  /** Replaces the wanted set. */
  want(specs: ReadonlyMap<string, Spec>): void;
  /** Changes the wanted set; costs nothing for what stays. */
  change(gone: Iterable<string>, fresh: ReadonlyMap<string, Spec>): void;
  /** Resolves when everything wanted so far has been opened or has failed. */
  settled(): Promise<void>;
  /** Open listeners by key. */
  open(): Iterable<readonly [key: string, spec: Spec, listener: OpenListener]>;
  readonly problems: readonly string[];
}

/**
 * Makes an empty set. A listener that is no longer wanted retires: connections of a Service that was deleted go on, as they do with
 * kube-proxy. Disposing closes every listener, retired ones too, and waits for them.
 */
export function createListenerSet<Spec>(options: ListenerSetOptions<Spec>): ListenerSet<Spec> {
  const { log, clock } = options;
  const entries = new Map<string, Entry<Spec>>();
  const wanted = new Map<string, Spec>();
  const opening = new Set<Promise<unknown>>();
  const closing = new Set<Promise<void>>();
  const retired = new Set<OpenListener>();
  let overflow: string | undefined;
  let retry: Timer | undefined;
  let stopped = false;

  const start = (key: string, spec: Spec) => {
    const entry: Entry<Spec> = { spec, wanted: true, busy: false, opening: Promise.resolve(undefined) };
    entries.set(key, entry);
    tryToOpen(key, entry);
  };

  const tryToOpen = (key: string, entry: Entry<Spec>) => {
    entry.opening = attempt(key, entry);
    opening.add(entry.opening);
    void entry.opening.finally(() => opening.delete(entry.opening));
  };

  const attempt = async (key: string, entry: Entry<Spec>): Promise<OpenListener | undefined> => {
    entry.busy = true;
    try {
      // What is being closed may hold the very address: a Service that was renamed, or came back.
      if (closing.size > 0) await new Promise((resolve) => setImmediate(resolve));
      const listener = await options.open(entry.spec);
      if (entry.wanted) {
        entry.listener = listener;
        delete entry.problem;
        options.changed(entry.spec, listener);
      }
      return listener;
    } catch (error) {
      const problem = messageOf(error);
      if (entry.problem !== problem) log.warn('listener not opened, will retry', { listener: key, error: problem });
      entry.problem = problem;
      if (!stopped) retry ??= clock.after(options.retryMs, retryFailed);
      return undefined;
    } finally {
      entry.busy = false;
    }
  };

  const retryFailed = () => {
    retry = undefined;
    for (const [key, entry] of entries) {
      if (!entry.busy && entry.listener === undefined) tryToOpen(key, entry);
    }
  };

  const close = (key: string, entry: Entry<Spec>) => {
    entry.wanted = false;
    entries.delete(key);
    if (entry.listener !== undefined) options.changed(entry.spec, undefined);
    // The address that becomes free may be what another listener waits for.
    retry?.cancel();
    retry = stopped ? undefined : clock.after(0, retryFailed);
    const work = entry.opening
      .then((listener) => (listener === undefined || stopped ? listener?.[Symbol.asyncDispose]() : end(listener)))
      .catch((error: unknown) => log.error('listener not closed', { listener: key, error: messageOf(error) }))
      .finally(() => closing.delete(work));
    closing.add(work);
  };

  const end = async (listener: OpenListener) => {
    if (listener.retire === undefined) return listener[Symbol.asyncDispose]();
    retired.add(listener);
    await listener.retire();
    retired.delete(listener);
  };

  /** Brings what is there to what is wanted, as far as the limit allows: the first in the order of their keys. */
  const reconcile = () => {
    const keys = [...wanted.keys()].sort().slice(0, options.maxListeners);
    const allowed = new Set(keys);
    for (const [key, entry] of entries) if (!allowed.has(key)) close(key, entry);
    for (const key of keys) if (!entries.has(key)) start(key, wanted.get(key) as Spec);
    const missing = wanted.size - keys.length;
    overflow = missing > 0 ? `${missing} listeners exceed the limit of ${options.maxListeners}` : undefined;
    if (overflow !== undefined) log.warn('too many listeners', { missing, limit: options.maxListeners });
  };

  return {
    want(specs) {
      if (stopped) return;
      wanted.clear();
      for (const [key, spec] of specs) wanted.set(key, spec);
      reconcile();
    },
    change(gone, fresh) {
      if (stopped) return;
      for (const key of gone) {
        wanted.delete(key);
        const entry = entries.get(key);
        if (entry !== undefined) close(key, entry);
      }
      for (const [key, spec] of fresh) wanted.set(key, spec);
      if (overflow !== undefined || wanted.size > options.maxListeners) return reconcile();
      for (const key of [...fresh.keys()].sort()) if (!entries.has(key)) start(key, fresh.get(key) as Spec);
    },
    async settled() {
      await Promise.all(opening);
    },
    *open() {
      for (const [key, { spec, listener }] of entries) if (listener !== undefined) yield [key, spec, listener] as const;
    },
    get problems() {
      const failed = [...entries].flatMap(([key, { problem }]) =>
        problem === undefined ? [] : [`${key}: ${problem}`],
      );
      return overflow === undefined ? failed : [...failed, overflow];
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      retry?.cancel();
      for (const [key, entry] of entries) close(key, entry);
      await Promise.all([...retired].map((listener) => listener[Symbol.asyncDispose]()));
      await Promise.all(closing);
    },
  };
}
