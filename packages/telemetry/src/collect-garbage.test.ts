import { memoryUsage } from 'node:process';
import { expect, it } from 'vitest';
import { collectGarbage } from './collect-garbage.ts';

it('gives the memory of forgotten objects back to the system', () => {
  let kept: object[] | undefined = Array.from({ length: 600_000 }, (_, i) => ({ i, list: [i] }));
  const full = memoryUsage.rss();
  expect(kept).toHaveLength(600_000);
  kept = undefined;
  collectGarbage();
  expect(full - memoryUsage.rss()).toBeGreaterThan(30_000_000); // of some 60 MB; a plain `gc()` keeps nearly all of it
});
