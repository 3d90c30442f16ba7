import { backoffDelay } from '@edgemesh/core';
import type { PathOptions } from '../options.ts';
import { PATH_KINDS, type PathKind } from '../types.ts';

/** How the search on one kind of path stands. */
export interface PathTry {
  readonly trying: boolean;
  readonly failures: number;
  /** Monotonic milliseconds before which no attempt is made. */
  readonly notBefore: number;
  /** Why the last attempt failed or the last carrier died. */
  readonly reason: string | undefined;
}

/** All that is remembered about the paths to one peer. */
export interface PathState {
  /** Kinds worth an attempt, as the record and the relays allow. */
  readonly candidates: ReadonlySet<PathKind>;
  /** True while a stream is open or waiting. */
  readonly wanted: boolean;
  readonly active: PathKind | undefined;
  readonly activeSince: number;
  /** The active path is late with its answers: others are tried beside it, of any kind. */
  readonly suspect: boolean;
  readonly tries: Readonly<Record<PathKind, PathTry>>;
}

export type PathEvent =
  | { readonly type: 'wanted'; readonly onLan: boolean }
  | { readonly type: 'idle' }
  | { readonly type: 'candidates'; readonly kinds: readonly PathKind[] }
  /** The network or the peer's record changed: what failed before may work now. */
  | { readonly type: 'changed' }
  /** The session has its first carrier, or one again. */
  | { readonly type: 'up'; readonly kind: PathKind }
  /** The session goes on over another kind of path. */
  | { readonly type: 'moved'; readonly kind: PathKind }
  /** An attempt has brought a carrier; which one the session uses is told by `up` and `moved`. */
  | { readonly type: 'reached'; readonly kind: PathKind }
  | { readonly type: 'suspect' | 'trusted' }
  | { readonly type: 'down'; readonly reason: string }
  | { readonly type: 'failed'; readonly kind: PathKind; readonly reason: string }
  | { readonly type: 'tick' };

export interface PathTransition {
  readonly from: PathKind | undefined;
  readonly to: PathKind | undefined;
  readonly reason: string;
}

export interface PathStep {
  readonly state: PathState;
  /** Kinds to attempt now; each must be answered with `reached` or `failed`. */
  readonly start: readonly PathKind[];
  /** When to send `tick`, monotonic milliseconds. */
  readonly nextDeadline: number | undefined;
  readonly transition: PathTransition | undefined;
}

const UNTRIED: PathTry = { trying: false, failures: 0, notBefore: 0, reason: undefined };

/** The state before anything is known of a peer. */
export const initialPathState: PathState = {
  candidates: new Set(),
  wanted: false,
  active: undefined,
  activeSince: 0,
  suspect: false,
  tries: { lan: UNTRIED, direct: UNTRIED, punched: UNTRIED, relayed: UNTRIED, circuit: UNTRIED },
};

/** True when `a` is a better path than `b`; anything is better than none. */
export function isBetterPath(a: PathKind, b: PathKind | undefined): boolean {
  return b === undefined || PATH_KINDS.indexOf(a) < PATH_KINDS.indexOf(b);
}

/**
 * The path choice for one peer as a pure machine. All kinds are tried at once where that costs the first request
 * nothing; a session in use keeps looking for something better, with growing pauses, and falls back when it dies.
 */
export function stepPaths(
  state: PathState,
  event: PathEvent,
  now: number,
  options: PathOptions,
  random: () => number = Math.random,
): PathStep {
  const { next, transition } = applyEvent(state, event, now, options, random);
  return { ...planAttempts(next, now, options), transition };
}

function applyEvent(
  state: PathState,
  event: PathEvent,
  now: number,
  options: PathOptions,
  random: () => number,
): { next: PathState; transition?: PathTransition } {
  const failed = (kind: PathKind, reason: string): PathTry => {
    const failures = state.tries[kind].failures + 1;
    const maxMs = state.active === undefined ? options.retryDownMaxMs : options.retryMaxMs;
    const backoff = { initialMs: options.retryInitialMs, maxMs };
    return { trying: false, failures, notBefore: now + backoffDelay(failures - 1, backoff, random), reason };
  };
  /** What is remembered of the path that is left: a failure when it died young, or did not answer. */
  const left = (kind: PathKind, reason: string, silent: boolean): PathState['tries'] => {
    const young = now - state.activeSince < options.minHealthyMs;
    const lost = young || silent ? failed(kind, reason) : { ...UNTRIED, notBefore: now, reason };
    return { ...state.tries, [kind]: { ...lost, trying: state.tries[kind].trying } };
  };
  const use = (kind: PathKind, reason: string, tries = state.tries) => ({
    next: { ...state, tries, active: kind, activeSince: now, suspect: false },
    transition: { from: state.active, to: kind, reason },
  });
  switch (event.type) {
    case 'wanted': {
      if (state.wanted) return { next: state };
      const holdRelay = event.onLan && state.active === undefined && state.tries.relayed.failures === 0;
      const relayed = holdRelay
        ? { ...state.tries.relayed, notBefore: now + options.lanHeadStartMs }
        : state.tries.relayed;
      return { next: { ...state, wanted: true, tries: { ...state.tries, relayed } } };
    }
    case 'idle':
      return { next: { ...state, wanted: false } };
    case 'candidates':
      return { next: { ...state, candidates: new Set(event.kinds) } };
    case 'changed': {
      const fresh = (t: PathTry): PathTry => ({ ...t, failures: 0, notBefore: t.trying ? t.notBefore : now });
      return { next: { ...state, tries: mapTries(state.tries, fresh) } };
    }
    case 'up':
      return state.active === undefined ? use(event.kind, 'connected') : { next: state };
    case 'moved': {
      if (state.active === undefined || state.active === event.kind) return { next: state };
      if (isBetterPath(event.kind, state.active)) return use(event.kind, 'better path');
      const reason = 'the better path does not answer';
      return use(event.kind, reason, left(state.active, reason, true));
    }
    case 'reached':
      return { next: { ...state, tries: succeeded(state, event.kind, now + options.retryInitialMs) } };
    case 'suspect': {
      const fresh = (t: PathTry): PathTry => ({ ...t, notBefore: t.trying ? t.notBefore : now });
      return { next: { ...state, suspect: state.active !== undefined, tries: mapTries(state.tries, fresh) } };
    }
    case 'trusted':
      return { next: { ...state, suspect: false } };
    case 'down': {
      if (state.active === undefined) return { next: state };
      const tries = left(state.active, event.reason, false);
      const transition = { from: state.active, to: undefined, reason: event.reason };
      return { next: { ...state, tries, active: undefined, activeSince: now, suspect: false }, transition };
    }
    case 'failed':
      return { next: { ...state, tries: { ...state.tries, [event.kind]: failed(event.kind, event.reason) } } };
    case 'tick':
      return { next: state };
  }
}

/**
 * An attempt has ended well. The session takes a round trip to agree on the new carrier: no second attempt meanwhile.
 * Failures are forgotten only when the path has lived for a while: it may die young again.
 */
function succeeded(state: PathState, kind: PathKind, notBefore: number): PathState['tries'] {
  const { failures, reason } = state.tries[kind];
  return { ...state.tries, [kind]: { trying: false, failures, notBefore, reason } };
}

function mapTries(tries: PathState['tries'], change: (t: PathTry) => PathTry): PathState['tries'] {
  return Object.fromEntries(PATH_KINDS.map((kind) => [kind, change(tries[kind])])) as Record<PathKind, PathTry>;
}

function planAttempts(state: PathState, now: number, options: PathOptions): Omit<PathStep, 'transition'> {
  const start: PathKind[] = [];
  let nextDeadline: number | undefined;
  const tries: Record<PathKind, PathTry> = { ...state.tries };
  for (const kind of PATH_KINDS) {
    const current = tries[kind];
    if (!state.wanted || current.trying || !isWorthTrying(state, kind, options)) continue;
    if (now < current.notBefore) {
      nextDeadline = Math.min(nextDeadline ?? Number.POSITIVE_INFINITY, current.notBefore);
    } else {
      start.push(kind);
      tries[kind] = { ...current, trying: true };
    }
  }
  return { state: start.length > 0 ? { ...state, tries } : state, start, nextDeadline };
}

function isWorthTrying(state: PathState, kind: PathKind, options: PathOptions): boolean {
  if (!state.candidates.has(kind) || !isBetterPath(kind, state.suspect ? undefined : state.active)) return false;
  // Punching is signalled through a path that already works, and must never delay the first bytes.
  if (kind === 'punched') return state.active !== undefined && state.tries.punched.failures < options.maxPunchFailures;
  // A libp2p stream is many times slower than a spliced socket: only where splicing is not to be had.
  if (kind === 'circuit') return !state.candidates.has('relayed') || state.tries.relayed.failures > 0;
  return true;
}
