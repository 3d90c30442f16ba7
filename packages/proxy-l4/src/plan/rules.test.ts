import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/** The declarations of a file without comments and blank lines. */
function declarations(path: string): string {
  const text = readFileSync(new URL(path, import.meta.url), 'utf8');
  const bare = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '').replace(/^\s*\n/gm, '');
  return bare.slice(bare.indexOf('export interface RuleEndpoint')).replace(/export const EMPTY_PLAN[\s\S]*/, '');
}

it('is the plan that @edgemesh/linux renders, word for word, although neither package may import the other', () => {
  const ours = declarations('./rules.ts');
  expect(ours).toContain('interface RulesPlan');
  expect(ours).toBe(declarations('../../../linux/src/plan.ts'));
});
