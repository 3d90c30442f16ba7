import type { GroupKind, KubeObject } from '@edgemesh/core';

/** Objects of one kind from one source. */
export interface SnapshotSection {
  readonly source: string;
  readonly kind: GroupKind;
  readonly count: number;
  /** As many as `count`. May be made one by one, while the file is written. */
  readonly objects: Iterable<KubeObject>;
  /** Wall time (ms since the epoch) of the last confirmation by the origin. */
  readonly confirmedAt?: number;
}

/** Everything known at one moment. */
export interface Snapshot {
  /** Wall time, ms since the epoch. */
  readonly savedAt: number;
  readonly sections: readonly SnapshotSection[];
}

/** When and how large the file is written. */
export interface SnapshotOptions {
  /** Milliseconds without a change before writing. Default 2,000. */
  readonly debounceMs?: number;
  /** Longest wait of a change in milliseconds. Default 30,000. */
  readonly maxDelayMs?: number;
  /** Rewrite for the age alone after this many milliseconds. Default 900,000. */
  readonly refreshMs?: number;
  /** Largest file in bytes; a larger one is neither written nor read. Default 64 MiB. */
  readonly maxBytes?: number;
}
