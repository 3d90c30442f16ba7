export { decodeSnapshot, encodeSnapshot } from './format.ts';
export { type LoadOptions, loadSnapshot } from './load.ts';
export type { Snapshot, SnapshotOptions, SnapshotSection } from './types.ts';
export { createSnapshotWriter, type SnapshotWriter, type SnapshotWriterOptions, writeSnapshot } from './write.ts';
