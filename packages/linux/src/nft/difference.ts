import { isDeepStrictEqual } from 'node:util';
import type { RulesPlan, ServiceRule } from '@edgemesh/core';
import { type Element, hairpinElement, type Rendered, renderGlobals, renderRule } from './render.ts';
import {
  type Admission,
  admit,
  changesOf,
  frontendNames,
  isPlain,
  type Change as PlanChange,
  type Skipped,
  type TableState,
  type Touched,
  weightOf,
} from './state.ts';
import type { Change } from './transaction.ts';

/** What leads from one table to the next. */
export interface Difference {
  readonly change: Change;
  readonly skipped: readonly Skipped[];
  /** Rules that came, went or changed. */
  readonly touched: readonly Touched[];
  /** Makes it part of the state: the kernel has taken it. */
  commit(): void;
}

interface Step extends Touched {
  readonly key: string;
}

/**
 * Compares what is there with what shall be. Costs a map lookup per unchanged rule; only changed rules are rendered. Where rules are
 * left out, for want of room or because two claim one frontend, the plan is gone through as a whole.
 */
export function difference(state: TableState, plan: RulesPlan): Difference {
  const changes = changesOf(state, plan);
  const whole = changes !== undefined && isPlain(state, changes) ? undefined : admit(plan);
  const steps =
    whole === undefined ? (changes ?? []).map(plainStep).filter(isStep) : stepsTo(state, whole).filter(isStep);
  const removed = steps.flatMap(({ before }) => (before === undefined ? [] : [renderRule(before)]));
  const added = steps.flatMap(({ after }) => (after === undefined ? [] : [renderRule(after)]));
  const globals = renderGlobals(plan);
  const elements = compareElements(
    [...removed.flatMap((one) => one.elements), ...state.globals],
    [...added.flatMap((one) => one.elements), ...globals],
  );
  const hairpins = countHairpins(state, removed, added);
  const newPicks = new Map<string, string>();
  for (const one of added) {
    for (const pick of one.picks) if (!state.picks.has(pick.name)) newPicks.set(pick.name, pick.rule);
  }
  const removedElements = [...elements.removed, ...hairpins.removed];
  const addedElements = [...elements.added, ...hairpins.added];
  return {
    change: { removed, added, removedElements, addedElements, newPicks },
    skipped: whole?.skipped ?? [],
    touched: steps,
    commit() {
      if (whole === undefined) commitPlain(state, changes ?? []);
      else commitWhole(state, plan, whole);
      for (const [address, count] of hairpins.counts) {
        if (count === 0) state.hairpins.delete(address);
        else state.hairpins.set(address, count);
      }
      for (const name of newPicks.keys()) state.picks.add(name);
      state.globals = globals;
      state.elementCount += addedElements.length - removedElements.length;
    },
  };
}

const plainStep = ({ key, entry, planned }: PlanChange): Step => stepOf(key, entry?.admitted, planned);

function stepOf(key: string, before: ServiceRule | undefined, after: ServiceRule | undefined): Step {
  return { key, ...(before !== undefined && { before }), ...(after !== undefined && { after }) };
}

const isStep = ({ before, after }: Step) => before !== undefined || after !== undefined;

/** From what is admitted now to what an admission of the whole plan says. */
function stepsTo(state: TableState, { admitted }: Admission): Step[] {
  const steps: Step[] = [];
  for (const [key, after] of admitted) {
    const before = state.entries.get(key)?.admitted;
    if (before !== after && !isDeepStrictEqual(before, after)) steps.push(stepOf(key, before, after));
  }
  for (const [key, { admitted: before }] of state.entries) {
    if (before !== undefined && !admitted.has(key)) steps.push(stepOf(key, before, undefined));
  }
  return steps;
}

function commitPlain(state: TableState, changes: readonly PlanChange[]): void {
  for (const { entry } of changes) {
    if (entry?.admitted === undefined) continue;
    state.weight -= weightOf(entry.admitted);
    for (const name of frontendNames(entry.admitted)) state.owners.delete(name);
  }
  for (const { key, entry, planned } of changes) {
    if (planned === undefined) {
      state.entries.delete(key);
      continue;
    }
    state.weight += weightOf(planned);
    for (const name of frontendNames(planned)) state.owners.set(name, key);
    if (entry === undefined) state.entries.set(key, { planned, admitted: planned, seen: state.plan });
    else Object.assign(entry, { planned, admitted: planned });
  }
}

function commitWhole(state: TableState, plan: RulesPlan, { admitted, owners, skipped, weight }: Admission): void {
  state.entries.clear();
  for (const planned of plan.rules) {
    if (state.entries.has(planned.key)) continue;
    state.entries.set(planned.key, { planned, admitted: admitted.get(planned.key), seen: state.plan });
  }
  state.owners.clear();
  for (const [name, key] of owners) state.owners.set(name, key);
  state.skipped = skipped;
  state.weight = weight;
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

/** Hairpins are shared by all rules with an endpoint: the first one makes it, the last one takes it away. */
function countHairpins(state: TableState, removed: readonly Rendered[], added: readonly Rendered[]) {
  const counts = new Map<string, number>();
  const count = (list: readonly Rendered[], by: number) => {
    for (const { hairpins } of list) {
      for (const address of hairpins) {
        counts.set(address, (counts.get(address) ?? state.hairpins.get(address) ?? 0) + by);
      }
    }
  };
  count(removed, -1);
  count(added, 1);
  const result = { counts, removed: [] as Element[], added: [] as Element[] };
  for (const [address, after] of counts) {
    const before = state.hairpins.get(address) ?? 0;
    if (before === 0 && after > 0) result.added.push(hairpinElement(address));
    if (before > 0 && after === 0) result.removed.push(hairpinElement(address));
  }
  return result;
}
