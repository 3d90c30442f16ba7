import { type Endpoint, endpointKey } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describeBalancer, makeEndpoint, makeFlow } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBalancer } from './create-balancer.ts';
import { createServiceBalancer } from './service-balancer.ts';
import { withLocality } from './with-locality.ts';

const at = (tier: number, n: number) => makeEndpoint(`10.0.${tier}.${n}`, { nodeName: `tier-${tier}` });
const tierOf = (endpoint: Endpoint) => Number(endpoint.address.split('.')[2]);
const all = [at(3, 1), at(1, 1), at(0, 1), at(1, 2), at(3, 2), at(0, 2)];
const inTier = (tier: number) => all.filter((e) => tierOf(e) === tier);

function reachable(balancer: ReturnType<typeof withLocality>, exclude?: ReadonlySet<string>) {
  const seen = new Set<Endpoint | undefined>();
  for (let i = 0; i < 60; i++) seen.add(balancer.pick(all, makeFlow(i), exclude));
  return all.filter((e) => seen.has(e));
}

describeBalancer('random with locality', () =>
  withLocality(createBalancer({ kind: 'random' }), { tierOf: (e) => e.address.length % 3 }),
);
describeBalancer('a whole service balancer', () =>
  createServiceBalancer(
    { balancer: { kind: 'clientIP', timeoutSeconds: 5 }, outlier: { consecutiveErrors: 1, maxEjectionPercent: 100 } },
    { locality: { tierOf: (e) => e.address.length % 3 }, clock: createFakeClock() },
  ),
);

describe('locality', () => {
  const plain = () => createBalancer({ kind: 'roundRobin' });

  it('uses the best tier only', () => {
    expect(reachable(withLocality(plain(), { tierOf }))).toEqual(inTier(0));
  });

  it('spills over into the next tier when all of the best is excluded', () => {
    const exclude = new Set(inTier(0).map(endpointKey));
    const balancer = withLocality(plain(), { tierOf });
    expect(reachable(balancer, exclude)).toEqual(inTier(1));
    for (const e of inTier(1)) exclude.add(endpointKey(e));
    expect(reachable(balancer, exclude)).toEqual(inTier(3));
    for (const e of inTier(3)) exclude.add(endpointKey(e));
    expect(reachable(balancer, exclude)).toEqual([]);
  });

  it('shares with the next tier while too few of the best are healthy', () => {
    const sick = new Set([at(0, 1).address]);
    const options = { tierOf, isHealthy: (e: Endpoint) => !sick.has(e.address) };
    expect(reachable(withLocality(plain(), options))).toEqual(all.filter((e) => tierOf(e) < 3));
    expect(reachable(withLocality(plain(), { ...options, minHealthyPercent: 50 }))).toEqual(inTier(0));
    sick.add(at(0, 2).address);
    expect(reachable(withLocality(plain(), options))).toEqual(inTier(1));
  });

  it('regroups when the version says that tiers have moved, and only then', () => {
    let version = 1;
    let shift = 0;
    const balancer = withLocality(plain(), { tierOf: (e) => (tierOf(e) + shift) % 4, version: () => version });
    expect(reachable(balancer)).toEqual(inTier(0));
    shift = 1;
    expect(reachable(balancer)).toEqual(inTier(0));
    version = 2;
    expect(reachable(balancer)).toEqual(inTier(3));
  });

  it('never prefers a farther tier while a nearer one is usable', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4), { minLength: 1, maxLength: 20 }), fc.array(fc.nat(19)), (tiers, out) => {
        const candidates = tiers.map((tier, i) => at(tier, i));
        const exclude = new Set(out.filter((i) => i < tiers.length).map((i) => endpointKey(candidates[i] as Endpoint)));
        const usable = candidates.filter((e) => !exclude.has(endpointKey(e)));
        const picked = withLocality(plain(), { tierOf, minHealthyPercent: 0 }).pick(candidates, {}, exclude);
        if (usable.length === 0) expect(picked).toBeUndefined();
        else expect(tierOf(picked as Endpoint)).toBe(Math.min(...usable.map(tierOf)));
      }),
    );
  });

  it('leaves a tier whose endpoints are all ejected', () => {
    const clock = createFakeClock();
    const balancer = createServiceBalancer(
      { balancer: { kind: 'roundRobin' }, outlier: { consecutiveErrors: 1, maxEjectionPercent: 100 } },
      { locality: { tierOf }, clock },
    );
    expect(reachable(balancer)).toEqual(inTier(0));
    for (const endpoint of inTier(0)) balancer.report?.(endpoint, { kind: 'connect-failure' });
    expect(reachable(balancer)).toEqual(inTier(1));
    clock.advance(30_000);
    expect(reachable(balancer)).toEqual(inTier(0));
  });
});
