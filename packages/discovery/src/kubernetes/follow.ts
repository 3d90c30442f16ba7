import { type GroupKind, objectKey } from '@edgemesh/core';
import { FOLLOWED_RESOURCES, forMetaServer, type ResourceSpec } from './resources.ts';

/** Something to follow of a resource that is not read as a whole: one object by its name, or all Pods of a namespace. */
export interface FollowRef {
  readonly kind: 'Secret' | 'ConfigMap' | 'Pod';
  readonly namespace: string;
  /** Absent: all of the namespace. */
  readonly name?: string;
}

/** Kinds that can be followed in parts. */
export const FOLLOWED_KINDS = Object.keys(FOLLOWED_RESOURCES) as readonly FollowRef['kind'][];

/** Identity of a reference; also its name in messages. */
export function followKey({ kind, namespace, name }: FollowRef): string {
  return `${kind} ${namespace}/${name ?? '*'}`;
}

/** What to list and watch for it. */
export function resourceToFollow(ref: FollowRef, mode: 'apiserver' | 'metaserver'): ResourceSpec {
  const { kind, namespace, name } = ref;
  const resource = { ...FOLLOWED_RESOURCES[kind], scope: { namespace, ...(name !== undefined && { name }) } };
  return mode === 'metaserver' ? forMetaServer(resource) : resource;
}

/** Which keys of a kind these references cover. */
export function keepFollowed(refs: readonly FollowRef[], kind: GroupKind): Pick<ReadonlySet<string>, 'has'> {
  const own = refs.filter((ref) => ref.kind === kind);
  const objects = new Set(
    own.flatMap(({ namespace, name }) => (name === undefined ? [] : objectKey({ namespace, name }))),
  );
  const namespaces = new Set(own.flatMap(({ namespace, name }) => (name === undefined ? namespace : [])));
  return { has: (key) => objects.has(key) || namespaces.has(key.slice(0, key.indexOf('/'))) };
}
