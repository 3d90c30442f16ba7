import type { GroupKind } from '@edgemesh/core';
import { type NormalisedObject, sameObject } from '../normalize/any.ts';
import { compareResourceVersions } from '../normalize/resource-version.ts';
import { MAX_TOMBSTONES } from '../options.ts';
import type { ListOutcome, ListScope, Removal } from '../source.ts';

/** How far the objects of a layer can be trusted, weakest first. */
export type LayerTrust = 'none' | 'snapshot' | 'hint' | 'authoritative';

/** What one source says about one kind. */
export interface Layer {
  readonly kind: GroupKind;
  readonly objects: Map<string, NormalisedObject>;
  trust: LayerTrust;
  /** Monotonic time of the last confirmation; may lie before the start when it comes from a snapshot. */
  confirmedAt: number | undefined;
  /** Scopes whose last list shrank to nothing and is not believed yet. */
  readonly doubted: Set<string>;
  /** resourceVersion of recent deletions. */
  readonly tombstones: Map<string, string>;
}

/** Called with the key of each object of a layer that came, changed or went. */
export type OnChange = (kind: GroupKind, key: string) => void;

/** An empty layer of which nothing is known. */
export function createLayer(kind: GroupKind): Layer {
  const objects = new Map<string, NormalisedObject>();
  return { kind, objects, trust: 'none', confirmedAt: undefined, doubted: new Set(), tombstones: new Map() };
}

/**
 * Adds or updates an object unless a newer version of it, or of its deletion, is known. Versions are compared even when
 * the uid differs: within a kind a smaller resourceVersion is always the older state.
 */
export function upsertInto(layer: Layer, incoming: NormalisedObject, onChange: OnChange): boolean {
  const version = incoming.resourceVersion;
  const held = layer.objects.get(incoming.key);
  const buried = layer.tombstones.get(incoming.key);
  if (isOlder(version, held?.resourceVersion)) return false;
  if (buried !== undefined && (compareResourceVersions(version, buried) ?? 1) <= 0) return false;
  put(layer, incoming, held, onChange);
  return true;
}

/** Removes an object unless what is held is newer than the deletion. */
export function removeFrom(layer: Layer, key: string, removal: Removal, onChange: OnChange): boolean {
  const held = layer.objects.get(key);
  const { resourceVersion } = removal;
  if (held !== undefined && isOlder(resourceVersion, held.resourceVersion)) return false;
  if (resourceVersion !== undefined) bury(layer, key, resourceVersion);
  if (held === undefined) return false;
  layer.objects.delete(key);
  onChange(layer.kind, key);
  return true;
}

/** Takes an authoritative list; `rejected` are keys that were listed but unusable: their last good state stays. */
export function replaceIn(
  layer: Layer,
  list: { objects: readonly NormalisedObject[]; rejected: ReadonlySet<string>; scope: ListScope | undefined },
  onChange: OnChange,
): ListOutcome {
  const { objects, rejected, scope } = list;
  const doubt = `${scope?.namespace ?? ''}/${scope?.name ?? ''}`;
  const inScope = [...layer.objects.values()].filter((held) => matches(held, scope));
  if (objects.length === 0 && rejected.size === 0 && inScope.length > 0 && !layer.doubted.has(doubt)) {
    layer.doubted.add(doubt);
    return 'second-look';
  }
  layer.doubted.delete(doubt);
  layer.tombstones.clear();
  const listed = new Set(objects.map(({ key }) => key));
  for (const incoming of objects) put(layer, incoming, layer.objects.get(incoming.key), onChange);
  for (const { key } of inScope) {
    if (listed.has(key) || rejected.has(key)) continue;
    layer.objects.delete(key);
    onChange(layer.kind, key);
  }
  return 'accepted';
}

/** Takes a hint: only where nothing better is known, and only to add. */
export function hintTo(
  layer: Layer,
  objects: readonly NormalisedObject[],
  scope: ListScope | undefined,
  onChange: OnChange,
): ListOutcome {
  const holds = () => [...layer.objects.values()].some((held) => matches(held, scope));
  const better = scope === undefined && layer.trust === 'authoritative';
  if (better || (layer.trust !== 'hint' && holds())) return 'ignored';
  if (layer.trust !== 'authoritative') layer.trust = 'hint';
  for (const incoming of objects) upsertInto(layer, incoming, onChange);
  return 'accepted';
}

/** Drops every object whose key is not among those to keep. */
export function retainIn(layer: Layer, keep: Pick<ReadonlySet<string>, 'has'>, onChange: OnChange): void {
  for (const key of [...layer.objects.keys()]) {
    if (keep.has(key)) continue;
    layer.objects.delete(key);
    onChange(layer.kind, key);
  }
}

function put(layer: Layer, incoming: NormalisedObject, held: NormalisedObject | undefined, onChange: OnChange): void {
  // an unchanged object keeps its identity, so that a re-list of everything costs readers nothing
  if (held !== undefined && sameObject(held, incoming)) return;
  layer.objects.set(incoming.key, incoming);
  onChange(layer.kind, incoming.key);
}

function bury(layer: Layer, key: string, resourceVersion: string): void {
  const known = layer.tombstones.get(key);
  if (isOlder(resourceVersion, known)) return;
  layer.tombstones.delete(key);
  layer.tombstones.set(key, resourceVersion);
  if (layer.tombstones.size > MAX_TOMBSTONES) layer.tombstones.delete(layer.tombstones.keys().next().value as string);
}

function isOlder(version: string | undefined, than: string | undefined): boolean {
  const order = compareResourceVersions(version, than);
  return order !== undefined && order < 0;
}

function matches({ key }: NormalisedObject, scope: ListScope | undefined): boolean {
  if (scope === undefined) return true;
  const slash = key.indexOf('/');
  if (scope.namespace !== undefined && key.slice(0, Math.max(0, slash)) !== scope.namespace) return false;
  return scope.name === undefined || key.slice(slash + 1) === scope.name;
}
