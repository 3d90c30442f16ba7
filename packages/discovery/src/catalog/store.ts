import { type GroupKind, objectKey } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { type NormalisedObject, normaliseAny, sameObject } from '../normalize/any.ts';
import { fieldsOf, textOf } from '../normalize/read.ts';
import { compareResourceVersions } from '../normalize/resource-version.ts';
import type { ListOutcome, Removal, SourceList } from '../source.ts';
import {
  createLayer,
  hintTo,
  type Layer,
  type OnChange,
  removeFrom,
  replaceIn,
  retainIn,
  upsertInto,
} from './layer.ts';

/** The part of a source that merging needs. */
export interface StoreSource {
  readonly name: string;
  readonly origin?: string;
}

/** Sources and callbacks of a store. */
export interface StoreOptions {
  /** Highest priority first. */
  readonly sources: readonly StoreSource[];
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly onChange: OnChange;
  /** Told of every object or field that cannot be used. */
  readonly onProblem: (problem: DiscoveryError) => void;
  /** Kinds to keep; all when absent. */
  readonly kinds?: ReadonlySet<GroupKind>;
}

/** Objects by source and kind, and the rule by which they merge. Mutable, synchronous, without I/O. */
export interface Store {
  /** See `SourceSink.prepare`. */
  prepare(source: string, kind: GroupKind, object: unknown): unknown;
  replace(source: string, list: SourceList): ListOutcome;
  upsert(source: string, object: unknown): boolean;
  remove(source: string, removal: Removal): boolean;
  confirm(source: string, kind: GroupKind): void;
  /** Drops what a source no longer follows. */
  retain(source: string, kind: GroupKind, keep: Pick<ReadonlySet<string>, 'has'>): void;
  /** Puts objects of a snapshot under a source that has said nothing yet. */
  restore(source: string, kind: GroupKind, objects: Iterable<unknown>, confirmedAt: number | undefined): void;
  /** The object that counts, after merging. */
  winner(kind: GroupKind, key: string): NormalisedObject | undefined;
  layers(source: string): ReadonlyMap<GroupKind, Layer>;
}

/**
 * Merging: of one object held by several sources, the source that comes first in `sources` wins. Among sources with the
 * same `origin` the highest resourceVersion wins instead, at the place of the first of them that has the object.
 */
export function createStore(options: StoreOptions): Store {
  const { sources, now, onChange, onProblem, kinds } = options;
  const bySource = new Map(sources.map(({ name }) => [name, new Map<GroupKind, Layer>()]));
  const layersOf = (source: string) => {
    const layers = bySource.get(source);
    if (layers === undefined) throw new DiscoveryError('config', `unknown source ${source}`);
    return layers;
  };
  const layerOf = (source: string, kind: GroupKind) => {
    const layers = layersOf(source);
    const layer = layers.get(kind) ?? createLayer(kind);
    layers.set(kind, layer);
    return layer;
  };
  const wanted = (kind: GroupKind) => kinds === undefined || kinds.has(kind);
  const admit = (raw: unknown, kind?: GroupKind): NormalisedObject | undefined => {
    const { value, problems } = normaliseAny(raw);
    for (const problem of problems) onProblem(problem);
    if (value === undefined || kind === undefined || value.kind === kind) return value;
    const slash = value.key.indexOf('/');
    const [namespace, name] = [value.key.slice(0, Math.max(0, slash)), value.key.slice(slash + 1)];
    const object = { kind: value.kind, namespace, name, field: 'kind' };
    onProblem(
      new DiscoveryError('invalid-object', `${value.kind} ${value.key}: stands in a list of ${kind}`, { object }),
    );
    return undefined;
  };
  const admitAll = (raw: Iterable<unknown>, kind: GroupKind, held: Layer['objects']) => {
    const objects: NormalisedObject[] = [];
    const rejected = new Set<string>();
    for (const entry of raw) {
      const { key, admitted } = entry instanceof Prepared ? entry : prepare(entry, kind, held);
      if (admitted) objects.push(admitted);
      else rejected.add(key);
    }
    return { objects, rejected };
  };
  const prepare = (entry: unknown, kind: GroupKind, held: Layer['objects'] | undefined) => {
    const known = held && unchanged(entry, held);
    if (known !== undefined) return new Prepared(known.key, known);
    const admitted = admit(entry, kind);
    const before = admitted && held?.get(admitted.key);
    // what says the same is the same: two of a large catalog would be twice the memory
    return new Prepared(keyOf(entry), before && sameObject(before, admitted) ? before : admitted);
  };
  return {
    prepare: (source, kind, object) => prepare(object, kind, layersOf(source).get(kind)?.objects),
    replace(source, list) {
      if (!wanted(list.kind)) return 'ignored';
      const layer = layerOf(source, list.kind);
      const { objects, rejected } = admitAll(list.objects, list.kind, layer.objects);
      if (list.authority === 'hint') return hintTo(layer, objects, list.scope, onChange);
      const outcome = replaceIn(layer, { objects, rejected, scope: list.scope }, onChange);
      if (outcome === 'accepted') {
        layer.trust = 'authoritative';
        layer.confirmedAt = now();
      }
      return outcome;
    },
    upsert(source, raw) {
      const admitted = raw instanceof Prepared ? raw.admitted : admit(raw);
      if (admitted === undefined || !wanted(admitted.kind)) return false;
      return upsertInto(layerOf(source, admitted.kind), admitted, onChange);
    },
    remove: (source, removal) =>
      wanted(removal.kind) && removeFrom(layerOf(source, removal.kind), objectKey(removal), removal, onChange),
    confirm(source, kind) {
      const layer = layersOf(source).get(kind);
      if (layer?.trust === 'authoritative') layer.confirmedAt = now();
    },
    retain(source, kind, keep) {
      const layers = layersOf(source);
      const layer = layers.get(kind);
      if (layer === undefined) return;
      retainIn(layer, keep, onChange);
      if (layer.objects.size === 0) layers.delete(kind);
    },
    restore(source, kind, raw, confirmedAt) {
      if (!wanted(kind)) return;
      const layer = layerOf(source, kind);
      if (layer.trust !== 'none') return;
      for (const admitted of admitAll(raw, kind, layer.objects).objects) upsertInto(layer, admitted, onChange);
      layer.trust = 'snapshot';
      layer.confirmedAt = confirmedAt;
    },
    winner(kind, key) {
      let best: NormalisedObject | undefined;
      let origin: string | undefined;
      for (const source of sources) {
        const held = bySource.get(source.name)?.get(kind)?.objects.get(key);
        if (held === undefined) continue;
        if (best === undefined) {
          best = held;
          origin = source.origin;
          if (origin === undefined) break;
        } else if (source.origin === origin && isNewer(held, best)) best = held;
      }
      return best;
    },
    layers: layersOf,
  };
}

/** An object that has been read already; nothing admitted: it cannot be used. */
class Prepared {
  readonly key: string;
  readonly admitted: NormalisedObject | undefined;

  constructor(key: string, admitted: NormalisedObject | undefined) {
    this.key = key;
    this.admitted = admitted;
  }
}

function isNewer(a: NormalisedObject, b: NormalisedObject): boolean {
  return (compareResourceVersions(a.resourceVersion, b.resourceVersion) ?? 0) > 0;
}

/**
 * The held form of an object that the origin has not touched since: same uid and resourceVersion, seen through the same
 * version of the API. It makes the regular re-list of a large cluster a matter of milliseconds.
 */
function unchanged(raw: unknown, held: Layer['objects']): NormalisedObject | undefined {
  const { apiVersion, metadata } = fieldsOf(raw);
  const { uid, resourceVersion } = fieldsOf(metadata);
  if (!textOf(uid) || !textOf(resourceVersion)) return undefined;
  const known = held.get(keyOf(raw));
  if (known === undefined || known.apiVersion !== apiVersion) return undefined;
  return known.uid === uid && known.resourceVersion === resourceVersion ? known : undefined;
}

/** The key of an object that may be anything. */
function keyOf(raw: unknown): string {
  const metadata = fieldsOf(fieldsOf(raw).metadata);
  return objectKey({ name: textOf(metadata.name) ?? '', namespace: textOf(metadata.namespace) ?? '' });
}
