import { isDeepStrictEqual } from 'node:util';
import type { ApplyKind, Leaf, Section } from './fields.ts';
import { type AgentConfig, KINDS, type ServerConfig } from './schema/kinds.ts';
import { joinPath } from './tree.ts';

/** One key whose value differs. Lists and records differ as a whole. */
export interface ConfigChange {
  readonly path: string;
  readonly apply: ApplyKind;
  /** `edgeTunnel`, ...: the module that the key belongs to. */
  readonly module?: string;
}

/** Every key with another value, in the order of the schema; empty when nothing changed. */
export function diffConfig<C extends AgentConfig | ServerConfig>(before: C, after: C): readonly ConfigChange[] {
  if (before.kind !== after.kind) return [{ path: 'kind', apply: 'process' }];
  const changes: ConfigChange[] = [];
  compare(KINDS[before.kind].schema, before, after, '', changes);
  return changes;
}

function compare(section: Section, before: object, after: object, path: string, changes: ConfigChange[]): void {
  for (const [key, field] of Object.entries(section.fields)) {
    const [a, b] = [(before as Record<string, unknown>)[key], (after as Record<string, unknown>)[key]];
    const here = joinPath(path, key);
    if (field.kind === 'section') compare(field, a as object, b as object, here, changes);
    else if (!isDeepStrictEqual(a, b)) changes.push(changeAt(here, field));
  }
}

function changeAt(path: string, { apply }: Leaf): ConfigChange {
  const module = moduleOf(path);
  if (module === undefined) return { path, apply: apply ?? 'process' };
  return { path, apply: apply ?? 'module', module };
}

/** The module that a key belongs to. */
export const moduleOf = (path: string): string | undefined => /^modules\.([^.]+)\./.exec(path)?.[1];
