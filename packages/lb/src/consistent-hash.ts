import type { Balancer, Endpoint, Flow, Random } from '@edgemesh/core';
import { isExcluded, keysOf, memoPerArray, pickRandom } from './candidates.ts';
import { hash32, mix32 } from './hash.ts';
import { InFlight } from './in-flight.ts';
import { LB_DEFAULTS } from './options.ts';
import type { ConsistentHashPolicy, HashKey } from './policy.ts';

/** Two independent hashes per endpoint: with one, endpoints that collide in 32 bits would starve each other. */
interface Hashes {
  readonly first: Uint32Array;
  readonly second: Uint32Array;
}

const hashesOf = memoPerArray((candidates): Hashes => {
  const keys = keysOf(candidates);
  return {
    first: Uint32Array.from(keys, (key) => hash32(key, 1)),
    second: Uint32Array.from(keys, (key) => hash32(key, 2)),
  };
});

/**
 * Rendezvous hashing (Thaler and Ravishankar, 1998): every endpoint scores the key and the highest score wins. Any number of
 * endpoints, no ring to build, each owns the same share of the keys, and when one goes only its own keys move.
 */
export function createConsistentHash(policy: ConsistentHashPolicy, random: Random): Balancer {
  const inFlight = new InFlight();
  const bound = policy.inFlightBound;
  const limitOf = (count: number) =>
    bound === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(LB_DEFAULTS.inFlightFloor, Math.ceil((bound * (inFlight.total + 1)) / count));

  return {
    pick(candidates, flow, exclude) {
      const key = readKey(policy.key, flow);
      if (key === undefined) return pickRandom(candidates, exclude, random);
      const limit = limitOf(candidates.length);
      const isFull = (endpoint: string) => inFlight.of(endpoint) >= limit;
      const best = highest(candidates, key, (endpoint) => isExcluded(endpoint, exclude) || isFull(endpoint));
      if (best !== undefined || bound === undefined) return best;
      return highest(candidates, key, (endpoint) => isExcluded(endpoint, exclude));
    },
    begin: (endpoint) => inFlight.begin(endpoint),
    end: (endpoint) => inFlight.end(endpoint),
  };
}

function highest(
  candidates: readonly Endpoint[],
  key: string,
  isOut: (endpointKey: string) => boolean,
): Endpoint | undefined {
  const keys = keysOf(candidates);
  const { first, second } = hashesOf(candidates);
  const keyFirst = hash32(key, 3);
  const keySecond = hash32(key, 4);
  let best = -1;
  let bestScore = -1;
  for (let i = 0; i < candidates.length; i++) {
    const score = mix32(keyFirst ^ (first[i] as number));
    if (score < bestScore || isOut(keys[i] as string)) continue;
    if (score === bestScore) {
      const mine = mix32(keySecond ^ (second[i] as number));
      if (mine <= mix32(keySecond ^ (second[best] as number))) continue;
    }
    best = i;
    bestScore = score;
  }
  return candidates[best];
}

function readKey(key: HashKey, flow: Flow): string | undefined {
  switch (key.from) {
    case 'sourceIp':
      return flow.sourceIp;
    case 'header':
      return flow.header?.(key.name.toLowerCase());
    case 'cookie':
      return flow.cookie?.(key.name);
    case 'query':
      return flow.query?.(key.name);
  }
}
