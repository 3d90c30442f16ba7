import { backoffDelay, type Random } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { fieldsOf } from '../normalize/read.ts';
import { MAX_PAGES } from '../options.ts';
import type {
  ListPage,
  ListReason,
  ReflectorAction,
  ReflectorMachine,
  ReflectorTimings,
  Step,
  WatchEvent,
} from './machine.ts';
import type { ResourceSpec } from './resources.ts';

/** What the machine needs to know; times in milliseconds. */
export interface ApiMachineOptions {
  readonly resource: Pick<ResourceSpec, 'versions' | 'optional'>;
  readonly pageLimit: number;
  /** Milliseconds between full lists. */
  readonly relistMs: number;
  /** A watch without a byte for this long is reopened, milliseconds. */
  readonly watchIdleMs: number;
  readonly timings: ReflectorTimings;
  readonly nextTimeoutSeconds: () => number;
  readonly random: Random;
}

/** Everything a reflector on an API server remembers. */
export interface ApiState {
  /** `waiting` for the deadline, `listing`, `opening` a watch, `watching`. */
  readonly phase: 'waiting' | 'listing' | 'opening' | 'watching';
  readonly deadline?: number | undefined;
  /** Index of the version in use. */
  readonly version: number;
  /** Versions in a row that the server did not have. */
  readonly notFound: number;
  readonly pages: readonly (readonly unknown[])[];
  /** False after a continue token expired: the next list asks for everything at once. */
  readonly paging: boolean;
  /** Where a watch resumes; undefined means that a list is needed first. */
  readonly resume?: string | undefined;
  /** Reason of the next list. */
  readonly reason: ListReason;
  readonly relistAt: number;
  readonly openedAt: number;
  /** Failures in a row. */
  readonly attempt: number;
}

/** A watch that ends sooner than this is counted as a failure, so that a server which closes at once is not hammered. */
const SHORT_WATCH_MS = 1_000;

/**
 * Reflector for a real API server: list in pages, watch with bookmarks from the list's resourceVersion, resume after
 * drops, list again on 410, when a second look is asked for, and now and then anyway.
 */
export function createApiMachine(options: ApiMachineOptions): ReflectorMachine<ApiState> {
  const { resource, pageLimit, relistMs, watchIdleMs, nextTimeoutSeconds, random, timings } = options;
  const versionOf = (state: ApiState) => resource.versions[state.version] as string;
  const jittered = (ms: number) => ms * (0.9 + 0.2 * random());

  const list = (state: ApiState, reason: ListReason, before: readonly ReflectorAction[] = []): Step<ApiState> => {
    const request = { version: versionOf(state), ...(state.paging && { limit: pageLimit }) };
    const next: ApiState = { ...state, phase: 'listing', pages: [], deadline: undefined, resume: undefined };
    return { state: next, actions: [...before, { type: 'list', request, reason }] };
  };
  const watch = (state: ApiState, before: readonly ReflectorAction[] = []): Step<ApiState> => {
    const request = {
      version: versionOf(state),
      resourceVersion: state.resume as string,
      timeoutSeconds: nextTimeoutSeconds(),
      bookmarks: true,
    };
    return {
      state: { ...state, phase: 'opening', deadline: undefined },
      actions: [...before, { type: 'watch', request }],
    };
  };
  const wait = (state: ApiState, ms: number, actions: readonly ReflectorAction[], now: number): Step<ApiState> => ({
    state: { ...state, phase: 'waiting', pages: [], deadline: now + ms },
    actions,
  });
  const fail = (state: ApiState, error: DiscoveryError, now: number, before: readonly ReflectorAction[] = []) => {
    const delay = Math.max(backoffDelay(state.attempt, timings.backoff, random), error.retryAfterMs ?? 0);
    const health: ReflectorAction = { type: 'health', state: 'offline', error: error.message };
    return wait({ ...state, attempt: state.attempt + 1 }, delay, [...before, health], now);
  };
  const watching = (state: ApiState, now: number): ApiState => ({
    ...state,
    deadline: Math.min(state.relistAt, now + watchIdleMs),
  });

  const onWake = (state: ApiState, now: number): Step<ApiState> => {
    if (state.phase === 'waiting') {
      if (state.resume !== undefined && now < state.relistAt) return watch(state);
      return list(state, state.resume === undefined ? state.reason : 'periodic');
    }
    if (state.phase !== 'watching') return { state: { ...state, deadline: undefined }, actions: [] };
    if (now >= state.relistAt)
      return list(state, state.reason === 'second-look' ? state.reason : 'periodic', [{ type: 'close-watch' }]);
    return watch(state, [{ type: 'close-watch' }, { type: 'watch-restart', reason: 'idle' }]);
  };
  const onPage = (state: ApiState, page: ListPage, now: number): Step<ApiState> => {
    if (state.phase !== 'listing') return { state, actions: [] };
    const pages = [...state.pages, page.items];
    if (page.continue) {
      if (pages.length >= MAX_PAGES)
        return fail(state, new DiscoveryError('api-too-large', 'the list has too many pages'), now);
      const request = { version: versionOf(state), limit: pageLimit, continue: page.continue };
      return { state: { ...state, pages }, actions: [{ type: 'list', request }] };
    }
    if (!page.resourceVersion)
      return fail(state, new DiscoveryError('api-protocol', 'the list has no resourceVersion'), now);
    const relistAt = now + jittered(relistMs);
    const next: ApiState = {
      ...state,
      resume: page.resourceVersion,
      relistAt,
      reason: 'retry',
      notFound: 0,
      paging: true,
      pages: [],
    };
    return watch(next, [
      { type: 'replace', objects: pages.flat(), authority: 'authoritative' },
      { type: 'listed' },
      { type: 'health', state: 'live' },
    ]);
  };
  const onNotFound = (state: ApiState, error: DiscoveryError, now: number): Step<ApiState> => {
    const notFound = state.notFound + 1;
    const version = (state.version + 1) % resource.versions.length;
    if (notFound < resource.versions.length) return list({ ...state, version, notFound }, 'reprobe');
    const next: ApiState = { ...state, version: 0, notFound: 0, reason: 'reprobe', attempt: 0 };
    if (!resource.optional) return fail({ ...next, attempt: state.attempt }, error, now);
    const actions: ReflectorAction[] = [
      { type: 'missing' },
      { type: 'replace', objects: [], authority: 'authoritative' },
      { type: 'listed' },
      { type: 'health', state: 'live' },
    ];
    return wait(next, jittered(timings.missingReprobeMs), actions, now);
  };
  const onListFailed = (state: ApiState, error: DiscoveryError, now: number): Step<ApiState> => {
    if (state.phase !== 'listing') return { state, actions: [] };
    if (error.status === 404) return onNotFound(state, error, now);
    const failed: ApiState = { ...state, reason: 'retry' };
    if (error.code !== 'api-gone') return fail(failed, error, now);
    // an expired continue token: the rest of that list no longer exists, and pages may keep expiring on a slow link
    return state.paging && state.pages.length > 0
      ? list({ ...failed, paging: false }, 'gone')
      : fail(failed, error, now);
  };
  const onWatchEnded = (state: ApiState, error: DiscoveryError | undefined, now: number): Step<ApiState> => {
    if (state.phase !== 'opening' && state.phase !== 'watching') return { state, actions: [] };
    const short = state.phase === 'opening' || now - state.openedAt < SHORT_WATCH_MS;
    const restart: ReflectorAction = { type: 'watch-restart', reason: error?.code ?? 'ended' };
    if (error?.code === 'api-gone' || error?.status === 404) {
      const next: ApiState = { ...state, resume: undefined, reason: 'gone' };
      return short && state.attempt > 0
        ? fail(next, error, now, [restart])
        : list({ ...next, attempt: state.attempt + 1 }, 'gone', [restart]);
    }
    const attempt = short ? state.attempt : 0;
    if (error === undefined && !short) return watch({ ...state, attempt }, [restart]);
    return fail({ ...state, attempt }, error ?? new DiscoveryError('api-unreachable', 'the watch ended at once'), now, [
      restart,
    ]);
  };
  const onWatchEvent = (state: ApiState, event: WatchEvent, now: number): Step<ApiState> => {
    if (state.phase !== 'watching') return { state, actions: [] };
    if (event.type === 'ERROR') {
      const step = onWatchEnded(state, statusError(event.object), now);
      return { state: step.state, actions: [{ type: 'close-watch' }, ...step.actions] };
    }
    const resume = event.object.metadata?.resourceVersion ?? state.resume;
    const next = watching({ ...state, resume, attempt: 0 }, now);
    if (event.type === 'BOOKMARK') return { state: next, actions: [{ type: 'confirm' }] };
    const change: ReflectorAction = { type: event.type === 'DELETED' ? 'remove' : 'upsert', object: event.object };
    return { state: next, actions: [change, { type: 'confirm' }] };
  };

  return {
    initial: {
      phase: 'waiting',
      deadline: 0,
      version: 0,
      notFound: 0,
      pages: [],
      paging: true,
      reason: 'start',
      relistAt: 0,
      openedAt: 0,
      attempt: 0,
    },
    step(state, event, now) {
      switch (event.type) {
        case 'wake':
          return onWake(state, now);
        case 'page':
          return onPage(state, event.page, now);
        case 'list-failed':
          return onListFailed(state, event.error, now);
        case 'watch-opened':
          if (state.phase !== 'opening') return { state, actions: [] };
          return {
            state: watching({ ...state, phase: 'watching', openedAt: now }, now),
            actions: [{ type: 'confirm' }, { type: 'health', state: 'live' }],
          };
        case 'watch-bytes':
          return { state: state.phase === 'watching' ? watching(state, now) : state, actions: [] };
        case 'watch-event':
          return onWatchEvent(state, event.event, now);
        case 'watch-ended':
          return onWatchEnded(state, event.error, now);
        case 'second-look': {
          const at = now + timings.secondLookMs;
          const next: ApiState = {
            ...state,
            reason: state.resume === undefined ? 'reprobe' : 'second-look',
            relistAt: at,
          };
          return { state: next.phase === 'waiting' ? { ...next, deadline: at } : next, actions: [] };
        }
        case 'link':
        case 'link-up':
          return { state, actions: [] };
      }
    },
  };
}

/** The error of a Status object, as an ERROR event carries it. */
export function statusError(status: unknown): DiscoveryError {
  const { code, message } = fieldsOf(status);
  const text = typeof message === 'string' ? message.slice(0, 512) : 'the watch reported an error';
  if (code === 410) return new DiscoveryError('api-gone', text, { status: 410, retryable: true });
  return new DiscoveryError('api-status', text, { retryable: true, ...(typeof code === 'number' && { status: code }) });
}
