import { randomBytes, randomUUID } from 'node:crypto';
import type { Clock } from '@edgemesh/core';
import { type AddressPool, applyDefaults, validate } from './defaults.ts';
import type { KindSpec } from './kinds.ts';
import { type ApiObject, isRecord, type Manifest, mergePatch, sameJson } from './object.ts';
import { alreadyExists, badRequest, conflict, invalid, notFound, type Subject } from './status.ts';
import type { Store } from './store.ts';

/** Writes to the store, with the bookkeeping that the API server does on every object. */
export interface Writer {
  create(kind: KindSpec, namespace: string | undefined, manifest: Manifest): ApiObject;
  /** Replaces an object, or only its status. */
  update(kind: KindSpec, key: ObjectKey, manifest: Manifest, part: WritePart): ApiObject;
  patch(kind: KindSpec, key: ObjectKey, patch: unknown, part: WritePart): ApiObject;
  remove(kind: KindSpec, key: ObjectKey): ApiObject;
  /** Creates or replaces, a given status included, without looking at revisions: the way of test code. */
  apply(kind: KindSpec, manifest: Manifest): ApiObject;
}

/** Which part of an object a write may change: `all` is for test code. */
export type WritePart = 'main' | 'status' | 'all';

export interface ObjectKey {
  readonly namespace: string | undefined;
  readonly name: string;
}

export interface WriterOptions {
  readonly clock: Clock;
  readonly managedFields: boolean;
  readonly defaulting: boolean;
}

export function createWriter(store: Store, options: WriterOptions, pool: AddressPool): Writer {
  const subject = (kind: KindSpec, name?: string): Subject => ({
    group: kind.group,
    resource: kind.plural,
    ...(name !== undefined && { name }),
  });
  const now = () => new Date(options.clock.wallNow()).toISOString().replace(/\.\d+Z$/, 'Z');
  const existing = (kind: KindSpec, key: ObjectKey) => {
    const found = store.get(kind, key.namespace, key.name);
    if (!found) throw notFound(subject(kind, key.name));
    return found;
  };
  const prepare = (kind: KindSpec, manifest: Manifest, previous?: ApiObject) => {
    const full = options.defaulting ? applyDefaults(manifest, kind, previous, pool) : manifest;
    const causes = validate(full, kind);
    if (causes.length > 0)
      throw invalid({ group: kind.group, resource: kind.kind, name: full.metadata.name ?? '' }, causes);
    return full;
  };
  const insert = (kind: KindSpec, manifest: Manifest, part: WritePart) => {
    const named = withGeneratedName(manifest);
    const { status, ...withoutStatus } = named;
    // Clients cannot bring a status along; the kubelet's Node objects are the exception.
    const keepsStatus = part === 'all' || !kind.status || kind.kind === 'Node' || status === undefined;
    const full = prepare(kind, keepsStatus ? named : (withoutStatus as Manifest));
    const { name, namespace } = full.metadata;
    if (store.get(kind, namespace, name as string)) throw alreadyExists(subject(kind, name));
    const { resourceVersion: _, managedFields: __, selfLink: ___, deletionTimestamp: ____, ...kept } = full.metadata;
    const created = now();
    const metadata = {
      ...kept,
      uid: part === 'all' && typeof kept.uid === 'string' ? kept.uid : randomUUID(),
      creationTimestamp: created,
      ...(kind.generation && { generation: 1 }),
      ...(options.managedFields && { managedFields: managedFields(full, created) }),
    };
    return store.put(kind, { ...full, metadata } as ApiObject);
  };
  const replace = (kind: KindSpec, before: ApiObject, manifest: Manifest, part: WritePart) => {
    const wanted = manifest.metadata.resourceVersion;
    if (part !== 'all' && wanted !== undefined && wanted !== '' && wanted !== before.metadata.resourceVersion) {
      throw conflict(subject(kind, before.metadata.name));
    }
    const uid = manifest.metadata.uid;
    if (part !== 'all' && uid !== undefined && uid !== before.metadata.uid) {
      throw conflict(
        subject(kind, before.metadata.name),
        `Precondition failed: UID in precondition: ${String(uid)}, UID in object meta: ${before.metadata.uid}`,
      );
    }
    const content = selectPart(before, manifest, kind, part);
    const full = part === 'status' ? content : prepare(kind, content, before);
    const { generation, ...metadata } = inheritMetadata(before, full);
    const specChanged = !sameJson(specOf(before), specOf(full));
    const next = {
      ...full,
      metadata: {
        ...metadata,
        ...(generation !== undefined && { generation: (generation as number) + (specChanged ? 1 : 0) }),
      },
    } as unknown as ApiObject;
    if (sameJson(next, before)) return before;
    const done = next.metadata.deletionTimestamp !== undefined && (next.metadata.finalizers ?? []).length === 0;
    return done
      ? (store.delete(kind, next.metadata.namespace, next.metadata.name) as ApiObject)
      : store.put(kind, next);
  };

  return {
    create(kind, namespace, manifest) {
      if (manifest.metadata.resourceVersion)
        throw badRequest('resourceVersion should not be set on objects to be created');
      return insert(kind, inNamespace(kind, namespace, manifest), 'main');
    },
    update(kind, key, manifest, part) {
      if (manifest.metadata.name !== key.name) {
        throw badRequest(
          `the name of the object (${manifest.metadata.name}) does not match the name on the URL (${key.name})`,
        );
      }
      return replace(kind, existing(kind, key), inNamespace(kind, key.namespace, manifest), part);
    },
    patch(kind, key, patch, part) {
      const before = existing(kind, key);
      const merged = mergePatch(before, patch) as Manifest;
      // A patch speaks of a revision only when it names one; the merged object would always carry the present one.
      return replace(kind, before, merged, part);
    },
    remove(kind, key) {
      const before = existing(kind, key);
      if ((before.metadata.finalizers ?? []).length === 0)
        return store.delete(kind, key.namespace, key.name) as ApiObject;
      if (before.metadata.deletionTimestamp !== undefined) return before;
      return store.put(kind, { ...before, metadata: { ...before.metadata, deletionTimestamp: now() } });
    },
    apply(kind, manifest) {
      const placed = inNamespace(kind, manifest.metadata.namespace ?? 'default', manifest);
      const before = store.get(kind, placed.metadata.namespace, placed.metadata.name ?? '');
      if (before === undefined) return insert(kind, placed, 'all');
      // As with kubectl: a manifest without a status says nothing about it.
      const keepsStatus = kind.status && placed.status === undefined && before.status !== undefined;
      return replace(kind, before, keepsStatus ? { ...placed, status: before.status } : placed, 'all');
    },
  };
}

/** What a write changes: without `/status` nothing of the status, with it nothing but the status. */
function selectPart(before: ApiObject, manifest: Manifest, kind: KindSpec, part: WritePart): Manifest {
  const { status: statusBefore, ...mainBefore } = before;
  const { status: statusGiven, ...mainGiven } = manifest;
  if (part === 'status')
    return { ...mainBefore, ...(statusGiven !== undefined && { status: statusGiven }) } as unknown as Manifest;
  if (part === 'main' && kind.status)
    return { ...mainGiven, ...(statusBefore !== undefined && { status: statusBefore }) } as Manifest;
  return manifest;
}

/** What the server owns in metadata stays as it was. */
function inheritMetadata(before: ApiObject, full: Manifest): Record<string, unknown> {
  const {
    uid,
    creationTimestamp,
    generation,
    managedFields: managed,
    deletionTimestamp,
    resourceVersion,
  } = before.metadata;
  const { generation: _, selfLink: __, deletionTimestamp: ___, ...given } = full.metadata;
  return {
    ...given,
    uid,
    creationTimestamp,
    resourceVersion,
    ...(generation !== undefined && { generation }),
    ...(managed !== undefined && { managedFields: managed }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
  };
}

/** What counts for `generation`: everything but metadata and status. */
function specOf(object: object): unknown {
  const { metadata: _, status: __, ...rest } = object as Record<string, unknown>;
  return rest;
}

function inNamespace(kind: KindSpec, namespace: string | undefined, manifest: Manifest): Manifest {
  const { namespace: given, ...rest } = manifest.metadata;
  if (!kind.namespaced) return { ...manifest, metadata: rest };
  if (given !== undefined && namespace !== undefined && given !== namespace) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  }
  return { ...manifest, metadata: { ...rest, namespace: given ?? namespace ?? 'default' } };
}

function withGeneratedName(manifest: Manifest): Manifest {
  const prefix = manifest.metadata.generateName;
  if (manifest.metadata.name || typeof prefix !== 'string') return manifest;
  return {
    ...manifest,
    metadata: { ...manifest.metadata, name: `${prefix}${randomBytes(3).toString('hex').slice(0, 5)}` },
  };
}

function managedFields(object: Manifest, time: string): unknown[] {
  const fieldsV1: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    if (key === 'apiVersion' || key === 'kind' || key === 'metadata') continue;
    fieldsV1[`f:${key}`] = isRecord(value)
      ? Object.fromEntries(Object.keys(value).map((field) => [`f:${field}`, {}]))
      : {};
  }
  return [
    { manager: 'testkit', operation: 'Update', apiVersion: object.apiVersion, time, fieldsType: 'FieldsV1', fieldsV1 },
  ];
}
