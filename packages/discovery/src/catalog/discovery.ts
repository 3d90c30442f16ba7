import {
  type CatalogView,
  type Clock,
  type GroupKind,
  type Logger,
  type Metrics,
  noMetrics,
  runForever,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { createDiscoveryMetrics, type DiscoveryMetrics } from '../metrics.ts';
import {
  AGE_CHECK_MS,
  DEFAULT_FIRST_PUBLISH_MS,
  DEFAULT_PUBLISH_WINDOW_MS,
  DEFAULT_STALE_AFTER_MS,
  SOURCE_BACKOFF,
} from '../options.ts';
import { createSnapshotWriter, type SnapshotOptions, type SnapshotWriter } from '../snapshot/index.ts';
import type { Source, SourceSink } from '../source.ts';
import { createProblemLog } from './problem-log.ts';
import { createPublisher, type Publisher } from './publisher.ts';
import { restoreSnapshot, snapshotOf } from './snapshots.ts';
import { type DiscoveryStatus, readStatus, type SourceRecord } from './status.ts';
import { createStore, type Store } from './store.ts';

/** What is read, where it is kept, and the ports it uses; defaults in `options.ts`. */
export interface DiscoveryOptions {
  /** Highest priority first: of one object in two sources the first source's wins (see {@link Source.origin}). */
  readonly sources: readonly Source[];
  /** Where the last state is kept for an offline start; none when absent. */
  readonly snapshotFile?: string;
  readonly snapshot?: SnapshotOptions;
  /** Age in milliseconds above which the data counts as stale. Default 300,000. */
  readonly staleAfterMs?: number;
  /** Milliseconds in which changes are collected before one publish. Default 10. */
  readonly publishWindowMs?: number;
  /** Longest wait in milliseconds of the very first catalog for sources that are not synced yet. Default 5,000. */
  readonly firstPublishMs?: number;
  /** Kinds to keep, `Kind.group`; everything the sources deliver when absent. */
  readonly kinds?: readonly GroupKind[];
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly metrics?: Metrics;
}

/** The catalog of everything the sources know, kept up to date until disposed. */
export interface Discovery extends CatalogView, AsyncDisposable {
  status(): DiscoveryStatus;
  /** Resolves when every source has read all its kinds once; rejects with `aborted` when the signal fires or on disposal. */
  whenSynced(signal?: AbortSignal): Promise<void>;
}

/** Resolves as soon as the last snapshot, if there is one, is published: before any source has answered. */
export async function createDiscovery(options: DiscoveryOptions): Promise<Discovery> {
  const names = new Set(options.sources.map(({ name }) => name));
  if (names.size !== options.sources.length) throw new DiscoveryError('config', 'two sources have the same name');
  const { clock = systemClock, log = silentLogger } = options;
  const metrics = createDiscoveryMetrics(options.metrics ?? noMetrics);
  const problems = createProblemLog(log, metrics);
  let publisher: Publisher | undefined;
  let writer: SnapshotWriter | undefined;
  const store = createStore({
    sources: options.sources,
    now: () => clock.now(),
    onChange: (kind, key) => {
      publisher?.touch(kind, key);
      writer?.changed();
    },
    onProblem: problems.add,
    ...(options.kinds && { kinds: new Set(options.kinds) }),
  });
  const windowMs = options.publishWindowMs ?? DEFAULT_PUBLISH_WINDOW_MS;
  const firstWindowMs = options.firstPublishMs ?? DEFAULT_FIRST_PUBLISH_MS;
  publisher = createPublisher({ winner: store.winner, windowMs, firstWindowMs, clock, log, metrics });
  const { snapshotFile: file } = options;
  if (file !== undefined) {
    const limits = options.snapshot ?? {};
    await restoreSnapshot(store, { file, limits, names, clock, log });
    publisher.flush();
    writer = createSnapshotWriter({
      ...limits,
      file,
      clock,
      log,
      metrics,
      read: () => snapshotOf(store, names, clock),
    });
  }
  return run(options, { store, publisher, writer, metrics, clock, log, rejected: () => problems.count });
}

interface Parts {
  readonly store: Store;
  readonly publisher: Publisher;
  readonly writer: SnapshotWriter | undefined;
  readonly metrics: DiscoveryMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  readonly rejected: () => number;
}

function run(options: DiscoveryOptions, parts: Parts): Discovery {
  const { store, publisher, writer, metrics, clock, log } = parts;
  const staleAfterMs = options.staleAfterMs ?? DEFAULT_STALE_AFTER_MS;
  const stop = new AbortController();
  const synced = Promise.withResolvers<void>();
  synced.promise.catch(() => log.debug('discovery stopped before it was synced'));
  const records: SourceRecord[] = options.sources.map(({ name }) => ({
    name,
    layers: store.layers(name),
    state: 'connecting',
    error: undefined,
    synced: false,
  }));
  const onSynced = () => {
    if (!records.every((record) => record.synced)) return;
    publisher.synced();
    synced.resolve();
  };
  const status = () =>
    readStatus(publisher.current, records, { now: clock.now(), staleAfterMs, rejected: parts.rejected() });
  const runs = options.sources.map((source, i) => {
    const sink = createSink({ store, record: records[i] as SourceRecord, log, metrics, onSynced });
    const context = { name: `source ${source.name}`, log, clock, signal: stop.signal, backoff: SOURCE_BACKOFF };
    return runForever(context, async (signal) => {
      await source.run(sink, signal);
      if (!signal.aborted) throw new DiscoveryError('api-protocol', `source ${source.name} ended by itself`);
    });
  });
  onSynced();
  const ages = watchAges({ status, clock, log, metrics, touch: () => writer?.refresh() });
  let disposed: Promise<void> | undefined;
  const dispose = async () => {
    ages.cancel();
    stop.abort();
    synced.reject(new DiscoveryError('aborted', 'discovery is stopping'));
    await Promise.all(runs);
    publisher.stop();
    await writer?.[Symbol.asyncDispose]();
  };
  return {
    get current() {
      return publisher.current;
    },
    subscribe: (listener) => publisher.subscribe(listener),
    status,
    whenSynced: (signal) => untilAborted(synced.promise, signal),
    [Symbol.asyncDispose]: () => {
      disposed ??= dispose();
      return disposed;
    },
  };
}

interface SinkParts {
  readonly store: Store;
  readonly record: SourceRecord;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
  readonly onSynced: () => void;
}

function createSink({ store, record, log, metrics, onSynced }: SinkParts): SourceSink {
  const { name } = record;
  return {
    prepare: (kind, object) => store.prepare(name, kind, object),
    replace(list) {
      const outcome = store.replace(name, list);
      if (outcome === 'second-look') {
        metrics.secondLooks.with(list.kind).add();
        log.warn('list shrank to nothing, waiting for a second one', { source: name, kind: list.kind });
      }
      return outcome;
    },
    upsert: (object) => store.upsert(name, object),
    remove: (removal) => store.remove(name, removal),
    confirm: (kind) => store.confirm(name, kind),
    retain: (kind, keep) => store.retain(name, kind, keep),
    held: () => [...record.layers.keys()],
    synced() {
      if (record.synced) return;
      record.synced = true;
      log.info('source synced', { source: name });
      onSynced();
    },
    report(state, error) {
      if (state !== record.state || error !== record.error) log.info('source state', { source: name, state, error });
      record.state = state;
      record.error = error;
    },
  };
}

interface AgeWatch {
  readonly status: () => DiscoveryStatus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
  readonly touch: () => void;
}

/** Sets the gauges now and then, and says once when the data becomes stale or fresh again. */
function watchAges({ status, clock, log, metrics, touch }: AgeWatch): Timer {
  let timer: Timer;
  let wasStale = false;
  const look = () => {
    const now = status();
    const counts = new Map<GroupKind, number>();
    for (const source of now.sources) {
      if (source.ageMs !== undefined) metrics.sourceAge.with(source.name).set(source.ageMs / 1000);
      for (const { kind, objects } of source.kinds) counts.set(kind, (counts.get(kind) ?? 0) + objects);
    }
    for (const [kind, count] of counts) metrics.objects.with(kind).set(count);
    if (now.stale !== wasStale && now.source !== 'none') {
      wasStale = now.stale;
      if (now.stale) log.warn('discovery data is stale', { ageMs: now.ageMs, source: now.source });
      else log.info('discovery data is fresh again', { ageMs: now.ageMs });
    }
    touch();
    timer = clock.after(AGE_CHECK_MS, look);
  };
  timer = clock.after(AGE_CHECK_MS, look);
  return { cancel: () => timer.cancel() };
}

function untilAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(new DiscoveryError('aborted', 'gave up waiting for discovery to sync'));
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
