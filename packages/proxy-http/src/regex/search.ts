import { assertionHolds, type Instruction, inRanges } from './program.ts';

/** One way through the program, and where its groups began and ended. */
interface Thread {
  readonly pc: number;
  readonly slots: readonly number[];
}

/**
 * Finds the leftmost match at or after `from`, preferring branches in order (Perl and RE2 semantics), with Pike's algorithm:
 * time is text times program, never more. Returns [start, end, group 1 start, group 1 end, ...], -1 where unset.
 */
export function search(
  program: readonly Instruction[],
  groups: number,
  text: string,
  from: number,
): readonly number[] | undefined {
  const unset: readonly number[] = new Array((groups + 1) * 2).fill(-1);
  let threads: Thread[] = [];
  let found: readonly number[] | undefined;
  for (let at = from; at <= text.length; at++) {
    const before = at === 0 ? -1 : text.charCodeAt(at - 1);
    const after = at === text.length ? -1 : text.charCodeAt(at);
    const current: Thread[] = [];
    const seen = new Set<number>();
    const candidates = found === undefined ? [...threads, { pc: 0, slots: withSlot(unset, 0, at) }] : threads;
    for (const thread of candidates) follow(program, thread, { at, before, after }, seen, current);
    threads = [];
    for (const thread of current) {
      const instruction = program[thread.pc] as Instruction;
      if (instruction.op === 'match') {
        found = withSlot(thread.slots, 1, at);
        // Threads of lower priority lose.
        break;
      }
      if (instruction.op === 'chars' && inRanges(instruction.ranges, after)) {
        threads.push({ pc: thread.pc + 1, slots: thread.slots });
      }
    }
    if (found !== undefined && threads.length === 0) break;
  }
  return found;
}

interface Position {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** Follows what consumes nothing, in priority order, and collects the threads that wait for a character or have matched. */
function follow(
  program: readonly Instruction[],
  first: Thread,
  position: Position,
  seen: Set<number>,
  result: Thread[],
): void {
  const stack = [first];
  while (stack.length > 0) {
    const { pc, slots } = stack.pop() as Thread;
    if (seen.has(pc)) continue;
    seen.add(pc);
    const instruction = program[pc] as Instruction;
    switch (instruction.op) {
      case 'jump':
        stack.push({ pc: instruction.to, slots });
        break;
      case 'split':
        stack.push({ pc: instruction.b, slots }, { pc: instruction.a, slots });
        break;
      case 'save':
        stack.push({ pc: pc + 1, slots: withSlot(slots, instruction.slot, position.at) });
        break;
      case 'assert':
        if (assertionHolds(instruction.what, position.before, position.after)) stack.push({ pc: pc + 1, slots });
        break;
      default:
        result.push({ pc, slots });
    }
  }
}

function withSlot(slots: readonly number[], slot: number, value: number): readonly number[] {
  const copy = slots.slice();
  copy[slot] = value;
  return copy;
}
