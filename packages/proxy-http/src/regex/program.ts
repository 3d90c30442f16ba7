import type { CharRanges } from './char-ranges.ts';
import { REGEX_LIMITS, RegexError, type RegexNode } from './syntax.ts';

/** One step of the machine. `split` prefers its first branch. */
export type Instruction =
  | { readonly op: 'chars'; readonly ranges: CharRanges }
  | { readonly op: 'split'; a: number; b: number }
  | { readonly op: 'jump'; to: number }
  | { readonly op: 'save'; readonly slot: number }
  | { readonly op: 'assert'; readonly what: 'start' | 'end' | 'word' | 'not-word' }
  | { readonly op: 'match' };

/** Compiles a tree to instructions that fall through to the next one (Thompson's construction). @throws RegexError */
export function compileProgram(root: RegexNode): readonly Instruction[] {
  const code: Instruction[] = [];
  const emit = <T extends Instruction>(instruction: T): T => {
    if (code.length >= REGEX_LIMITS.maxInstructions) {
      throw new RegexError(`pattern needs more than ${REGEX_LIMITS.maxInstructions} instructions`);
    }
    code.push(instruction);
    return instruction;
  };
  const branch = (split: { a: number; b: number }, greedy: boolean, into: number, past: number) => {
    split.a = greedy ? into : past;
    split.b = greedy ? past : into;
  };
  let visits = 0;
  const visit = (node: RegexNode): void => {
    // Repeated nothing emits nothing, so count the work, too.
    if (++visits > 4 * REGEX_LIMITS.maxInstructions) throw new RegexError('pattern repeats too much');
    switch (node.kind) {
      case 'empty':
        return;
      case 'chars':
        emit({ op: 'chars', ranges: node.ranges });
        return;
      case 'assert':
        emit({ op: 'assert', what: node.what });
        return;
      case 'cat':
        for (const child of node.nodes) visit(child);
        return;
      case 'group':
        emit({ op: 'save', slot: node.index * 2 });
        visit(node.node);
        emit({ op: 'save', slot: node.index * 2 + 1 });
        return;
      case 'alt':
        visitAlternatives(node.nodes);
        return;
      case 'repeat':
        for (let i = 0; i < node.min; i++) visit(node.node);
        if (node.max === -1) visitStar(node.node, node.greedy);
        else visitOptional(node.node, node.max - node.min, node.greedy);
        return;
    }
  };
  const visitAlternatives = (nodes: readonly RegexNode[]) => {
    const ends: { to: number }[] = [];
    nodes.forEach((child, i) => {
      if (i === nodes.length - 1) {
        visit(child);
        return;
      }
      const split = emit({ op: 'split', a: code.length + 1, b: 0 });
      visit(child);
      ends.push(emit({ op: 'jump', to: 0 }));
      split.b = code.length;
    });
    for (const end of ends) end.to = code.length;
  };
  const visitStar = (child: RegexNode, greedy: boolean) => {
    const start = code.length;
    const split = emit({ op: 'split', a: 0, b: 0 });
    visit(child);
    emit({ op: 'jump', to: start });
    branch(split, greedy, start + 1, code.length);
  };
  const visitOptional = (child: RegexNode, times: number, greedy: boolean) => {
    const splits: { a: number; b: number; into: number }[] = [];
    for (let i = 0; i < times; i++) {
      splits.push(Object.assign(emit({ op: 'split', a: 0, b: 0 }), { into: code.length }));
      visit(child);
    }
    for (const split of splits) branch(split, greedy, split.into, code.length);
  };
  visit(root);
  emit({ op: 'match' });
  return code;
}

/** Whether a code unit lies in one of the ranges. */
export function inRanges(ranges: CharRanges, unit: number): boolean {
  for (let i = 0; i < ranges.length; i += 2) {
    if (unit >= (ranges[i] as number) && unit <= (ranges[i + 1] as number)) return true;
  }
  return false;
}

/** `\w` of RE2: ASCII only. -1 stands for the start or the end of the text. */
export function isWordUnit(unit: number): boolean {
  return (unit >= 48 && unit <= 57) || (unit >= 65 && unit <= 90) || unit === 95 || (unit >= 97 && unit <= 122);
}

/** Whether an assertion holds between two units; -1 is the border of the text. */
export function assertionHolds(what: 'start' | 'end' | 'word' | 'not-word', before: number, after: number): boolean {
  if (what === 'start') return before === -1;
  if (what === 'end') return after === -1;
  return (isWordUnit(before) !== isWordUnit(after)) === (what === 'word');
}
