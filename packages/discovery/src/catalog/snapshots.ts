import type { Clock, KubeObject, Logger } from '@edgemesh/core';
import { type NormalisedObject, objectOf } from '../normalize/index.ts';
import { loadSnapshot, type Snapshot, type SnapshotOptions, type SnapshotSection } from '../snapshot/index.ts';
import type { Store } from './store.ts';

/** Where the snapshot is and how it is read. */
export interface RestoreOptions {
  readonly file: string;
  readonly limits: SnapshotOptions;
  /** Sources that still exist; sections of others are dropped. */
  readonly names: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Loads the last snapshot into the store. A missing or broken file is an empty one. */
export async function restoreSnapshot(store: Store, options: RestoreOptions): Promise<void> {
  const { file, limits, names, clock, log } = options;
  const snapshot = await loadSnapshot({ ...limits, file, log });
  if (snapshot === undefined) return;
  // the file's times are wall time; a clock that has jumped back must not make data look fresher than now
  const monotonic = (wall: number) => clock.now() - Math.max(0, clock.wallNow() - wall);
  let objects = 0;
  for (const section of snapshot.sections) {
    if (!names.has(section.source)) continue;
    const confirmedAt = section.confirmedAt === undefined ? undefined : monotonic(section.confirmedAt);
    store.restore(section.source, section.kind, section.objects, confirmedAt);
    objects += section.count;
  }
  log.info('snapshot loaded', { file, objects, ageMs: Math.max(0, clock.wallNow() - snapshot.savedAt) });
}

/** What is to be written: a cheap copy of references, consistent at this moment. */
export function snapshotOf(store: Store, names: ReadonlySet<string>, clock: Clock): Snapshot {
  const sections: SnapshotSection[] = [];
  for (const source of names) {
    for (const [kind, layer] of store.layers(source)) {
      // hints are what somebody else stored; they would gain a weight they do not have
      if (layer.trust === 'none' || layer.trust === 'hint') continue;
      const confirmedAt =
        layer.confirmedAt === undefined ? undefined : clock.wallNow() - (clock.now() - layer.confirmedAt);
      sections.push({
        source,
        kind,
        ...lazily([...layer.objects.values()]),
        ...(confirmedAt !== undefined && { confirmedAt }),
      });
    }
  }
  return { savedAt: clock.wallNow(), sections };
}

/** Objects are made one by one as they are written: all at once would take as much memory again as the catalog itself. */
function lazily(held: readonly NormalisedObject[]): Pick<SnapshotSection, 'count' | 'objects'> {
  function* objects(): Generator<KubeObject, void, void> {
    for (const one of held) yield objectOf(one);
  }
  return { count: held.length, objects: { [Symbol.iterator]: objects } };
}
