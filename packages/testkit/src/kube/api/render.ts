import { apiVersionOf, type KindSpec } from './kinds.ts';
import type { ApiObject } from './object.ts';

/** The object as it is served at a version. */
export function renderObject(object: ApiObject, kind: KindSpec, version: string): ApiObject {
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  const head = { kind: kind.kind, apiVersion: apiVersionOf(kind.group, version) };
  return { ...head, metadata, ...rest } as ApiObject;
}

/** An item of a list: objects of built-in kinds leave out their type there, those of custom kinds keep it. */
export function renderItem(object: ApiObject, kind: KindSpec, version: string): Record<string, unknown> {
  const { apiVersion: _, kind: __, ...rest } = object;
  return kind.custom ? renderObject(object, kind, version) : rest;
}

/** Page traits of a list. */
export interface ListMetadata {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** A list as it is served. */
export function renderList(
  items: readonly ApiObject[],
  kind: KindSpec,
  version: string,
  metadata: ListMetadata,
): Record<string, unknown> {
  return {
    kind: `${kind.kind}List`,
    apiVersion: apiVersionOf(kind.group, version),
    metadata: { ...(kind.custom && { continue: '' }), ...metadata },
    items: items.map((item) => renderItem(item, kind, version)),
  };
}

/** A bookmark: an object of the watched kind with nothing but a revision. */
export function renderBookmark(
  kind: KindSpec,
  version: string,
  revision: number,
  initialEventsEnd: boolean,
): Record<string, unknown> {
  const annotations = { 'k8s.io/initial-events-end': 'true' };
  return {
    kind: kind.kind,
    apiVersion: apiVersionOf(kind.group, version),
    metadata: {
      resourceVersion: String(revision),
      ...(!kind.custom && { creationTimestamp: null }),
      ...(initialEventsEnd && { annotations }),
    },
  };
}
