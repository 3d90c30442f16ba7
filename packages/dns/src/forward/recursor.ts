import type { Clock, Timer } from '@edgemesh/core';
import type { DnsMetrics } from '../metrics.ts';
import type { CacheOptions, Limits } from '../options.ts';
import { EDE, RCODE } from '../wire/constants.ts';
import { type Answer, extendedError } from '../wire/reply.ts';
import { type CacheEntry, createDnsCache, type DnsCache, freshAnswer, staleAnswer } from './cache.ts';
import { prepare, type Stored } from './cacheable.ts';
import { anyUp, exchange } from './exchange.ts';
import type { Outcome } from './outcome.ts';
import type { Question } from './question.ts';
import type { Upstream } from './upstream.ts';

/** Where an answer came from, for metrics. */
export type AnswerSource = 'cache' | 'stale' | 'upstream';

/** What became of a question. The answer's packet must be copied at once: it may be shared with the cache. */
export type Resolution =
  | { readonly answer: Answer; readonly rcode: number; readonly source: AnswerSource }
  | { readonly answer: undefined; readonly rcode: number; readonly options: Buffer };

export type Resolved = (resolution: Resolution) => void;

/** Answers from cache or upstreams. */
export interface Recursor {
  readonly cache: DnsCache;
  readonly inflight: number;
  /** A fresh cached answer, or undefined: the hot path. Starts the refresh of a popular answer near its end. */
  peek(key: string, now: number, upstreams: () => readonly Upstream[], question: () => Question): Stored | undefined;
  /** Resolves; `done` is called once, maybe before this returns. */
  resolve(question: Question, upstreams: readonly Upstream[], done: Resolved): void;
  close(): void;
}

export interface RecursorDeps {
  readonly clock: Clock;
  readonly metrics: DnsMetrics;
  readonly limits: Limits;
  readonly cache: Required<CacheOptions>;
}

interface Flight {
  waiters: Resolved[];
  staleTimer: Timer | undefined;
  /** Upstreams took too long: whoever comes now gets the stale answer at once. */
  late: boolean;
}

const STALE = extendedError(EDE.STALE_ANSWER, 'no upstream answered, this is the last known answer');
const STALE_NXDOMAIN = extendedError(EDE.STALE_NXDOMAIN, 'no upstream answered, this is the last known answer');
const NO_UPSTREAM = extendedError(EDE.NO_REACHABLE_AUTHORITY, 'no upstream resolver is configured or usable');
const UNREACHABLE = extendedError(EDE.NO_REACHABLE_AUTHORITY, 'no upstream resolver answered');
const OVERLOADED = extendedError(EDE.OTHER, 'too many queries are waiting for upstream resolvers');
/** Fewer hits than this since the last refresh do not make an answer popular. */
const POPULAR_HITS = 3;
/** Answers shorter-lived than this are not worth a refresh ahead of time. */
const PREFETCH_MIN_TTL_SECONDS = 10;

/** Cache, coalescing of equal questions, serve-stale and limits around {@link exchange}. */
export function createRecursor(deps: RecursorDeps): Recursor {
  const { clock, limits, metrics } = deps;
  const cache = createDnsCache(deps.cache);
  const failed = createFailureMemory(limits.maxInflightUpstream, limits.failureTtlSeconds * 1000);
  const inflight = new Map<string, Flight>();
  let waiting = 0;
  let closed = false;

  const serveStale = (entry: CacheEntry): Resolution => {
    const note = entry.stored.rcode === RCODE.NXDOMAIN ? STALE_NXDOMAIN : STALE;
    const answer = staleAnswer(entry, limits.staleTtlSeconds, note);
    return { answer, rcode: entry.stored.rcode, source: 'stale' };
  };
  const refuse = (limit: string): Resolution => {
    metrics.limited.with(limit).add();
    return { answer: undefined, rcode: RCODE.SERVFAIL, options: OVERLOADED };
  };
  const flush = (flight: Flight, resolution: () => Resolution) => {
    const { waiters } = flight;
    flight.waiters = [];
    waiting -= waiters.length;
    for (const waiter of waiters) waiter(resolution());
  };

  /** Puts the outcome into the cache and says what waiters get. */
  const conclude = (question: Question, outcome: Outcome): Resolution => {
    const now = clock.now();
    const stored = outcome.kind === 'reply' ? prepare(outcome, deps.cache, question.shared) : undefined;
    if (stored?.rcode === RCODE.NOERROR || stored?.rcode === RCODE.NXDOMAIN) {
      if (question.shared && stored.lifetimeSeconds > 0) cache.set(question.key, stored, now);
      return { answer: stored.answer, rcode: stored.rcode, source: 'upstream' };
    }
    const known = question.shared ? cache.get(question.key, now) : undefined;
    if (known !== undefined) {
      known.recheckAt = now + limits.staleRecheckMs;
      return serveStale(known);
    }
    const resolution: Resolution =
      stored === undefined
        ? { answer: undefined, rcode: RCODE.SERVFAIL, options: UNREACHABLE }
        : { answer: stored.answer, rcode: stored.rcode, source: 'upstream' };
    failed.remember(question.key, resolution, now);
    return resolution;
  };

  const launch = (question: Question, upstreams: readonly Upstream[], stale?: CacheEntry, waiter?: Resolved) => {
    const flight: Flight = { waiters: waiter === undefined ? [] : [waiter], staleTimer: undefined, late: false };
    waiting += flight.waiters.length;
    inflight.set(question.key, flight);
    if (stale !== undefined) {
      flight.staleTimer = clock.after(limits.staleAfterMs, () => {
        flight.late = true;
        flush(flight, () => serveStale(stale));
      });
    }
    exchange(upstreams, question, deps, (outcome) => {
      flight.staleTimer?.cancel();
      inflight.delete(question.key);
      if (closed) return;
      const resolution = conclude(question, outcome);
      flush(flight, () => resolution);
    });
  };

  return {
    cache,
    get inflight() {
      return inflight.size;
    },
    peek(key, now, upstreams, question) {
      const entry = cache.get(key, now);
      if (entry === undefined || now >= entry.expiresAt) return undefined;
      if (++entry.hits >= POPULAR_HITS && nearsItsEnd(entry, now, deps.cache.prefetchShare)) {
        // Once per lifetime: the refreshed entry counts anew.
        entry.hits = Number.NEGATIVE_INFINITY;
        if (!inflight.has(key) && inflight.size < limits.maxInflightUpstream) launch(question(), upstreams());
      }
      freshAnswer(entry, now);
      return entry.stored;
    },
    resolve(question, upstreams, done) {
      const now = clock.now();
      const entry = question.shared ? cache.get(question.key, now) : undefined;
      if (entry !== undefined && now < entry.expiresAt) {
        return done({ answer: freshAnswer(entry, now), rcode: entry.stored.rcode, source: 'cache' });
      }
      const flight = inflight.get(question.key);
      const room = flight !== undefined || inflight.size < limits.maxInflightUpstream;
      if (entry !== undefined && (now < entry.recheckAt || !anyUp(upstreams) || flight?.late || !room)) {
        if (flight === undefined && room && now >= entry.recheckAt) launch(question, upstreams, entry);
        return done(serveStale(entry));
      }
      const known = failed.recall(question.key, now);
      if (known !== undefined) return done(known);
      if (upstreams.length === 0) return done({ answer: undefined, rcode: RCODE.SERVFAIL, options: NO_UPSTREAM });
      if (!room) return done(refuse('inflight'));
      if (waiting >= limits.maxPendingClients) return done(refuse('clients'));
      if (flight === undefined) return launch(question, upstreams, entry, done);
      waiting++;
      flight.waiters.push(done);
    },
    close() {
      closed = true;
      for (const flight of inflight.values()) flight.staleTimer?.cancel();
      inflight.clear();
      cache.clear();
    },
  };
}

function nearsItsEnd(entry: CacheEntry, now: number, share: number): boolean {
  const lifetime = entry.stored.lifetimeSeconds;
  return lifetime >= PREFETCH_MIN_TTL_SECONDS && entry.expiresAt - now <= lifetime * 1000 * share;
}

/** Failures are remembered for a moment, so that retrying clients do not hammer upstreams (RFC 9520 3.2). */
function createFailureMemory(maxEntries: number, ttlMs: number) {
  const failures = new Map<string, { readonly until: number; readonly resolution: Resolution }>();
  return {
    remember(key: string, resolution: Resolution, now: number): void {
      // They live for a second or so: forgetting all of them is as good as any order.
      if (failures.size >= maxEntries) failures.clear();
      failures.set(key, { until: now + ttlMs, resolution });
    },
    recall(key: string, now: number): Resolution | undefined {
      const failure = failures.get(key);
      if (failure === undefined || now < failure.until) return failure?.resolution;
      failures.delete(key);
      return undefined;
    },
  };
}
