import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { oddities, oddityState } from './oddities.ts';

it('has every oddity on, single ones off, or all off but some', () => {
  expect(Object.values(oddityState()).every(Boolean)).toBe(true);
  expect(oddityState({ staleRows: false })).toMatchObject({ staleRows: false, noBookmarks: true });
  const none = oddityState({ all: false, noBookmarks: true });
  expect(Object.entries(none).filter(([, on]) => on)).toEqual([['noBookmarks', true]]);
});

it('switches every oddity off somewhere in the tests, and lists each in the README', () => {
  const folder = new URL('.', import.meta.url);
  const tests = readdirSync(folder).filter((file) => file.endsWith('.test.ts') && file !== 'oddities.test.ts');
  const text = tests.map((file) => readFileSync(new URL(file, folder), 'utf8')).join('\n');
  const readme = readFileSync(new URL('../../../README.md', folder), 'utf8');
  for (const name of Object.keys(oddities)) {
    expect(text, name).toContain(name);
    expect(readme, name).toContain(`\`${name}\``);
  }
});
