import { type KubeObject, objectKey } from '@edgemesh/core';
import type { Condition } from '../model.ts';
import { Field } from './field.ts';

/** Collects conditions up to a limit; the same one is kept once. */
export interface ConditionList {
  add(object: string, path: string, message: string): void;
  readonly list: readonly Condition[];
  readonly dropped: number;
}

/** Makes an empty list. */
export function createConditionList(max: number): ConditionList {
  const list: Condition[] = [];
  const seen = new Set<string>();
  let dropped = 0;
  return {
    list,
    get dropped() {
      return dropped;
    },
    add(object, path, message) {
      const key = `${object}\n${path}\n${message}`;
      if (seen.has(key)) return;
      if (list.length >= max) {
        dropped++;
        return;
      }
      seen.add(key);
      list.push({ object, path, message });
    },
  };
}

/** How conditions name an object: `VirtualService default/shop`. */
export function objectName(object: KubeObject): string {
  return `${object.kind} ${objectKey(object.metadata)}`;
}

/** The spec of an object, reporting into the list under the object's name. */
export function specOf(object: KubeObject, conditions: ConditionList): Field {
  const name = objectName(object);
  const spec = new Field(object.spec, 'spec', (path, message) => conditions.add(name, path, message));
  spec.isObject();
  return spec;
}

/** Namespace of a namespaced object. */
export function namespaceOf(object: KubeObject): string {
  return object.metadata.namespace || 'default';
}

/** Oldest first, then by namespace and name: the order in which objects win over each other. */
export function byAge(a: KubeObject, b: KubeObject): number {
  return (
    compare(ageOf(a), ageOf(b)) || compare(namespaceOf(a), namespaceOf(b)) || compare(a.metadata.name, b.metadata.name)
  );
}

/** Objects without a time of creation (manifests in a folder) come after those that have one. */
function ageOf(object: KubeObject): string {
  const { creationTimestamp } = object.metadata;
  return typeof creationTimestamp === 'string' && creationTimestamp !== '' ? creationTimestamp : '~';
}

/** Orders text by code units, the same on every machine. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
