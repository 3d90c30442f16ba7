import { type Balancer, type Clock, type Random, systemClock } from '@edgemesh/core';
import { pickRandom } from './candidates.ts';
import { createClientIp } from './client-ip.ts';
import { createConsistentHash } from './consistent-hash.ts';
import { createLeastRequest } from './least-request.ts';
import type { BalancerPolicy } from './policy.ts';
import { createRoundRobin } from './round-robin.ts';

/** What balancers take from outside. */
export interface BalancerDeps {
  /** Default Math.random. */
  readonly random?: Random;
  /** Default the clock of the process. */
  readonly clock?: Clock;
}

/** Makes the balancer of one Service port. Pure: no I/O, no timers; state is bounded and freed with the balancer. */
export function createBalancer(policy: BalancerPolicy, deps: BalancerDeps = {}): Balancer {
  const random = deps.random ?? Math.random;
  switch (policy.kind) {
    case 'roundRobin':
      return createRoundRobin(random);
    case 'leastRequest':
      return createLeastRequest(random, policy.choices);
    case 'consistentHash':
      return createConsistentHash(policy, random);
    case 'clientIP':
      return createClientIp(
        policy,
        createBalancer(policy.otherwise ?? { kind: 'random' }, deps),
        deps.clock ?? systemClock,
      );
    case 'random':
    case 'passthrough':
      return { pick: (candidates, _flow, exclude) => pickRandom(candidates, exclude, random) };
  }
}
