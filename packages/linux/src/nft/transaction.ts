import { LINUX_DEFAULTS } from '../options.ts';
import type { Element, Rendered } from './render.ts';
import { assertSkeleton, declarations, heartbeat, type SkeletonOptions } from './skeleton.ts';

/** Statements of one change, gathered in any order and emitted in the one order that nft accepts. */
export interface Change {
  readonly removed: readonly Rendered[];
  readonly added: readonly Rendered[];
  readonly removedElements: readonly Element[];
  readonly addedElements: readonly Element[];
  /** Shared pick chains that are not there yet. */
  readonly newPicks: ReadonlyMap<string, string>;
}

/** Groups elements by set and cuts them into statements that nft parses quickly. */
export function elementStatements(verb: 'add' | 'delete', table: string, elements: Iterable<Element>): string[] {
  const bySet = new Map<string, string[]>();
  for (const element of elements) {
    const text = verb === 'add' && element.value !== '' ? `${element.key} : ${element.value}` : element.key;
    const list = bySet.get(element.set);
    if (list === undefined) bySet.set(element.set, [text]);
    else list.push(text);
  }
  const statements: string[] = [];
  const size = LINUX_DEFAULTS.elementsPerStatement;
  for (const [set, list] of bySet) {
    for (let i = 0; i < list.length; i += size) {
      statements.push(`${verb} element inet ${table} ${set} { ${list.slice(i, i + size).join(', ')} }`);
    }
  }
  return statements;
}

interface Named<T> {
  readonly gone: readonly T[];
  readonly changed: readonly T[];
  readonly fresh: readonly T[];
}

function compare<T extends { readonly name: string }>(before: readonly T[], after: readonly T[]): Named<T> {
  const old = new Map(before.map((item) => [item.name, item]));
  const now = new Map(after.map((item) => [item.name, item]));
  return {
    gone: [...old.values()].filter((item) => !now.has(item.name)),
    changed: [...now.values()].filter(
      (item) => old.has(item.name) && JSON.stringify(old.get(item.name)) !== JSON.stringify(item),
    ),
    fresh: [...now.values()].filter((item) => !old.has(item.name)),
  };
}

/**
 * The statements of a change. New names first, then rules, then elements, then what is no longer referred to. Everything
 * that the change does not name is left alone: its counters, affinity and round-robin position live on.
 */
export function changeStatements(table: string, change: Change): string[] {
  const t = `inet ${table}`;
  const chains = compare(
    change.removed.flatMap((one) => one.chains),
    change.added.flatMap((one) => one.chains),
  );
  const sets = compare(
    change.removed.flatMap((one) => one.sets),
    change.added.flatMap((one) => one.sets),
  );
  const written = [...chains.fresh, ...chains.changed];
  return [
    ...sets.fresh.map((set) => `add set ${t} ${set.name} { ${set.body} }`),
    ...[...change.newPicks.keys()].map((name) => `add chain ${t} ${name}`),
    ...chains.fresh.map((chain) => `add chain ${t} ${chain.name}`),
    ...[...change.newPicks].map(([name, rule]) => `add rule ${t} ${name} ${rule}`),
    ...chains.changed.map((chain) => `flush chain ${t} ${chain.name}`),
    ...written.flatMap((chain) => chain.rules.map((rule) => `add rule ${t} ${chain.name} ${rule}`)),
    ...elementStatements('delete', table, change.removedElements),
    ...elementStatements('add', table, change.addedElements),
    ...chains.gone.map((chain) => `flush chain ${t} ${chain.name}`),
    ...chains.gone.map((chain) => `delete chain ${t} ${chain.name}`),
    ...sets.gone.map((set) => `delete set ${t} ${set.name}`),
  ];
}

export interface RebuildOptions extends SkeletonOptions {
  readonly agentTimeoutSeconds: number;
  readonly staleAfterSeconds: number | undefined;
}

/** The statements that replace whatever is in our table, of any version, by this state. One transaction: no gap. */
export function rebuildStatements(options: RebuildOptions, change: Change): string[] {
  const t = `inet ${options.table}`;
  return [
    `add table ${t}`,
    `delete table ${t}`,
    `add table ${t}`,
    ...declarations().map(([kind, name, body]) => `add ${kind} ${t} ${name} { ${body} }`),
    ...assertSkeleton(options),
    ...changeStatements(options.table, change),
    ...heartbeat(options.table, options.agentTimeoutSeconds, options.staleAfterSeconds),
  ];
}
