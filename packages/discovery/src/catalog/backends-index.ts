import type { Endpoint, GroupKind, ServiceId } from '@edgemesh/core';
import { NORMALISED_KINDS, type NormalisedObject } from '../normalize/any.ts';
import type { Backends } from '../normalize/backends.ts';
import { mergeEndpoints } from '../normalize/merge.ts';

/** Looks up the object that counts after merging. */
export type Winner = (kind: GroupKind, key: string) => NormalisedObject | undefined;

/** Which slices and Endpoints objects belong to which Service. */
export interface BackendsIndex {
  /** A slice changed: re-reads it and adds the Services it belonged and belongs to. */
  applySlice(key: string, dirty: Set<ServiceId>): void;
  applyEndpoints(key: string, dirty: Set<ServiceId>): void;
  /** EndpointSlices where there are any, else the Endpoints object of the same name. */
  merged(id: ServiceId): readonly Endpoint[];
}

interface ServiceBackends {
  readonly slices: Map<string, Backends>;
  endpoints: Backends | undefined;
}

/** An empty index over the merged objects. */
export function createBackendsIndex(winner: Winner): BackendsIndex {
  const backends = new Map<ServiceId, ServiceBackends>();
  const sliceOwner = new Map<string, ServiceId>();
  const backendsOf = (id: ServiceId) => {
    const known = backends.get(id) ?? { slices: new Map(), endpoints: undefined };
    backends.set(id, known);
    return known;
  };
  const dropEmpty = (id: ServiceId) => {
    const known = backends.get(id);
    if (known && known.slices.size === 0 && known.endpoints === undefined) backends.delete(id);
  };
  return {
    applySlice(key, dirty) {
      const before = sliceOwner.get(key);
      const after = winner(NORMALISED_KINDS.endpointSlice, key)?.backends;
      if (before !== undefined) {
        dirty.add(before);
        backends.get(before)?.slices.delete(key);
        sliceOwner.delete(key);
        dropEmpty(before);
      }
      if (after === undefined) return;
      dirty.add(after.service);
      sliceOwner.set(key, after.service);
      backendsOf(after.service).slices.set(key, after);
    },
    applyEndpoints(key, dirty) {
      const id = key as ServiceId;
      dirty.add(id);
      backendsOf(id).endpoints = winner(NORMALISED_KINDS.endpoints, key)?.backends;
      dropEmpty(id);
    },
    merged(id) {
      const known = backends.get(id);
      if (known === undefined) return [];
      if (known.slices.size > 0) return mergeEndpoints(known.slices.values());
      return known.endpoints === undefined ? [] : mergeEndpoints([known.endpoints]);
    },
  };
}
