import { isDeepStrictEqual } from 'node:util';
import { LINUX_DEFAULTS } from '../options.ts';
import { EMPTY_PLAN, type RulesPlan, type ServiceRule } from '../plan.ts';
import { type Element, problemOf, type Rendered, renderGlobals, renderRule } from './render.ts';
import { frontendKey, spaceOf } from './spaces.ts';
import type { Change } from './transaction.ts';

/** What we believe is in the kernel. Immutable; a change makes a new one, kept only when the kernel has taken it. */
export interface TableState {
  readonly rules: ReadonlyMap<string, ServiceRule>;
  readonly globals: readonly Element[];
  /** Shared elements by text, with how many rules need them. */
  readonly shared: ReadonlyMap<string, { readonly element: Element; readonly count: number }>;
  /** Shared pick chains; they stay once made, there are few. */
  readonly picks: ReadonlyMap<string, string>;
  readonly elementCount: number;
}

export const EMPTY_STATE: TableState = {
  rules: new Map(),
  globals: [],
  shared: new Map(),
  picks: new Map(),
  elementCount: 0,
};

/** A frontend or a rule that was left out, and why. */
export interface Skipped {
  readonly rule: string;
  readonly reason: 'frontend-taken' | 'too-many-elements' | 'duplicate-key' | 'invalid';
  /** What is invalid. */
  readonly detail?: string;
  /** The frontend that another rule has. */
  readonly frontend?: string;
}

export interface Difference {
  readonly change: Change;
  readonly next: TableState;
  readonly skipped: readonly Skipped[];
  /** Rules that came, went or changed. */
  readonly touched: readonly { readonly before?: ServiceRule; readonly after?: ServiceRule }[];
}

/** Compares what is there with what shall be. Costs a map lookup per unchanged rule; only changed rules are rendered. */
export function difference(state: TableState, plan: RulesPlan = EMPTY_PLAN): Difference {
  const { rules, skipped } = admit(plan);
  const touched: { before?: ServiceRule; after?: ServiceRule }[] = [];
  for (const [key, after] of rules) {
    const before = state.rules.get(key);
    if (before === undefined) touched.push({ after });
    else if (before !== after && !isDeepStrictEqual(before, after)) touched.push({ before, after });
  }
  for (const [key, before] of state.rules) if (!rules.has(key)) touched.push({ before });
  const removed = touched.flatMap(({ before }) => (before === undefined ? [] : [renderRule(before)]));
  const added = touched.flatMap(({ after }) => (after === undefined ? [] : [renderRule(after)]));
  const globals = renderGlobals(plan);
  const elements = compareElements(
    [...removed.flatMap((one) => one.elements), ...state.globals],
    [...added.flatMap((one) => one.elements), ...globals],
  );
  const shared = recount(state.shared, removed, added);
  const newPicks = new Map<string, string>();
  for (const one of added) {
    for (const pick of one.picks) if (!state.picks.has(pick.name)) newPicks.set(pick.name, pick.rule);
  }
  const removedElements = [...elements.removed, ...shared.removed];
  const addedElements = [...elements.added, ...shared.added];
  return {
    change: { removed, added, removedElements, addedElements, newPicks },
    next: {
      rules,
      globals,
      shared: shared.next,
      picks: newPicks.size === 0 ? state.picks : new Map([...state.picks, ...newPicks]),
      elementCount: state.elementCount + addedElements.length - removedElements.length,
    },
    skipped,
    touched,
  };
}

/** True when there is nothing to do. */
export function isNothing(change: Change): boolean {
  return (
    change.removedElements.length === 0 &&
    change.addedElements.length === 0 &&
    change.newPicks.size === 0 &&
    change.removed.every((one) => one.chains.length === 0) &&
    change.added.every((one) => one.chains.length === 0)
  );
}

/** One frontend has one owner, the first in the plan's order; the table has a size. */
function admit(plan: RulesPlan): { rules: Map<string, ServiceRule>; skipped: Skipped[] } {
  const rules = new Map<string, ServiceRule>();
  const owners = new Set<string>();
  const skipped: Skipped[] = [];
  let elements = 0;
  for (const rule of plan.rules) {
    if (rules.has(rule.key)) {
      skipped.push({ rule: rule.key, reason: 'duplicate-key' });
      continue;
    }
    const detail = knownProblem(rule);
    if (detail !== undefined) {
      skipped.push({ rule: rule.key, reason: 'invalid', detail });
      continue;
    }
    const size = rule.frontends.length * (rule.routable.length + rule.tunnelled + 2);
    if (elements + size > LINUX_DEFAULTS.maxElements) {
      skipped.push({ rule: rule.key, reason: 'too-many-elements' });
      continue;
    }
    elements += size;
    const names = frontendNames(rule);
    const free = rule.frontends.filter((_, i) => {
      const name = names[i] as string;
      if (!owners.has(name)) return owners.add(name);
      skipped.push({ rule: rule.key, reason: 'frontend-taken', frontend: name });
      return false;
    });
    rules.set(rule.key, free.length === rule.frontends.length ? rule : { ...rule, frontends: free });
  }
  return { rules, skipped };
}

const problems = new WeakMap<ServiceRule, string | undefined>();

/** Checked once per rule object: unchanged ones cost nothing. */
function knownProblem(rule: ServiceRule): string | undefined {
  if (!problems.has(rule)) problems.set(rule, problemOf(rule));
  return problems.get(rule);
}

/** Names are kept as long as their rule: a plan of 10,000 unchanged rules must not cost 10,000 string joins per change. */
const namesOfRule = new WeakMap<ServiceRule, readonly string[]>();

function frontendNames(rule: ServiceRule): readonly string[] {
  let names = namesOfRule.get(rule);
  if (names === undefined) {
    names = rule.frontends.map((frontend) => `${spaceOf(rule, frontend).name} ${frontendKey(rule, frontend)}`);
    namesOfRule.set(rule, names);
  }
  return names;
}

function compareElements(
  before: readonly Element[],
  after: readonly Element[],
): { removed: Element[]; added: Element[] } {
  const id = (element: Element) => `${element.set} ${element.key}`;
  const old = new Map(before.map((element) => [id(element), element]));
  const added: Element[] = [];
  const kept = new Set<string>();
  for (const element of after) {
    const key = id(element);
    if (old.get(key)?.value === element.value) kept.add(key);
    else added.push(element);
  }
  return { removed: [...old].flatMap(([key, element]) => (kept.has(key) ? [] : [element])), added };
}

function recount(
  current: TableState['shared'],
  removed: readonly Rendered[],
  added: readonly Rendered[],
): { next: TableState['shared']; removed: Element[]; added: Element[] } {
  const deltas = new Map<string, { element: Element; delta: number }>();
  const count = (list: readonly Rendered[], by: number) => {
    for (const element of list.flatMap((one) => one.shared)) {
      const id = `${element.set} ${element.key}`;
      deltas.set(id, { element, delta: (deltas.get(id)?.delta ?? 0) + by });
    }
  };
  count(removed, -1);
  count(added, 1);
  const result = { removed: [] as Element[], added: [] as Element[] };
  const changed = [...deltas].filter(([, { delta }]) => delta !== 0);
  // Most changes leave the addresses of pods as they are, and there may be 100,000 of them.
  if (changed.length === 0) return { next: current, ...result };
  const next = new Map(current);
  for (const [id, { element, delta }] of changed) {
    const before = current.get(id)?.count ?? 0;
    const after = before + delta;
    if (before === 0 && after > 0) result.added.push(element);
    if (before > 0 && after === 0) result.removed.push(element);
    if (after === 0) next.delete(id);
    else next.set(id, { element, count: after });
  }
  return { next, ...result };
}
