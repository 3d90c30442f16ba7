import { assertionHolds, type Instruction, inRanges, isWordUnit } from './program.ts';

/** Positions in the program, before following anything that consumes nothing, and what stood before. */
interface State {
  readonly seeds: readonly number[];
  /** Enough of the unit before for assertions: -1 at the start, a word unit, or another. */
  readonly before: number;
  readonly next: Map<number, State>;
  accepts: boolean | undefined;
}

/** States kept per pattern; when full they are forgotten and built anew, which costs time and never correctness. */
const MAX_STATES = 1_000;
const WORD_UNIT = 97;
const OTHER_UNIT = 32;

/**
 * Tells whether a whole text matches, by states of a deterministic automaton that are built when first needed: linear in
 * the text whatever the pattern, and one map lookup per character once warm.
 */
export function createWholeMatcher(program: readonly Instruction[]): (text: string) => boolean {
  let states = new Map<string, State>();
  const stateOf = (seeds: number[], before: number): State => {
    const key = `${before}|${seeds.join()}`;
    let state = states.get(key);
    if (state === undefined) {
      if (states.size >= MAX_STATES) states = new Map();
      state = { seeds, before, next: new Map(), accepts: undefined };
      states.set(key, state);
    }
    return state;
  };
  const start = (): State => stateOf([0], -1);
  const step = (state: State, unit: number): State => {
    const seeds = new Set<number>();
    for (const pc of reachable(program, state.seeds, state.before, unit)) {
      const instruction = program[pc] as Instruction;
      if (instruction.op === 'chars' && inRanges(instruction.ranges, unit)) seeds.add(pc + 1);
    }
    const next = stateOf(
      [...seeds].sort((a, b) => a - b),
      isWordUnit(unit) ? WORD_UNIT : OTHER_UNIT,
    );
    state.next.set(unit, next);
    return next;
  };
  return (text) => {
    let state = start();
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      state = state.next.get(unit) ?? step(state, unit);
      if (state.seeds.length === 0) return false;
    }
    state.accepts ??= reachable(program, state.seeds, state.before, -1).some((pc) => program[pc]?.op === 'match');
    return state.accepts;
  };
}

/** All positions that can be reached without consuming anything. */
function reachable(program: readonly Instruction[], seeds: readonly number[], before: number, after: number): number[] {
  const seen = new Set<number>();
  const stack = [...seeds];
  while (stack.length > 0) {
    const pc = stack.pop() as number;
    if (seen.has(pc)) continue;
    seen.add(pc);
    const instruction = program[pc] as Instruction;
    if (instruction.op === 'jump') stack.push(instruction.to);
    else if (instruction.op === 'split') stack.push(instruction.a, instruction.b);
    else if (instruction.op === 'save') stack.push(pc + 1);
    else if (instruction.op === 'assert' && assertionHolds(instruction.what, before, after)) stack.push(pc + 1);
  }
  return [...seen];
}
