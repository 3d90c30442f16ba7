import type { KindSpec } from './kinds.ts';
import { type ApiObject, revisionOf } from './object.ts';
import { expired } from './status.ts';

/** A committed change. `object` of a deletion is the last state at the revision of the deletion. */
export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  readonly kind: KindSpec;
  readonly object: ApiObject;
  readonly previous?: ApiObject;
}

/** The objects of a cluster under one revision counter, with the history that watches resume from. */
export interface Store {
  /** The latest revision. */
  readonly revision: number;
  /** Revisions below this one can neither be watched from nor listed at. */
  readonly compacted: number;
  get(kind: KindSpec, namespace: string | undefined, name: string): ApiObject | undefined;
  /** Objects of a kind in the order of the real store (namespace, then name), now or at an older revision. */
  list(kind: KindSpec, revision?: number): ApiObject[];
  /** Commits an object under the next revision; returns it as stored. */
  put(kind: KindSpec, object: ApiObject): ApiObject;
  delete(kind: KindSpec, namespace: string | undefined, name: string): ApiObject | undefined;
  /** Events of a kind after a revision, oldest first. */
  since(kind: KindSpec, revision: number): StoreEvent[];
  /** Forgets history; by default all of it. */
  compact(revision?: number): void;
  /** Called once per commit, in order. Returns the way to stop. */
  subscribe(listener: (event: StoreEvent) => void): () => void;
}

type Key = string;
const keyOf = (namespace: string | undefined, name: string): Key => `${namespace ?? ''}/${name}`;
const keyOfObject = (object: ApiObject) => keyOf(object.metadata.namespace, object.metadata.name);
const tableOf = (kind: KindSpec) => `${kind.group}/${kind.plural}`;
const at = (object: ApiObject, revision: number): ApiObject => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion: String(revision) },
});

/** Creates an empty store. `historyLimit` bounds the events that are kept. */
export function createStore(startRevision: number, historyLimit: number): Store {
  const tables = new Map<string, Map<Key, ApiObject>>();
  const history: StoreEvent[] = [];
  const listeners = new Set<(event: StoreEvent) => void>();
  let revision = startRevision;
  let compacted = startRevision;

  const table = (kind: KindSpec) => {
    const name = tableOf(kind);
    const found = tables.get(name) ?? new Map<Key, ApiObject>();
    tables.set(name, found);
    return found;
  };
  const forget = (count: number) => {
    const dropped = history.splice(0, count);
    compacted = Math.max(compacted, dropped.at(-1)?.revision ?? 0);
  };
  const commit = (event: StoreEvent) => {
    history.push(event);
    if (history.length > historyLimit) forget(history.length - historyLimit);
    for (const listener of [...listeners]) listener(event);
  };

  return {
    get revision() {
      return revision;
    },
    get compacted() {
      return compacted;
    },
    get: (kind, namespace, name) => table(kind).get(keyOf(namespace, name)),
    list(kind, atRevision) {
      const objects =
        atRevision === undefined ? table(kind) : rewind(table(kind), history, kind, atRevision, compacted);
      return [...objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    },
    put(kind, object) {
      const previous = table(kind).get(keyOfObject(object));
      const stored = at(object, ++revision);
      table(kind).set(keyOfObject(stored), stored);
      commit({ type: previous ? 'MODIFIED' : 'ADDED', revision, kind, object: stored, ...(previous && { previous }) });
      return stored;
    },
    delete(kind, namespace, name) {
      const previous = table(kind).get(keyOf(namespace, name));
      if (!previous) return undefined;
      table(kind).delete(keyOf(namespace, name));
      const object = at(previous, ++revision);
      commit({ type: 'DELETED', revision, kind, object, previous });
      return object;
    },
    since(kind, from) {
      const name = tableOf(kind);
      // From the end: nearly always only the last event is wanted.
      let start = history.length;
      while (start > 0 && (history[start - 1] as StoreEvent).revision > from) start--;
      return history.slice(start).filter((event) => tableOf(event.kind) === name);
    },
    compact(upTo = revision) {
      forget(history.filter((event) => event.revision <= upTo).length);
      compacted = Math.max(compacted, Math.min(upTo, revision));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** The table as it was at a revision: events undone, newest first. */
function rewind(
  now: ReadonlyMap<Key, ApiObject>,
  history: readonly StoreEvent[],
  kind: KindSpec,
  revision: number,
  compacted: number,
): Map<Key, ApiObject> {
  if (revision < compacted) throw expired('The resourceVersion for the provided list is too old.');
  const then = new Map(now);
  for (let i = history.length - 1; i >= 0; i--) {
    const event = history[i] as StoreEvent;
    if (event.revision <= revision) break;
    if (tableOf(event.kind) !== tableOf(kind)) continue;
    if (event.previous) then.set(keyOfObject(event.previous), event.previous);
    else then.delete(keyOfObject(event.object));
  }
  return then;
}

/** The highest revision among objects, 0 for none. */
export function highestRevision(objects: Iterable<ApiObject>): number {
  let highest = 0;
  for (const object of objects) highest = Math.max(highest, revisionOf(object));
  return highest;
}
