import { expect, it } from 'vitest';
import { createSecureRandom } from './secure-random.ts';

it('spreads over [0, 1) and does not repeat', () => {
  const random = createSecureRandom();
  const values = Array.from({ length: 5_000 }, random);
  expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
  expect(new Set(values).size).toBeGreaterThan(4_990);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
});
