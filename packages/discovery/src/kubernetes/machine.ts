import type { BackoffOptions, KubeObject } from '@edgemesh/core';
import type { DiscoveryError } from '../errors.ts';

/** One page of a list. */
export interface ListPage {
  readonly items: readonly unknown[];
  /** Of the list; absent in a metaServer's empty local answer. */
  readonly resourceVersion?: string;
  readonly continue?: string;
  /** Only a metaServer's local answer has one. */
  readonly selfLink?: string;
}

/** One line of a watch. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: KubeObject;
}

/** Why a list is made; a metric label. */
export type ListReason =
  | 'start'
  | 'periodic'
  | 'retry'
  | 'gone'
  | 'second-look'
  | 'reprobe'
  | 'link-up'
  | 'watch-ended';

/** What happens to a reflector. */
export type ReflectorEvent =
  /** The start, or the deadline of the state is reached. */
  | { readonly type: 'wake' }
  | { readonly type: 'page'; readonly page: ListPage }
  | { readonly type: 'list-failed'; readonly error: DiscoveryError }
  | { readonly type: 'watch-opened' }
  /** Something arrived on the watch, if only a part of a line. */
  | { readonly type: 'watch-bytes' }
  | { readonly type: 'watch-event'; readonly event: WatchEvent }
  | { readonly type: 'watch-ended'; readonly error?: DiscoveryError }
  /** The list just handed over is not believed yet. */
  | { readonly type: 'second-look' }
  /** metaServer: whether the cloud answers, as asked by `ask-link`. */
  | { readonly type: 'link'; readonly online: boolean }
  /** metaServer: the cloud answers again. */
  | { readonly type: 'link-up' };

/** What a reflector wants done. The shell does them in order. */
export type ReflectorAction =
  | { readonly type: 'list'; readonly request: ListRequest; readonly reason?: ListReason }
  | { readonly type: 'watch'; readonly request: WatchRequest }
  | { readonly type: 'close-watch' }
  | { readonly type: 'replace'; readonly objects: readonly unknown[]; readonly authority: 'authoritative' | 'hint' }
  | { readonly type: 'upsert'; readonly object: KubeObject }
  | { readonly type: 'remove'; readonly object: KubeObject }
  | { readonly type: 'confirm' }
  /** Everything there is has been read once (or the resource does not exist). */
  | { readonly type: 'listed' }
  | { readonly type: 'missing' }
  | { readonly type: 'health'; readonly state: 'live' | 'offline'; readonly error?: string }
  | { readonly type: 'watch-restart'; readonly reason: string }
  | { readonly type: 'ghost' }
  /** metaServer: a list came from the cloud, or find out whether the cloud answers. */
  | { readonly type: 'saw-cloud' }
  | { readonly type: 'ask-link' };

/** One page to ask for. */
export interface ListRequest {
  readonly version: string;
  readonly limit?: number;
  readonly continue?: string;
}

/** One watch to open. */
export interface WatchRequest {
  readonly version: string;
  readonly resourceVersion?: string;
  readonly timeoutSeconds: number;
  readonly bookmarks: boolean;
}

/** Waiting times in milliseconds that both kinds of reflector share. */
export interface ReflectorTimings {
  /** Until a list that shrank to nothing is asked for again. */
  readonly secondLookMs: number;
  /** Until a resource that the server does not have is looked for again. */
  readonly missingReprobeMs: number;
  /** After failures. */
  readonly backoff: BackoffOptions;
}

/** The outcome of one event. */
export interface Step<S> {
  readonly state: S;
  readonly actions: readonly ReflectorAction[];
}

/** A reflector without sockets and timers: the next state and what to do, from the state, an event and the time. */
export interface ReflectorMachine<S extends { readonly deadline?: number | undefined }> {
  readonly initial: S;
  /** `now` is monotonic milliseconds. When `state.deadline` is reached, `wake` is due. */
  step(state: S, event: ReflectorEvent, now: number): Step<S>;
}

/** A number between two bounds. */
export function between(range: { readonly min: number; readonly max: number }, random: () => number): number {
  return range.min + (range.max - range.min) * random();
}
