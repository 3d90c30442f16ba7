import { describe, expect, it } from 'vitest';
import { createPairMesh, GREETING, natPairName, natPairs, runPair } from '../harness/nat-pairs.ts';

/** Longer runs: apps/lab/src/nat-runs.ts. */
describe.each([1, 2])('with %i relays', (relays) => {
  it.each(natPairs.map((pair) => [natPairName(pair), pair] as const))(
    '%s: answers at once and finds the expected path within 10 s',
    async (_, pair) => {
      const made = await createPairMesh(pair, relays);
      await using _mesh = made.mesh;
      const { first, reachedMs, path, last, nat } = await runPair(pair, made);
      expect({ body: first.body, stderr: first.stderr }).toEqual({ body: GREETING, stderr: '' });
      expect(first.seconds).toBeLessThan(2);
      expect(reachedMs).toBeLessThan(10_000);
      expect(path).toBe(pair.expected);
      expect(last.body).toBe(GREETING);
      if (pair.a === 'symmetric' && relays > 1) expect(nat).toBe('symmetric');
    },
    60_000,
  );
});
