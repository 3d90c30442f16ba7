import type { Balancer, Random } from '@edgemesh/core';
import { isExcluded, keysOf, pickRandom } from './candidates.ts';
import { InFlight } from './in-flight.ts';
import { LB_DEFAULTS } from './options.ts';

/** Draws `choices` endpoints at random and takes the one with the least in flight. */
export function createLeastRequest(random: Random, choices: number = LB_DEFAULTS.leastRequestChoices): Balancer {
  const inFlight = new InFlight();
  return {
    pick(candidates, _flow, exclude) {
      const keys = keysOf(candidates);
      const count = candidates.length;
      let best = -1;
      for (let drawn = 0; drawn < choices; drawn++) {
        const i = Math.floor(random() * count);
        if (i === best || isExcluded(keys[i] as string, exclude)) continue;
        if (best < 0 || inFlight.of(keys[i] as string) < inFlight.of(keys[best] as string)) best = i;
      }
      // Every draw hit an excluded endpoint: look at what is left instead of drawing on.
      return best < 0 ? pickRandom(candidates, exclude, random) : candidates[best];
    },
    begin: (endpoint) => inFlight.begin(endpoint),
    end: (endpoint) => inFlight.end(endpoint),
  };
}
