import { describe, expect, it } from 'vitest';
import { createPairMesh, GREETING, ipv6Pairs, natPairName, runPair } from '../harness/nat-pairs.ts';

describe('IPv6 beside symmetric NATs of IPv4', () => {
  it.each(ipv6Pairs.map((pair) => [natPairName(pair), pair] as const))(
    '%s: carries the session',
    async (_, pair) => {
      const made = await createPairMesh(pair, 1);
      await using _mesh = made.mesh;
      const { first, path, address, last } = await runPair(pair, made);
      expect({ first: first.body, path, last: last.body }).toEqual({
        first: GREETING,
        path: pair.expected,
        last: GREETING,
      });
      expect(address).toMatch(/^\[2a0e:5100:/);
    },
    60_000,
  );
});
