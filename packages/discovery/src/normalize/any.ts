import { type GroupKind, groupKind, type KubeObject, type NodeInfo, objectKey, type Service } from '@edgemesh/core';
import type { Backends } from './backends.ts';
import { normaliseEndpointSlice } from './endpoint-slice.ts';
import { normaliseEndpoints } from './endpoints.ts';
import { normaliseNode } from './node.ts';
import { normaliseObject } from './object.ts';
import type { Normalised } from './report.ts';
import { normaliseService } from './service.ts';

/** The GroupKinds that the catalog normalises; all others pass through raw. */
export const NORMALISED_KINDS = {
  service: 'Service',
  endpointSlice: 'EndpointSlice.discovery.k8s.io',
  endpoints: 'Endpoints',
  node: 'Node',
} as const;

/** A trimmed object with what was made of it. */
export interface NormalisedObject {
  readonly kind: GroupKind;
  readonly key: string;
  readonly object: KubeObject;
  readonly service?: Service;
  readonly node?: NodeInfo;
  /** Of an EndpointSlice or Endpoints; absent for a slice without a Service. */
  readonly backends?: Backends;
}

/** Checks, trims and normalises any object, whatever it is. Never throws. */
export function normaliseAny(raw: unknown): Normalised<NormalisedObject> {
  const { value: object, problems } = normaliseObject(raw);
  if (object === undefined) return { problems };
  const kind = groupKind(object);
  const base = { kind, key: objectKey(object.metadata), object };
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
      return { value: base, problems };
  }
}

function withBackends(base: NormalisedObject, { value, problems }: Normalised<Backends>): Normalised<NormalisedObject> {
  if (value !== undefined) return { value: { ...base, backends: value }, problems };
  return problems.length > 0 ? { problems } : { value: base, problems };
}
