import { isDeepStrictEqual } from 'node:util';
import type { RulesPlan, ServiceRule } from '@edgemesh/core';
import { LINUX_DEFAULTS } from '../options.ts';
import { type Element, hairpinElement, problemOf, renderGlobals } from './render.ts';
import { frontendKey, spaceOf } from './spaces.ts';

/** A rule of the plan and what became of it. */
export interface Entry {
  /** As the plan has it. */
  planned: ServiceRule;
  /** As it is in the table: maybe without frontends that other rules have; undefined: not at all. */
  admitted: ServiceRule | undefined;
  /** The plan that had it last. */
  seen: number;
}

/**
 * What we believe is in the kernel. It is as large as the plan, so it is changed in place, and only when the kernel has taken the
 * change; after a failure it is thrown away.
 */
export interface TableState {
  readonly entries: Map<string, Entry>;
  /** Which rule has a frontend. */
  readonly owners: Map<string, string>;
  /** Local endpoints with the number of rules that need their hairpin. */
  readonly hairpins: Map<string, number>;
  /** Shared pick chains; they stay once made, there are few. */
  readonly picks: Set<string>;
  globals: readonly Element[];
  skipped: readonly Skipped[];
  elementCount: number;
  /** What admission counts. */
  weight: number;
  /** Number of the last plan. */
  plan: number;
}

/** A frontend or a rule that was left out, and why. */
export interface Skipped {
  readonly rule: string;
  readonly reason: 'frontend-taken' | 'too-many-elements' | 'duplicate-key' | 'invalid';
  /** What is invalid. */
  readonly detail?: string;
  /** The frontend that another rule has. */
  readonly frontend?: string;
}

/** A rule as it is and as it shall be in the table. */
export interface Touched {
  readonly before?: ServiceRule;
  readonly after?: ServiceRule;
}

/** An empty table. */
export function emptyState(): TableState {
  return {
    entries: new Map(),
    owners: new Map(),
    hairpins: new Map(),
    picks: new Set(),
    globals: [],
    skipped: [],
    elementCount: 0,
    weight: 0,
    plan: 0,
  };
}

/** The table of a plan as it would be when loaded afresh. Nothing is counted yet: see `loadStatements`. */
export function stateOf(plan: RulesPlan): TableState {
  const state = emptyState();
  const { admitted, skipped, owners, weight } = admit(plan);
  for (const rule of plan.rules) {
    if (state.entries.has(rule.key)) continue;
    state.entries.set(rule.key, { planned: rule, admitted: admitted.get(rule.key), seen: 0 });
  }
  for (const [frontend, rule] of owners) state.owners.set(frontend, rule);
  state.globals = renderGlobals(plan);
  state.skipped = skipped;
  state.weight = weight;
  return state;
}

/** The rules that are in the table. */
export function* rulesOf(state: TableState): Generator<ServiceRule, void, void> {
  for (const { admitted } of state.entries.values()) if (admitted !== undefined) yield admitted;
}

/** The hairpins as elements. */
export function* hairpinElements(state: TableState): Generator<Element, void, void> {
  for (const address of state.hairpins.keys()) yield hairpinElement(address);
}

/** A rule whose plan has changed. */
export interface Change {
  readonly key: string;
  readonly entry: Entry | undefined;
  /** Undefined: it is gone. */
  readonly planned: ServiceRule | undefined;
}

/**
 * What the plan has changed since the last one, in its order. A map lookup per unchanged rule, as long as it keeps its identity.
 * Undefined when a key stands twice in it.
 */
export function changesOf(state: TableState, plan: RulesPlan): Change[] | undefined {
  const changes: Change[] = [];
  const round = ++state.plan;
  const added = new Set<string>();
  let kept = 0;
  for (const rule of plan.rules) {
    const entry = state.entries.get(rule.key);
    if (entry === undefined) {
      if (added.has(rule.key)) return undefined;
      added.add(rule.key);
      changes.push({ key: rule.key, entry, planned: rule });
      continue;
    }
    if (entry.seen === round) return undefined;
    entry.seen = round;
    kept++;
    if (entry.planned === rule) continue;
    if (isDeepStrictEqual(entry.planned, rule)) entry.planned = rule;
    else changes.push({ key: rule.key, entry, planned: rule });
  }
  if (kept < state.entries.size) {
    for (const [key, entry] of state.entries) {
      if (entry.seen !== round) changes.push({ key, entry, planned: undefined });
    }
  }
  return changes;
}

/** What a rule takes of the table's size. */
export const weightOf = (rule: ServiceRule | undefined): number =>
  rule === undefined ? 0 : rule.frontends.length * (rule.routable.length + rule.tunnelled + 2);

/** A frontend's place in the table: one rule can have it. */
export function frontendNames(rule: ServiceRule): string[] {
  return rule.frontends.map((frontend) => [spaceOf(rule, frontend).name, frontendKey(rule, frontend)].join(' '));
}

/**
 * True when these changes need no look at any other rule: nothing is or would be left out, so what is admitted is what is planned.
 */
export function isPlain(state: TableState, changes: readonly Change[]): boolean {
  if (state.skipped.length > 0) return false;
  let { weight } = state;
  const changed = new Set(changes.map(({ key }) => key));
  const taken = new Set<string>();
  for (const { entry, planned } of changes) {
    weight += weightOf(planned) - weightOf(entry?.admitted);
    if (planned === undefined) continue;
    if (problemOf(planned) !== undefined) return false;
    for (const name of frontendNames(planned)) {
      const owner = state.owners.get(name);
      if (taken.has(name) || (owner !== undefined && !changed.has(owner))) return false;
      taken.add(name);
    }
  }
  return weight <= LINUX_DEFAULTS.maxElements;
}

/** What a plan comes to, looked at as a whole. */
export interface Admission {
  readonly admitted: ReadonlyMap<string, ServiceRule>;
  readonly owners: ReadonlyMap<string, string>;
  readonly skipped: readonly Skipped[];
  readonly weight: number;
}

/** One frontend has one owner, the first in the plan's order; the table has a size. */
export function admit(plan: RulesPlan): Admission {
  const admitted = new Map<string, ServiceRule>();
  const owners = new Map<string, string>();
  const skipped: Skipped[] = [];
  let weight = 0;
  for (const rule of plan.rules) {
    if (admitted.has(rule.key)) {
      skipped.push({ rule: rule.key, reason: 'duplicate-key' });
      continue;
    }
    const detail = problemOf(rule);
    if (detail !== undefined) {
      skipped.push({ rule: rule.key, reason: 'invalid', detail });
      continue;
    }
    if (weight + weightOf(rule) > LINUX_DEFAULTS.maxElements) {
      skipped.push({ rule: rule.key, reason: 'too-many-elements' });
      continue;
    }
    weight += weightOf(rule);
    const names = frontendNames(rule);
    const free = rule.frontends.filter((_, i) => {
      const name = names[i] as string;
      if (!owners.has(name)) return owners.set(name, rule.key);
      skipped.push({ rule: rule.key, reason: 'frontend-taken', frontend: name });
      return false;
    });
    admitted.set(rule.key, free.length === rule.frontends.length ? rule : { ...rule, frontends: free });
  }
  return { admitted, owners, skipped, weight };
}
