import { type Balancer, type Endpoint, endpointKey, type Flow } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

/** Makes a TCP endpoint for tests; everything may be overridden. */
export function makeEndpoint(address: string, overrides: Partial<Endpoint> = {}): Endpoint {
  return {
    address,
    port: 8080,
    protocol: 'TCP',
    portName: 'http',
    nodeName: 'node-1',
    ready: true,
    serving: true,
    terminating: false,
    ...overrides,
  };
}

/** `count` endpoints with distinct addresses, spread over three nodes. */
export function makeEndpoints(count: number): Endpoint[] {
  return Array.from({ length: count }, (_, i) =>
    makeEndpoint(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, { nodeName: `node-${i % 3}` }),
  );
}

/** A flow that carries everything a policy may look at, derived from one number. */
export function makeFlow(n: number): Flow {
  return {
    sourceIp: `192.168.${(n >> 8) & 255}.${n & 255}`,
    header: (name) => `${name}-${n}`,
    cookie: (name) => `${name}-${n}`,
    query: (name) => `${name}-${n}`,
  };
}

/** The contract of {@link Balancer}, held against any policy. The factory is called for each run of a property. */
export function describeBalancer(name: string, factory: () => Balancer): void {
  const endpointsAndFlow = fc.record({
    count: fc.integer({ min: 0, max: 40 }),
    excluded: fc.array(fc.nat(39)),
    flow: fc.nat(1000),
  });

  describe(`${name} as a Balancer`, () => {
    it('answers undefined when there is nothing to choose', () => {
      const balancer = factory();
      const [only] = makeEndpoints(1) as [Endpoint];
      expect(balancer.pick([], makeFlow(1))).toBeUndefined();
      expect(balancer.pick([only], makeFlow(1), new Set([endpointKey(only)]))).toBeUndefined();
    });

    it('chooses one of the candidates, never an excluded one, and always one when there is one', () => {
      fc.assert(
        fc.property(fc.array(endpointsAndFlow, { minLength: 1, maxLength: 8 }), (steps) => {
          const balancer = factory();
          for (const { count, excluded, flow } of steps) {
            const candidates = makeEndpoints(count);
            const exclude = new Set(
              excluded.filter((i) => i < count).map((i) => endpointKey(candidates[i] as Endpoint)),
            );
            const picked = balancer.pick(candidates, makeFlow(flow), exclude);
            if (exclude.size === count) expect(picked).toBeUndefined();
            else {
              expect(candidates).toContain(picked);
              expect(exclude.has(endpointKey(picked as Endpoint))).toBe(false);
            }
          }
        }),
        { numRuns: 60 },
      );
    });

    it('never answers with an endpoint that has gone', () => {
      const balancer = factory();
      const all = makeEndpoints(10);
      for (let i = 0; i < 100; i++) balancer.pick(all, makeFlow(i));
      const left = all.slice(7);
      for (let i = 0; i < 100; i++) expect(left).toContain(balancer.pick(left, makeFlow(i)));
    });

    it('answers with the candidate object of the call, not with an older one of the same key', () => {
      const balancer = factory();
      balancer.pick(makeEndpoints(3), makeFlow(1));
      const fresh = makeEndpoints(3);
      const picked = balancer.pick(fresh, makeFlow(1));
      expect(fresh.some((endpoint) => endpoint === picked)).toBe(true);
    });

    it('tries every endpoint when each choice is excluded from the next', () => {
      const balancer = factory();
      const candidates = makeEndpoints(12);
      const tried = new Set<string>();
      for (let i = 0; i < candidates.length; i++) {
        tried.add(endpointKey(balancer.pick(candidates, makeFlow(5), tried) as Endpoint));
      }
      expect(tried.size).toBe(candidates.length);
      expect(balancer.pick(candidates, makeFlow(5), tried)).toBeUndefined();
    });

    it('works for a flow that tells nothing', () => {
      expect(makeEndpoints(3)).toContainEqual(factory().pick(makeEndpoints(3), {}));
    });

    it('tells endpoints on different nodes with one address apart', () => {
      const balancer = factory();
      const twins = [
        makeEndpoint('172.17.0.2', { nodeName: 'edge-1' }),
        makeEndpoint('172.17.0.2', { nodeName: 'edge-2' }),
      ];
      const first = balancer.pick(twins, makeFlow(1)) as Endpoint;
      const second = balancer.pick(twins, makeFlow(1), new Set([endpointKey(first)])) as Endpoint;
      expect(new Set([first.nodeName, second.nodeName]).size).toBe(2);
    });

    it('takes any order of reports and uses without throwing', () => {
      const balancer = factory();
      const [a, b] = makeEndpoints(2) as [Endpoint, Endpoint];
      balancer.end?.(a);
      balancer.begin?.(a);
      balancer.report?.(b, { kind: 'connect-failure' });
      balancer.report?.(a, { kind: 'response', status: 503 });
      balancer.report?.(a, { kind: 'success', latencyMs: 3 });
      balancer.end?.(a);
      balancer.end?.(a);
      expect([a, b]).toContain(balancer.pick([a, b], makeFlow(1)));
    });
  });
}
