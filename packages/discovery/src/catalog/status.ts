import type { Catalog, GroupKind } from '@edgemesh/core';
import type { SourceState } from '../source.ts';
import type { Layer, LayerTrust } from './layer.ts';

/** Objects of one kind from one source. */
export interface KindStatus {
  readonly kind: GroupKind;
  readonly objects: number;
  /** `snapshot`: from disk, not confirmed since the start. `hint`: from a list that may be old. */
  readonly trust: LayerTrust;
  /** Milliseconds since the origin confirmed this kind; absent when it never did. */
  readonly ageMs?: number;
}

/** What one source knows and how it fares. */
export interface SourceStatus {
  readonly name: string;
  readonly state: SourceState;
  /** Why it is not live. */
  readonly error?: string;
  /** True once every kind was read with authority since the start. */
  readonly synced: boolean;
  /** Age of its oldest data in milliseconds; absent when something was never confirmed. */
  readonly ageMs?: number;
  readonly kinds: readonly KindStatus[];
}

/** The state of a discovery at one moment. */
export interface DiscoveryStatus {
  readonly revision: number;
  readonly services: number;
  readonly endpoints: number;
  readonly nodes: number;
  /** The weakest ground that anything served stands on: `none` (nothing known), `snapshot`, `hint`, `authoritative`. */
  readonly source: LayerTrust;
  /** Age of the oldest data of all sources in milliseconds; absent when something was never confirmed. */
  readonly ageMs?: number;
  /** True when the age is unknown or above `staleAfterMs`. */
  readonly stale: boolean;
  readonly synced: boolean;
  /** Objects and fields rejected since the start. */
  readonly rejected: number;
  readonly sources: readonly SourceStatus[];
}

/** What the status of a source is made of. */
export interface SourceRecord {
  readonly name: string;
  readonly layers: ReadonlyMap<GroupKind, Layer>;
  state: SourceState;
  error: string | undefined;
  synced: boolean;
}

const WEAKEST_FIRST: readonly LayerTrust[] = ['snapshot', 'hint', 'authoritative'];

/** Puts the status together; `now` is monotonic milliseconds. */
export function readStatus(
  catalog: Catalog,
  records: readonly SourceRecord[],
  at: { now: number; staleAfterMs: number; rejected: number },
): DiscoveryStatus {
  const sources = records.map((record) => sourceStatus(record, at.now));
  const layers = records.flatMap((record) => [...record.layers.values()]).filter(({ trust }) => trust !== 'none');
  const ageMs = oldest(sources.filter(({ kinds }) => kinds.length > 0));
  let endpoints = 0;
  for (const list of catalog.endpoints.values()) endpoints += list.length;
  return {
    revision: catalog.revision,
    services: catalog.services.size,
    endpoints,
    nodes: catalog.nodes.size,
    source: WEAKEST_FIRST.find((trust) => layers.some((layer) => layer.trust === trust)) ?? 'none',
    ...(ageMs !== undefined && { ageMs }),
    stale: ageMs === undefined || ageMs > at.staleAfterMs,
    synced: records.every(({ synced }) => synced),
    rejected: at.rejected,
    sources,
  };
}

function sourceStatus({ name, layers, state, error, synced }: SourceRecord, now: number): SourceStatus {
  const kinds = [...layers.values()]
    .filter(({ trust }) => trust !== 'none')
    .map(({ kind, objects, trust, confirmedAt }): KindStatus => {
      const ageMs = confirmedAt === undefined ? undefined : Math.max(0, now - confirmedAt);
      return { kind, objects: objects.size, trust, ...(ageMs !== undefined && { ageMs }) };
    });
  const ageMs = oldest(kinds);
  return { name, state, ...(error !== undefined && { error }), synced, ...(ageMs !== undefined && { ageMs }), kinds };
}

/** The largest age, or undefined when there is none or one is unknown. */
function oldest(parts: readonly { readonly ageMs?: number }[]): number | undefined {
  let age: number | undefined;
  for (const part of parts) {
    if (part.ageMs === undefined) return undefined;
    age = Math.max(age ?? 0, part.ageMs);
  }
  return age;
}
