import type { CatalogChange, ServiceId } from '@edgemesh/core';
import { parseServiceId } from '@edgemesh/core';
import type { Answer } from '../wire/reply.ts';
import { type Dependency, REVERSE } from './types.ts';

/** Encoded answers of the cluster zone by question, each kept until something it depends on changes. */
export interface AnswerStore {
  readonly size: number;
  get(key: string): Answer | undefined;
  set(key: string, answer: Answer, dependsOn: readonly Dependency[]): void;
  /** Drops what the change may have touched. */
  invalidate(change: CatalogChange): void;
  clear(): void;
}

interface Stored {
  readonly answer: Answer;
  readonly dependsOn: readonly Dependency[];
}

/** Holds `maxEntries`; the oldest goes first, which costs the popular ones one new encoding. */
export function createAnswerStore(maxEntries: number): AnswerStore {
  const entries = new Map<string, Stored>();
  const dependents = new Map<Dependency, Set<string>>();

  const remove = (key: string) => {
    const stored = entries.get(key);
    if (stored === undefined) return;
    entries.delete(key);
    for (const dependency of stored.dependsOn) {
      const keys = dependents.get(dependency);
      keys?.delete(key);
      if (keys?.size === 0) dependents.delete(dependency);
    }
  };
  const drop = (dependency: Dependency) => {
    for (const key of dependents.get(dependency) ?? []) remove(key);
  };
  const dropService = (id: ServiceId) => {
    drop(id);
    drop(`${parseServiceId(id).namespace}/`);
  };

  return {
    get size() {
      return entries.size;
    },
    get: (key) => entries.get(key)?.answer,
    set(key, answer, dependsOn) {
      remove(key);
      if (entries.size >= maxEntries) remove(entries.keys().next().value as string);
      entries.set(key, { answer, dependsOn });
      for (const dependency of dependsOn) {
        const keys = dependents.get(dependency);
        if (keys === undefined) dependents.set(dependency, new Set([key]));
        else keys.add(key);
      }
    },
    invalidate(change) {
      for (const id of change.services) dropService(id);
      if (change.services.size > 0 || change.nodes.size > 0 || change.objects.has('Pod')) drop(REVERSE);
      // Namespaces come and go rarely, and any name may depend on one.
      if (change.objects.has('Namespace')) {
        entries.clear();
        dependents.clear();
      }
    },
    clear() {
      entries.clear();
      dependents.clear();
    },
  };
}
