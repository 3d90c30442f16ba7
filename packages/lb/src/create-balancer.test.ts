import { type Balancer, type Endpoint, endpointKey } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describeBalancer, makeEndpoint, makeEndpoints, makeFlow } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBalancer } from './create-balancer.ts';
import { LB_DEFAULTS } from './options.ts';
import type { BalancerPolicy, HashKey } from './policy.ts';

/** Repeatable numbers in [0, 1) (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const make = (policy: BalancerPolicy, clock = createFakeClock()) =>
  createBalancer(policy, { random: seeded(42), clock });

/** How often each candidate is picked by so many different flows. */
function tally(balancer: Balancer, candidates: readonly Endpoint[], picks: number): number[] {
  const counts = new Map<Endpoint, number>(candidates.map((e) => [e, 0]));
  for (let i = 0; i < picks; i++) {
    const picked = balancer.pick(candidates, makeFlow(i)) as Endpoint;
    counts.set(picked, (counts.get(picked) as number) + 1);
  }
  return [...counts.values()];
}

/** Chi-square of counts against equal shares; for n cells it is n-1 on average, with a deviation of sqrt(2(n-1)). */
function chiSquare(counts: readonly number[]): number {
  const mean = counts.reduce((a, b) => a + b, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0);
}

function plausible(counts: readonly number[]): boolean {
  const freedom = counts.length - 1;
  return chiSquare(counts) < freedom + 5 * Math.sqrt(2 * freedom);
}

const shuffled = <T>(list: readonly T[], seed: number): T[] => {
  const random = seeded(seed);
  return list
    .map((item) => ({ item, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
};

const sourceHash: BalancerPolicy = { kind: 'consistentHash', key: { from: 'sourceIp' } };
const policies: readonly BalancerPolicy[] = [
  { kind: 'roundRobin' },
  { kind: 'random' },
  { kind: 'leastRequest' },
  { kind: 'leastRequest', choices: 5 },
  { kind: 'passthrough' },
  sourceHash,
  { kind: 'consistentHash', key: { from: 'header', name: 'User' }, inFlightBound: 1.25 },
  { kind: 'clientIP', timeoutSeconds: 10 },
  { kind: 'clientIP', timeoutSeconds: 10, maxClients: 2, otherwise: sourceHash },
];

for (const policy of policies) describeBalancer(JSON.stringify(policy), () => make(policy));

describe('distribution', () => {
  it.each(policies.map((policy) => [JSON.stringify(policy), policy] as const))('is even for %s', (_, policy) => {
    for (const count of [2, 7, 100]) expect(plausible(tally(make(policy), makeEndpoints(count), 20_000))).toBe(true);
  });

  it('is exactly even for round robin', () => {
    expect(tally(make({ kind: 'roundRobin' }), makeEndpoints(7), 700)).toEqual(Array(7).fill(100));
  });

  it('is the same among what exclusion leaves', () => {
    const candidates = makeEndpoints(10);
    const exclude = new Set(candidates.slice(0, 5).map(endpointKey));
    for (const policy of policies) {
      const balancer = make(policy);
      const counts = new Map<Endpoint, number>();
      for (let i = 0; i < 10_000; i++) {
        const picked = balancer.pick(candidates, makeFlow(i), exclude) as Endpoint;
        counts.set(picked, (counts.get(picked) ?? 0) + 1);
      }
      expect([...counts.keys()].every((e) => !exclude.has(endpointKey(e)))).toBe(true);
      // Walking past an excluded run gives its successor more in round robin; the others stay even.
      if (policy.kind !== 'roundRobin') expect(plausible([...counts.values()])).toBe(true);
    }
  });
});

describe('round robin', () => {
  it('visits every endpoint once per round and starts anywhere', () => {
    const candidates = makeEndpoints(5);
    const starts = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const balancer = createBalancer({ kind: 'roundRobin' }, { random: seeded(seed) });
      const round = candidates.map(() => balancer.pick(candidates, {}) as Endpoint);
      expect(new Set(round).size).toBe(5);
      starts.add((round[0] as Endpoint).address);
    }
    expect(starts.size).toBe(5);
  });

  it('retries with the next endpoint', () => {
    const candidates = makeEndpoints(3);
    const balancer = make({ kind: 'roundRobin' });
    const first = balancer.pick(candidates, {}) as Endpoint;
    const second = balancer.pick(candidates, {}, new Set([endpointKey(first)])) as Endpoint;
    expect(candidates.indexOf(second)).toBe((candidates.indexOf(first) + 1) % 3);
  });
});

describe('session affinity', () => {
  const policy = { kind: 'clientIP', timeoutSeconds: 10 } as const;

  it('keeps a client on its endpoint, by address alone, while others come and go', () => {
    const balancer = make(policy);
    const all = makeEndpoints(20);
    const flow = { sourceIp: '10.9.8.7' };
    const own = balancer.pick(all, flow) as Endpoint;
    fc.assert(
      fc.property(fc.subarray(all), (subset) => {
        const candidates = subset.includes(own) ? subset : [...subset, own];
        expect(balancer.pick(candidates, flow)).toBe(own);
      }),
    );
  });

  it('slides the timeout with every use and forgets afterwards', () => {
    const clock = createFakeClock();
    let placed = 0;
    // Places by turn, so that a forgotten client is seen to move.
    const balancer = createBalancer({ ...policy, otherwise: { kind: 'roundRobin' } }, { random: () => 0, clock });
    const candidates = makeEndpoints(1000);
    const flow = { sourceIp: '10.9.8.7' };
    const own = balancer.pick(candidates, flow);
    for (; placed < 20; placed++) {
      clock.advance(9_999);
      expect(balancer.pick(candidates, flow)).toBe(own);
    }
    clock.advance(10_000);
    expect(balancer.pick(candidates, flow)).not.toBe(own);
  });

  it('moves the client for good when its endpoint is gone or excluded', () => {
    const balancer = make(policy);
    const all = makeEndpoints(5);
    const flow = { sourceIp: '10.9.8.7' };
    const first = balancer.pick(all, flow) as Endpoint;
    const second = balancer.pick(all, flow, new Set([endpointKey(first)])) as Endpoint;
    expect(second).not.toBe(first);
    expect(balancer.pick(all, flow)).toBe(second);
    const left = all.filter((e) => e !== second);
    const third = balancer.pick(left, flow);
    expect(left).toContain(third);
    expect(balancer.pick(all, flow)).toBe(third);
  });

  it('forgets the client that was silent longest when the table is full', () => {
    const balancer = createBalancer(
      { ...policy, maxClients: 2, otherwise: { kind: 'roundRobin' } },
      { random: () => 0, clock: createFakeClock() },
    );
    const candidates = makeEndpoints(100);
    const pick = (sourceIp: string) => balancer.pick(candidates, { sourceIp });
    const [a, b] = [pick('a'), pick('b')];
    expect(pick('a')).toBe(a);
    const c = pick('c');
    expect([pick('a'), pick('c')]).toEqual([a, c]);
    expect(pick('b')).not.toBe(b);
  });

  it('agrees with a slow oracle on any history', () => {
    const step = fc.record({
      client: fc.integer({ min: 0, max: 5 }),
      waitMs: fc.constantFrom(0, 100, 4_000, 9_999, 10_000, 20_000),
      from: fc.integer({ min: 0, max: 4 }),
      to: fc.integer({ min: 5, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const clock = createFakeClock();
        const balancer = make(policy, clock);
        const all = makeEndpoints(8);
        const oracle = new Map<number, { key: string; at: number }>();
        for (const { client, waitMs, from, to } of steps) {
          clock.advance(waitMs);
          const candidates = all.slice(from, to);
          const picked = balancer.pick(candidates, { sourceIp: `c${client}` }) as Endpoint;
          const bound = oracle.get(client);
          const stays =
            bound && clock.now() - bound.at < 10_000 && candidates.some((e) => endpointKey(e) === bound.key);
          if (stays) expect(endpointKey(picked)).toBe(bound.key);
          oracle.set(client, { key: endpointKey(picked), at: clock.now() });
        }
      }),
    );
  });

  it('has the defaults of Kubernetes', () => expect(LB_DEFAULTS.affinityTimeoutSeconds).toBe(10_800));
});

describe('consistent hash', () => {
  const owners = (candidates: readonly Endpoint[], keys: number, policy = sourceHash) => {
    const balancer = make(policy);
    return Array.from({ length: keys }, (_, i) => endpointKey(balancer.pick(candidates, makeFlow(i)) as Endpoint));
  };

  it('does not depend on the order of the candidates, on history, or on chance', () => {
    const candidates = makeEndpoints(30);
    const expected = owners(candidates, 500);
    for (const seed of [1, 2, 3]) {
      const used = createBalancer(sourceHash, { random: seeded(seed) });
      for (let i = 0; i < 100; i++) used.pick(makeEndpoints(i), makeFlow(i));
      const list = shuffled(candidates, seed);
      expect(expected).toEqual(expected.map((_, i) => endpointKey(used.pick(list, makeFlow(i)) as Endpoint)));
    }
  });

  it('moves only the keys of an endpoint that goes, and only to one that comes', () => {
    for (const count of [2, 5, 40, 150]) {
      const more = makeEndpoints(count + 1);
      const fewer = more.slice(0, count);
      const gone = endpointKey(more[count] as Endpoint);
      const before = owners(more, 3000);
      const after = owners(fewer, 3000);
      const moved = before.filter((owner, i) => owner !== after[i]);
      expect(moved.every((owner) => owner === gone)).toBe(true);
      expect(moved.length).toBe(before.filter((owner) => owner === gone).length);
    }
  });

  it('serves any number of endpoints within the load bound', () => {
    for (const count of [1, 99, 100, 101, 500]) {
      const counts = tally(make(sourceHash), makeEndpoints(count), 200);
      expect(counts.reduce((a, b) => a + b)).toBe(200);
    }
    const counts = tally(make(sourceHash), makeEndpoints(20), 60_000);
    expect(Math.max(...counts)).toBeLessThan((60_000 / 20) * LB_DEFAULTS.load);
  });

  it.each<HashKey>([
    { from: 'sourceIp' },
    { from: 'header', name: 'X-User' },
    { from: 'cookie', name: 'session' },
    { from: 'query', name: 'id' },
  ])('hashes by $from alone', (key) => {
    const candidates = makeEndpoints(20);
    const balancer = make({ kind: 'consistentHash', key });
    const other = makeFlow(77);
    const constant = makeFlow(1);
    const field = key.from;
    const picks = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const flow = { ...(i % 2 ? other : makeFlow(i)), [field]: constant[field] };
      picks.add(endpointKey(balancer.pick(candidates, flow) as Endpoint));
    }
    expect(picks.size).toBe(1);
  });

  it('reads headers by their lower-case name', () => {
    const names: string[] = [];
    const balancer = make({ kind: 'consistentHash', key: { from: 'header', name: 'X-User' } });
    balancer.pick(makeEndpoints(2), { header: (name) => void names.push(name) as undefined });
    expect(names).toEqual(['x-user']);
  });

  it('spreads flows that lack the key', () => {
    const balancer = make({ kind: 'consistentHash', key: { from: 'header', name: 'x-user' } });
    const candidates = makeEndpoints(5);
    const picks = Array.from({ length: 200 }, () => balancer.pick(candidates, { sourceIp: '10.0.0.1' }));
    expect(new Set(picks).size).toBe(5);
  });

  it('keeps one client in one place however many connections it has, unless bounded', () => {
    const candidates = makeEndpoints(4);
    const spread = (policy: BalancerPolicy) => {
      const balancer = make(policy);
      const used = new Set<string>();
      for (let i = 0; i < 100; i++) {
        const picked = balancer.pick(candidates, makeFlow(1)) as Endpoint;
        balancer.begin?.(picked);
        used.add(endpointKey(picked));
      }
      return used.size;
    };
    expect(spread(sourceHash)).toBe(1);
    expect(spread({ kind: 'consistentHash', key: { from: 'sourceIp' }, inFlightBound: 1.25 })).toBe(4);
  });

  it('never exceeds its in-flight bound, whatever the keys', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 50, maxLength: 200 }), (keys) => {
        const candidates = makeEndpoints(5);
        const balancer = make({ kind: 'consistentHash', key: { from: 'sourceIp' }, inFlightBound: 1.5 });
        const load = new Map<Endpoint, number>();
        for (const [i, key] of keys.entries()) {
          const picked = balancer.pick(candidates, makeFlow(key)) as Endpoint;
          balancer.begin?.(picked);
          load.set(picked, (load.get(picked) ?? 0) + 1);
          expect(load.get(picked)).toBeLessThanOrEqual(
            Math.max(LB_DEFAULTS.inFlightFloor, Math.ceil((1.5 * (i + 1)) / 5)),
          );
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe('least request', () => {
  it('prefers what has less in flight and forgets what has ended', () => {
    const [a, b] = [makeEndpoint('10.0.0.1'), makeEndpoint('10.0.0.2')];
    const balancer = make({ kind: 'leastRequest' });
    balancer.begin?.(a);
    balancer.begin?.(a);
    const busy = Array.from({ length: 400 }, () => balancer.pick([a, b], {}));
    // a wins only when both draws hit it: one time in four.
    expect(busy.filter((e) => e === a).length).toBeLessThan(160);
    balancer.end?.(a);
    balancer.end?.(a);
    const idle = Array.from({ length: 400 }, () => balancer.pick([a, b], {}));
    expect(idle.filter((e) => e === a).length).toBeGreaterThan(140);
  });

  it('keeps the longest queue shorter than random choice does', () => {
    const longest = (policy: BalancerPolicy) => {
      const balancer = make(policy);
      const candidates = makeEndpoints(50);
      const load = new Map<Endpoint, number>();
      for (let i = 0; i < 500; i++) {
        const picked = balancer.pick(candidates, {}) as Endpoint;
        balancer.begin?.(picked);
        load.set(picked, (load.get(picked) ?? 0) + 1);
      }
      return Math.max(...load.values());
    };
    expect(longest({ kind: 'leastRequest' })).toBeLessThan(longest({ kind: 'random' }));
  });
});
