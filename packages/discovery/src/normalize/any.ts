import { type GroupKind, groupKind, type KubeObject, type NodeInfo, objectKey, type Service } from '@edgemesh/core';
import type { Backends } from './backends.ts';
import { normaliseEndpointSlice } from './endpoint-slice.ts';
import { normaliseEndpoints } from './endpoints.ts';
import { sameJson } from './equal.ts';
import { normaliseNode } from './node.ts';
import { normaliseObject } from './object.ts';
import { textOf } from './read.ts';
import type { Normalised } from './report.ts';
import { normaliseService } from './service.ts';
import { sharedText } from './shared-text.ts';

/** The GroupKinds that the catalog normalises; all others pass through raw. */
export const NORMALISED_KINDS = {
  service: 'Service',
  endpointSlice: 'EndpointSlice.discovery.k8s.io',
  endpoints: 'Endpoints',
  node: 'Node',
} as const;

/**
 * An object in the form that is kept. Of the kinds that the catalog normalises nothing but the normal form: keeping what it was made of
 * as well would take three times the memory, and {@link objectOf} makes an object of the same meaning from it.
 */
export interface NormalisedObject {
  readonly kind: GroupKind;
  readonly key: string;
  readonly apiVersion: string;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  readonly service?: Service;
  readonly node?: NodeInfo;
  /** Of an EndpointSlice or Endpoints; absent for a slice without a Service. */
  readonly backends?: Backends;
  /** Trimmed, of every other kind. */
  readonly object?: KubeObject;
}

/** Checks, trims and normalises any object, whatever it is. Never throws. */
export function normaliseAny(raw: unknown): Normalised<NormalisedObject> {
  const { value: object, problems } = normaliseObject(raw);
  if (object === undefined) return { problems };
  const kind = groupKind(object);
  const base = headOf(object, kind);
  switch (kind) {
    case NORMALISED_KINDS.service: {
      const { value: service, problems: found } = normaliseService(object);
      return service === undefined ? { problems: found } : { value: { ...base, service }, problems: found };
    }
    case NORMALISED_KINDS.node: {
      const { value: node, problems: found } = normaliseNode(object);
      return node === undefined ? { problems: found } : { value: { ...base, node }, problems: found };
    }
    case NORMALISED_KINDS.endpointSlice:
      return withBackends(base, normaliseEndpointSlice(object));
    case NORMALISED_KINDS.endpoints:
      return withBackends(base, normaliseEndpoints(object));
    default:
      return { value: { ...base, object }, problems };
  }
}

/** True when both say the same, versions included. */
export function sameObject(a: NormalisedObject, b: NormalisedObject): boolean {
  return a === b || sameJson(a, b);
}

function headOf(object: KubeObject, kind: GroupKind): NormalisedObject {
  const { metadata, apiVersion } = object;
  return {
    kind,
    key: objectKey(metadata),
    apiVersion: sharedText(apiVersion),
    uid: textOf(metadata.uid),
    resourceVersion: textOf(metadata.resourceVersion),
  };
}

function withBackends(base: NormalisedObject, { value, problems }: Normalised<Backends>): Normalised<NormalisedObject> {
  if (value !== undefined) return { value: { ...base, backends: value }, problems };
  return problems.length > 0 ? { problems } : { value: base, problems };
}
