import type { Balancer, Random } from '@edgemesh/core';
import { isExcluded, keysOf } from './candidates.ts';

/** Endpoints in turn. The start is random, so that many nodes do not all begin with the same endpoint. */
export function createRoundRobin(random: Random): Balancer {
  let next = -1;
  return {
    pick(candidates, _flow, exclude) {
      const count = candidates.length;
      if (count === 0) return undefined;
      if (next < 0) next = Math.floor(random() * count);
      const keys = keysOf(candidates);
      for (let step = 0; step < count; step++) {
        const i = (next + step) % count;
        if (isExcluded(keys[i] as string, exclude)) continue;
        next = (i + 1) % count;
        return candidates[i];
      }
      return undefined;
    },
  };
}
