import type { GroupKind } from '@edgemesh/core';

/** Restricts a list to one namespace, or to one object. */
export interface ListScope {
  readonly namespace?: string;
  readonly name?: string;
}

/** A list as a source read it. */
export interface SourceList {
  readonly kind: GroupKind;
  /** Raw objects; what is not an object of this kind is rejected and reported. */
  readonly objects: readonly unknown[];
  /**
   * `authoritative`: this is all there is, what is missing is gone. `hint`: possibly old or incomplete; used only where
   * nothing better is known, and never removes anything.
   */
  readonly authority: 'authoritative' | 'hint';
  readonly scope?: ListScope;
}

/** A deletion. Without `resourceVersion` it is believed as it is. */
export interface Removal {
  readonly kind: GroupKind;
  readonly namespace?: string;
  readonly name: string;
  readonly resourceVersion?: string;
}

/**
 * What became of a list. `second-look`: it shrank to nothing and is not believed until a second one says the same, so ask
 * again soon. `ignored`: a hint, and something better is known.
 */
export type ListOutcome = 'accepted' | 'second-look' | 'ignored';

/** `connecting`: nothing heard yet. `live`: confirmed by its origin. `offline`: the origin cannot be reached. */
export type SourceState = 'connecting' | 'live' | 'offline';

/** Where a source puts what it reads. Calls are synchronous and cheap; the catalog is published a moment later. */
export interface SourceSink {
  /**
   * Reads an object of a list that is not whole yet, so that what came over the wire need not be kept until it is. What it returns
   * stands for the object in `replace` and `upsert`.
   */
  prepare?(kind: GroupKind, object: unknown): unknown;
  replace(list: SourceList): ListOutcome;
  /** Adds or updates one object. False when it was rejected or is older than what is held. */
  upsert(object: unknown): boolean;
  remove(removal: Removal): boolean;
  /** The origin has just confirmed that what it said about this kind still holds. */
  confirm(kind: GroupKind): void;
  /** Drops all objects of a kind but these keys (`namespace/name`): the source no longer follows the others. */
  retain(kind: GroupKind, keep: Pick<ReadonlySet<string>, 'has'>): void;
  /** Kinds of which objects of this source are held, from a snapshot too. */
  held(): readonly GroupKind[];
  /** Every kind of this source has been read once with authority. */
  synced(): void;
  report(state: SourceState, error?: string): void;
}

/** A place that objects come from. */
export interface Source {
  /** Unique among the sources of one discovery; stored in the snapshot, so keep it stable. */
  readonly name: string;
  /** Sources with the same origin share resourceVersions (two ways to one cluster): of one object the newer version wins. */
  readonly origin?: string;
  /** Feeds the sink until the signal aborts. Handles its own failures; a rejection is retried with backoff. */
  run(sink: SourceSink, signal: AbortSignal): Promise<void>;
}
