import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pickBackend } from './pick-backend.ts';

describe('pickBackend', () => {
  it('gives each backend its share', () => {
    const backends = [{ weight: 70 }, { weight: 0 }, { weight: 30 }];
    const counts = [0, 0, 0];
    for (let i = 0; i < 1_000; i++) {
      const picked = pickBackend(backends, () => i / 1_000);
      counts[backends.indexOf(picked as (typeof backends)[0])]!++;
    }
    expect(counts).toEqual([700, 0, 300]);
  });

  it('finds one exactly when a weight is positive, and never one without weight', () => {
    const weights = fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 5 });
    fc.assert(
      fc.property(weights, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (list, at) => {
        const picked = pickBackend(
          list.map((weight) => ({ weight })),
          () => at,
        );
        expect(picked !== undefined).toBe(list.some((weight) => weight > 0));
        if (picked !== undefined) expect(picked.weight).toBeGreaterThan(0);
      }),
    );
  });
});
