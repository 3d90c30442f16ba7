import { type Endpoint, endpointKey, type Outcome } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describeBalancer, makeEndpoints, makeFlow } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBalancer } from './create-balancer.ts';
import { createOutlierMachine } from './outlier-machine.ts';
import type { OutlierPolicy } from './policy.ts';
import { withOutlierEjection } from './with-outlier-ejection.ts';

const refused: Outcome = { kind: 'connect-failure' };
const success: Outcome = { kind: 'success' };
const status = (code: number): Outcome => ({ kind: 'response', status: code });

function setup(policy: OutlierPolicy, count = 4) {
  const clock = createFakeClock();
  const ejected: string[] = [];
  const balancer = withOutlierEjection(createBalancer({ kind: 'roundRobin' }, { clock }), policy, {
    clock,
    onEjected: (e) => ejected.push(e.address),
  });
  const endpoints = makeEndpoints(count);
  balancer.pick(endpoints, {});
  const fail = (endpoint: Endpoint, times: number, outcome = refused) => {
    for (let i = 0; i < times; i++) balancer.report?.(endpoint, outcome);
  };
  const reachable = (candidates: readonly Endpoint[] = endpoints) => {
    const seen = new Set<Endpoint>();
    for (let i = 0; i < candidates.length * 3; i++) seen.add(balancer.pick(candidates, makeFlow(i)) as Endpoint);
    return candidates.filter((e) => seen.has(e));
  };
  return {
    clock,
    balancer,
    endpoints: endpoints as [Endpoint, Endpoint, Endpoint, Endpoint],
    fail,
    reachable,
    ejected,
  };
}

describeBalancer('round robin with outlier ejection', () =>
  withOutlierEjection(createBalancer({ kind: 'roundRobin' }), { consecutiveErrors: 1, maxEjectionPercent: 100 }),
);

describe('outlier ejection', () => {
  it('takes an endpoint back at once that has recovered, and leaves it out for longer when it fails again', () => {
    const { endpoints, fail, reachable, clock, balancer } = setup({ consecutiveErrors: 3 });
    const [a, b, c, d] = endpoints;
    fail(b, 3);
    expect(reachable()).toEqual([a, c, d]);
    balancer.report?.(b, { kind: 'recovered' });
    expect([reachable(), balancer.ejectedCount]).toEqual([endpoints, 0]);
    fail(b, 2);
    balancer.report?.(b, { kind: 'recovered' });
    fail(b, 2);
    expect(reachable()).toEqual(endpoints);
    fail(b, 1);
    clock.advance(59_999);
    expect(reachable()).toEqual([a, c, d]);
    clock.advance(1);
    expect(reachable()).toEqual(endpoints);
    balancer.report?.(a, { kind: 'recovered' });
  });

  it('leaves an endpoint out after so many failures in a row, and takes it back in time', () => {
    const { endpoints, fail, reachable, clock, ejected, balancer } = setup({ consecutiveErrors: 3 });
    const [a, b, c, d] = endpoints;
    fail(b, 2);
    expect(reachable()).toEqual(endpoints);
    fail(b, 1);
    expect(reachable()).toEqual([a, c, d]);
    expect([ejected, balancer.isEjected(b), balancer.ejectedCount]).toEqual([[b.address], true, 1]);
    clock.advance(29_999);
    expect(reachable()).toEqual([a, c, d]);
    clock.advance(1);
    expect(reachable()).toEqual(endpoints);
    expect(balancer.ejectedCount).toBe(0);
  });

  it('starts counting anew after a success or an answer below 500', () => {
    for (const good of [success, status(200), status(404), status(499)]) {
      const { endpoints, fail, ejected, balancer } = setup({ consecutiveErrors: 2 });
      for (let i = 0; i < 10; i++) {
        fail(endpoints[0], 1, status(500));
        balancer.report?.(endpoints[0], good);
      }
      expect(ejected).toEqual([]);
    }
  });

  it('ejects longer each time, up to the maximum, and forgives with good behaviour', () => {
    const policy = { consecutiveErrors: 1, baseEjectionMs: 1000, maxEjectionMs: 2500, intervalMs: 10_000 };
    const { endpoints, fail, clock, balancer } = setup(policy);
    const [a] = endpoints;
    const ejectionMs = () => {
      fail(a, 1);
      let ms = 0;
      for (; balancer.isEjected(a); ms += 100) clock.advance(100);
      return ms;
    };
    expect([ejectionMs(), ejectionMs(), ejectionMs(), ejectionMs()]).toEqual([1000, 2000, 2500, 2500]);
    clock.advance(40_000);
    expect(ejectionMs()).toBe(1000);
  });

  it('ejects no more than the allowed share, but one in any case', () => {
    const half = setup({ consecutiveErrors: 1, maxEjectionPercent: 50 });
    for (const endpoint of half.endpoints) half.fail(endpoint, 1);
    expect(half.ejected).toHaveLength(2);
    const tenth = setup({ consecutiveErrors: 1 });
    for (const endpoint of tenth.endpoints) tenth.fail(endpoint, 1);
    expect(tenth.ejected).toHaveLength(1);
    const none = setup({ consecutiveErrors: 1, maxEjectionPercent: 0 });
    none.fail(none.endpoints[0], 10);
    expect(none.ejected).toEqual([]);
  });

  it('ignores ejections while too little is healthy', () => {
    const { endpoints, fail, reachable } = setup({
      consecutiveErrors: 1,
      maxEjectionPercent: 100,
      minHealthPercent: 50,
    });
    const [a, b, c, d] = endpoints;
    fail(a, 1);
    fail(b, 1);
    expect(reachable()).toEqual([c, d]);
    fail(c, 1);
    expect(reachable()).toEqual(endpoints);
  });

  it('offers ejected endpoints when nothing else is left', () => {
    const { endpoints, fail, reachable, balancer } = setup({ consecutiveErrors: 1, maxEjectionPercent: 100 });
    const [a, b, c, d] = endpoints;
    fail(a, 1);
    expect(reachable([a])).toEqual([a]);
    expect(balancer.pick(endpoints, {}, new Set([b, c, d].map(endpointKey)))).toBe(a);
    for (const endpoint of endpoints) fail(endpoint, 1);
    expect(reachable()).toEqual(endpoints);
  });

  it('counts gateway errors and connect failures on their own where asked to', () => {
    const gateway = setup({ consecutiveErrors: 0, consecutiveGatewayErrors: 2 });
    gateway.fail(gateway.endpoints[0], 10, status(500));
    expect(gateway.ejected).toEqual([]);
    gateway.fail(gateway.endpoints[0], 2, status(503));
    expect(gateway.ejected).toHaveLength(1);

    const split = setup({ consecutiveErrors: 100, consecutiveConnectFailures: 2 });
    split.fail(split.endpoints[0], 99, status(500));
    split.fail(split.endpoints[0], 1, refused);
    expect(split.ejected).toEqual([]);
    split.fail(split.endpoints[0], 1, refused);
    expect(split.ejected).toHaveLength(1);
  });

  it('gives the same array to the inner balancer while nothing changes', () => {
    const arrays = new Set<readonly Endpoint[]>();
    const clock = createFakeClock();
    const balancer = withOutlierEjection(
      {
        pick(list) {
          arrays.add(list);
          return list[0];
        },
      },
      { consecutiveErrors: 1 },
      { clock },
    );
    const endpoints = makeEndpoints(4);
    balancer.pick(endpoints, {});
    balancer.report?.(endpoints[1] as Endpoint, refused);
    for (let i = 0; i < 10; i++) balancer.pick(endpoints, {});
    expect(arrays.size).toBe(2);
  });

  it('agrees with a slow oracle on any history of one endpoint', () => {
    const event = fc.record({ bad: fc.boolean(), waitMs: fc.constantFrom(0, 1, 500, 1000, 5000) });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }), (events, limit) => {
        const machine = createOutlierMachine({
          consecutiveErrors: limit,
          baseEjectionMs: 1000,
          maxEjectionMs: 1000,
          maxEjectionPercent: 100,
        });
        let now = 0;
        let row = 0;
        let until = 0;
        for (const { bad, waitMs } of events) {
          now += waitMs;
          expect(machine.isEjected('a', now)).toBe(now < until);
          machine.record('a', bad ? refused : success, 3, now);
          if (!bad) row = 0;
          else if (now >= until && ++row >= limit) {
            row = 0;
            until = now + 1000;
          }
          expect(machine.nextReturnAt(now)).toBe(now < until ? until : Number.POSITIVE_INFINITY);
        }
      }),
    );
  });

  it('remembers a bounded number of endpoints', () => {
    const machine = createOutlierMachine({ consecutiveErrors: 1, maxEjectionPercent: 100 });
    for (let i = 0; i < 10_000; i++) machine.record(`e${i}`, refused, 10_000, 0);
    expect(machine.ejectedCount(0)).toBe(4_096);
  });
});
