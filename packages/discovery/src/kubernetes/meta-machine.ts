import { backoffDelay, type Random } from '@edgemesh/core';
import { compareResourceVersions } from '../normalize/resource-version.ts';
import { MAX_EVENTS_DURING_LIST, MAX_PAGES, META_RELIST_MS, MIN_META_PAGE_LIMIT } from '../options.ts';
import { classifyList } from './classify.ts';
import {
  between,
  type ListPage,
  type ListReason,
  type ReflectorAction,
  type ReflectorMachine,
  type ReflectorTimings,
  type Step,
  type WatchEvent,
} from './machine.ts';
import type { ResourceSpec } from './resources.ts';

/** What the machine needs to know; times in milliseconds. */
export interface MetaMachineOptions {
  readonly resource: Pick<ResourceSpec, 'versions' | 'optional' | 'plural'>;
  readonly pageLimit: number;
  /** Range of the re-list interval, milliseconds. */
  readonly relistMs?: { readonly min: number; readonly max: number };
  readonly timings: ReflectorTimings;
  readonly nextTimeoutSeconds: () => number;
  readonly random: Random;
}

/** Everything a reflector on a metaServer remembers. */
export interface MetaState {
  /** `waiting` for the deadline, `listing`, `asking` whether the cloud answers, `parked` until it does. */
  readonly phase: 'waiting' | 'listing' | 'asking' | 'parked';
  readonly deadline?: number | undefined;
  readonly version: number;
  /** Versions in a row that only the edge answered for while the cloud was there. */
  readonly notFound: number;
  readonly pages: readonly (readonly unknown[])[];
  /** Page size; halves when a page does not make it over the link in time. */
  readonly limit: number;
  /** resourceVersion of the last cloud list of this very resource and version; undefined: never watch. */
  readonly cloudVersion?: string | undefined;
  readonly watch: 'closed' | 'open';
  /** When an open watch must have ended by itself. */
  readonly watchUntil: number;
  /** The watch is to be closed and opened again after the next cloud list. */
  readonly renewWatch: boolean;
  /** Events that arrived while listing, to be applied again on top of the list. */
  readonly pending: readonly WatchEvent[];
  readonly listAt: number;
  readonly reason: ListReason;
  /** Failed lists in a row. */
  readonly attempt: number;
  readonly watchOpenedAt: number;
  /** Watches in a row that failed or ended at once. */
  readonly watchAttempt: number;
}

/** Milliseconds beyond its timeoutSeconds after which a watch is closed from this side. */
const WATCH_GRACE_MS = 30_000;
/** A watch that ends sooner than this counts as failed, so that one which closes at once is not hammered. */
const SHORT_WATCH_MS = 1_000;
/** Lists that fail in a row, the cloud being there, until the resource is taken for gone. */
const GONE_AFTER_ATTEMPTS = 3;

/**
 * Reflector for KubeEdge's metaServer; the numbers are the rules of METASERVER.md 5. A cloud list is the truth, the watch
 * is a hint with low latency, a local list is a hint of last resort.
 */
export function createMetaMachine(options: MetaMachineOptions): ReflectorMachine<MetaState> {
  const { resource, pageLimit, relistMs = META_RELIST_MS, nextTimeoutSeconds, random, timings } = options;
  // rule 5: KubeEdge stores Gateways under a wrong plural and never delivers them
  const watchable = resource.plural !== 'gateways';
  const versionOf = (state: MetaState) => resource.versions[state.version] as string;

  const list = (state: MetaState, reason: ListReason, before: readonly ReflectorAction[] = []): Step<MetaState> => {
    // rule 8: no resourceVersion in a list; rule 2: always in pages
    const request = { version: versionOf(state), limit: state.limit };
    const next: MetaState = { ...state, phase: 'listing', pages: [], pending: [], deadline: undefined };
    return { state: next, actions: [...before, { type: 'list', request, reason }] };
  };
  const wait = (
    state: MetaState,
    listAt: number,
    reason: ListReason,
    actions: readonly ReflectorAction[],
  ): Step<MetaState> => {
    const deadline = state.watch === 'open' ? Math.min(listAt, state.watchUntil) : listAt;
    return { state: { ...state, phase: 'waiting', pages: [], pending: [], listAt, reason, deadline }, actions };
  };
  const ask = (state: MetaState, before: readonly ReflectorAction[]): Step<MetaState> => ({
    state: { ...state, phase: 'asking', pending: [], deadline: undefined },
    actions: [...before, { type: 'ask-link' }],
  });

  const onWake = (state: MetaState, now: number): Step<MetaState> => {
    if (state.phase !== 'waiting') return { state: { ...state, deadline: undefined }, actions: [] };
    if (state.watch === 'open' && now >= state.watchUntil) {
      const actions: ReflectorAction[] = [{ type: 'close-watch' }, { type: 'watch-restart', reason: 'overdue' }];
      return list({ ...state, watch: 'closed' }, 'watch-ended', actions);
    }
    return now >= state.listAt ? list(state, state.reason) : wait(state, state.listAt, state.reason, []);
  };
  const onPage = (state: MetaState, page: ListPage, now: number): Step<MetaState> => {
    if (state.phase !== 'listing') return { state, actions: [] };
    if (classifyList(page) === 'local') return onLocal(state, page);
    const pages = [...state.pages, page.items];
    if (page.continue && pages.length < MAX_PAGES) {
      const request = { version: versionOf(state), limit: state.limit, continue: page.continue };
      return { state: { ...state, pages }, actions: [{ type: 'list', request }] };
    }
    return onCloudList({ ...state, pages, cloudVersion: page.resourceVersion }, now);
  };
  const onLocal = (state: MetaState, page: ListPage): Step<MetaState> => {
    // rule 2: a walk with a local page is worthless; rule 1: a whole local list is a hint, and the store decides if it is needed
    const whole = state.pages.length === 0 && !page.continue;
    return ask({ ...state, pages: [] }, whole ? [{ type: 'replace', objects: page.items, authority: 'hint' }] : []);
  };
  const onCloudList = (state: MetaState, now: number): Step<MetaState> => {
    const actions: ReflectorAction[] = [
      { type: 'saw-cloud' },
      { type: 'replace', objects: state.pages.flat(), authority: 'authoritative' },
      ...state.pending.flatMap((event) => apply(state, event)),
      { type: 'listed' },
      { type: 'health', state: 'live' },
    ];
    let next: MetaState = {
      ...state,
      notFound: 0,
      attempt: 0,
      limit: Math.min(pageLimit, state.limit * 2),
      renewWatch: false,
    };
    if (watchable && (state.watch === 'closed' || state.renewWatch)) {
      // rule 7: close the old before opening the new, never two alike; rule 3: only here, after a cloud list of this resource
      if (state.watch === 'open') actions.push({ type: 'close-watch' }, { type: 'watch-restart', reason: 'link-up' });
      const timeoutSeconds = nextTimeoutSeconds();
      actions.push({ type: 'watch', request: { version: versionOf(state), timeoutSeconds, bookmarks: false } });
      next = { ...next, watch: 'open', watchOpenedAt: now, watchUntil: now + timeoutSeconds * 1000 + WATCH_GRACE_MS };
    }
    return wait(next, now + between(relistMs, random), 'periodic', actions);
  };
  const onLink = (state: MetaState, online: boolean, now: number): Step<MetaState> => {
    if (!online) {
      // who has seen the cloud needs no local list, and spares itself the 10 s that one takes
      const rests = state.phase === 'asking' || (state.phase === 'waiting' && state.cloudVersion !== undefined);
      if (!rests) return { state, actions: [] };
      const health: ReflectorAction = { type: 'health', state: 'offline', error: 'the cloud does not answer' };
      return { state: { ...state, phase: 'parked', deadline: undefined }, actions: [health] };
    }
    if (state.phase !== 'asking') return { state, actions: [] };
    // it came back while this one was asking: the local answer said nothing about the resource
    if (state.renewWatch) return list(state, 'link-up');
    if (state.cloudVersion === undefined && state.notFound + 1 < resource.versions.length) {
      return list({ ...state, version: state.version + 1, notFound: state.notFound + 1 }, 'reprobe');
    }
    if (state.cloudVersion === undefined && resource.optional) {
      const next: MetaState = { ...state, version: 0, notFound: 0 };
      return wait(next, now + timings.missingReprobeMs * (0.9 + 0.2 * random()), 'reprobe', [
        { type: 'missing' },
        { type: 'listed' },
      ]);
    }
    // the cloud is there but this answer did not make it: too big for the link, not allowed, or gone
    const attempt = state.attempt + 1;
    const limit = Math.max(MIN_META_PAGE_LIMIT, Math.floor(state.limit / 2));
    const gone = resource.optional === true && attempt > GONE_AFTER_ATTEMPTS;
    const next: MetaState = {
      ...state,
      attempt,
      limit,
      ...(gone && { cloudVersion: undefined, version: 0, watch: 'closed' }),
    };
    const actions: ReflectorAction[] = gone && state.watch === 'open' ? [{ type: 'close-watch' }] : [];
    return wait(next, now + backoffDelay(attempt, timings.backoff, random), 'retry', actions);
  };
  /** Rule 4: what the last cloud list covers is old news or a ghost; the store drops what is older than what it holds. */
  const apply = (state: MetaState, event: WatchEvent): readonly ReflectorAction[] => {
    const order = compareResourceVersions(event.object.metadata?.resourceVersion, state.cloudVersion);
    if (event.type === 'DELETED')
      return order === undefined ? [{ type: 'ghost' }] : [{ type: 'remove', object: event.object }];
    return order === undefined || order <= 0 ? [{ type: 'ghost' }] : [{ type: 'upsert', object: event.object }];
  };
  const onWatchEvent = (state: MetaState, event: WatchEvent, now: number): Step<MetaState> => {
    if (state.watch !== 'open' || event.type === 'BOOKMARK') return { state, actions: [] };
    if (event.type === 'ERROR') {
      const step = onWatchEnded(state, 'error', now);
      return { state: step.state, actions: [{ type: 'close-watch' }, ...step.actions] };
    }
    const full = state.pending.length >= MAX_EVENTS_DURING_LIST;
    const pending = state.phase === 'listing' && !full ? [...state.pending, event] : state.pending;
    return { state: { ...state, pending }, actions: apply(state, event) };
  };
  const onWatchEnded = (state: MetaState, reason: string, now: number): Step<MetaState> => {
    if (state.watch !== 'open') return { state, actions: [] };
    const closed: MetaState = { ...state, watch: 'closed' };
    const actions: ReflectorAction[] = [{ type: 'watch-restart', reason }];
    if (state.phase !== 'waiting') return { state: closed, actions };
    // rule 3 again: a fresh cloud list must come first, the resource may be gone by now
    const failed = reason !== 'ended' || now - state.watchOpenedAt < SHORT_WATCH_MS;
    const watchAttempt = failed ? state.watchAttempt + 1 : 0;
    const delay = failed ? backoffDelay(watchAttempt, timings.backoff, random) : 0;
    return wait({ ...closed, watchAttempt }, Math.min(state.listAt, now + delay), 'watch-ended', actions);
  };

  return {
    initial: {
      phase: 'waiting',
      deadline: 0,
      version: 0,
      notFound: 0,
      pages: [],
      limit: pageLimit,
      watch: 'closed',
      watchUntil: 0,
      renewWatch: false,
      pending: [],
      listAt: 0,
      reason: 'start',
      attempt: 0,
      watchOpenedAt: 0,
      watchAttempt: 0,
    },
    step(state, event, now) {
      switch (event.type) {
        case 'wake':
          return onWake(state, now);
        case 'page':
          return onPage(state, event.page, now);
        case 'list-failed': {
          if (state.phase !== 'listing') return { state, actions: [] };
          return ask(state, [{ type: 'health', state: 'offline', error: event.error.message }]);
        }
        case 'link':
          return onLink(state, event.online, now);
        case 'link-up': {
          const renewed: MetaState = { ...state, renewWatch: true, attempt: 0 };
          return state.phase === 'parked' || state.phase === 'waiting'
            ? list(renewed, 'link-up')
            : { state: renewed, actions: [] };
        }
        case 'watch-event':
          return onWatchEvent(state, event.event, now);
        case 'watch-ended':
          return onWatchEnded(state, event.error === undefined ? 'ended' : event.error.code, now);
        case 'second-look':
          if (state.phase !== 'waiting') return { state, actions: [] };
          return wait(state, Math.min(state.listAt, now + timings.secondLookMs), 'second-look', []);
        case 'watch-opened':
        case 'watch-bytes':
          return { state, actions: [] };
      }
    },
  };
}
