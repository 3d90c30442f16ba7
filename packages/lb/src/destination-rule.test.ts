import type { KubeObject, Service } from '@edgemesh/core';
import { makeEndpoints } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBalancer } from './create-balancer.ts';
import { policyFromDestinationRule, policyFromService } from './destination-rule.ts';
import { destinationRuleFor } from './destination-rule-binding.ts';

const none: Pick<Service, 'sessionAffinity'> = { sessionAffinity: { type: 'None' } };

function rule(spec: unknown, metadata: Partial<KubeObject['metadata']> = {}): KubeObject {
  return {
    apiVersion: 'networking.istio.io/v1beta1',
    kind: 'DestinationRule',
    metadata: { name: 'web', namespace: 'shop', ...metadata },
    spec,
  };
}

const compile = (trafficPolicy: unknown, port = 80) =>
  policyFromDestinationRule(rule({ host: 'web', trafficPolicy }), none, { port });

describe('policyFromDestinationRule', () => {
  it.each([
    ['ROUND_ROBIN', 'roundRobin', 0],
    ['RANDOM', 'random', 0],
    ['LEAST_REQUEST', 'leastRequest', 0],
    ['LEAST_CONN', 'leastRequest', 0],
    ['UNSPECIFIED', 'roundRobin', 0],
    ['PASSTHROUGH', 'passthrough', 1],
  ])('compiles simple: %s', (simple, kind, conditions) => {
    const compiled = compile({ loadBalancer: { simple } });
    expect(compiled.policy).toEqual({ balancer: { kind } });
    expect(compiled.conditions).toHaveLength(conditions);
  });

  it.each([
    [{ useSourceIp: true }, { from: 'sourceIp' }],
    [{ httpHeaderName: 'X-User' }, { from: 'header', name: 'x-user' }],
    [{ httpQueryParameterName: 'id' }, { from: 'query', name: 'id' }],
    [{ httpCookie: { name: 'c' } }, { from: 'cookie', name: 'c' }],
    [{ httpCookie: { name: 'c', path: '/a', ttl: '1m30s' } }, { from: 'cookie', name: 'c', path: '/a', ttlMs: 90_000 }],
    [{ httpCookie: { name: 'c', ttl: '0s' } }, { from: 'cookie', name: 'c', ttlMs: 0 }],
    [{ useSourceIp: true, minimumRingSize: '1024' }, { from: 'sourceIp' }],
    [{ useSourceIp: true, ringHash: { minimumRingSize: 1024 } }, { from: 'sourceIp' }],
    [{ useSourceIp: true, maglev: { tableSize: 65_537 } }, { from: 'sourceIp' }],
  ])('compiles consistentHash: %j', (consistentHash, key) => {
    const compiled = compile({ loadBalancer: { consistentHash } });
    expect(compiled).toMatchObject({ policy: { balancer: { kind: 'consistentHash', key } }, conditions: [] });
  });

  it.each<[unknown, string]>([
    [
      { loadBalancer: { simple: 'FANCY' } },
      'spec.trafficPolicy.loadBalancer.simple: unknown value "FANCY", using the default',
    ],
    [
      { loadBalancer: { warmupDurationSecs: '10s' } },
      'spec.trafficPolicy.loadBalancer.warmupDurationSecs: not supported, ignored',
    ],
    [{ connectionPool: { tcp: {} } }, 'spec.trafficPolicy.connectionPool: not supported by the load balancer, ignored'],
    [{ loadBalancer: 7 }, 'spec.trafficPolicy.loadBalancer: must be an object, ignored'],
    [
      { loadBalancer: { consistentHash: {} } },
      'spec.trafficPolicy.loadBalancer.consistentHash: names nothing to hash by, using the default',
    ],
    [
      { loadBalancer: { consistentHash: { httpHeaderName: 3 } } },
      'spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: must be a non-empty string, ignored',
    ],
    [{ portLevelSettings: {} }, 'spec.trafficPolicy.portLevelSettings: must be a list, ignored'],
    [
      { outlierDetection: { interval: 'soon' } },
      'spec.trafficPolicy.outlierDetection.interval: must be a duration such as 30s, ignored',
    ],
    [
      { outlierDetection: { maxEjectionPercent: 101 } },
      'spec.trafficPolicy.outlierDetection.maxEjectionPercent: must be a whole number from 0 to 100, ignored',
    ],
  ])('keeps the default and tells the path for %j', (trafficPolicy, condition) => {
    const compiled = compile(trafficPolicy);
    expect(compiled.policy.balancer).toEqual({ kind: 'roundRobin' });
    expect(compiled.conditions).toContain(condition);
  });

  it('compiles outlier detection', () => {
    const outlierDetection = {
      consecutive5xxErrors: 7,
      consecutiveGatewayErrors: { value: 3 },
      interval: '5s',
      baseEjectionTime: '1m',
      maxEjectionPercent: 50,
      minHealthPercent: 20,
      splitExternalLocalOriginErrors: true,
      consecutiveLocalOriginFailures: 2,
    };
    expect(compile({ outlierDetection })).toMatchObject({
      policy: {
        outlier: {
          consecutiveErrors: 7,
          consecutiveGatewayErrors: 3,
          consecutiveConnectFailures: 2,
          intervalMs: 5000,
          baseEjectionMs: 60_000,
          maxEjectionPercent: 50,
          minHealthPercent: 20,
        },
      },
      conditions: [],
    });
    expect(compile({ outlierDetection: { consecutiveErrors: 4 } }).policy.outlier).toEqual({ consecutiveErrors: 4 });
  });

  it('lets the settings of a port replace the general ones, one by one', () => {
    const trafficPolicy = {
      loadBalancer: { simple: 'RANDOM' },
      outlierDetection: { consecutive5xxErrors: 9 },
      portLevelSettings: [
        { port: { number: 80 }, loadBalancer: { simple: 'LEAST_REQUEST' } },
        { port: { number: 81 }, outlierDetection: {} },
      ],
    };
    const policyOf = (port: number) => compile(trafficPolicy, port).policy;
    expect(policyOf(80)).toEqual({ balancer: { kind: 'leastRequest' }, outlier: { consecutiveErrors: 9 } });
    expect(policyOf(81)).toEqual({ balancer: { kind: 'random' }, outlier: {} });
    expect(policyOf(82)).toEqual({ balancer: { kind: 'random' }, outlier: { consecutiveErrors: 9 } });
  });

  it('compiles subsets over the policy of the whole', () => {
    const { subsets, conditions } = policyFromDestinationRule(
      rule({
        host: 'web',
        trafficPolicy: { loadBalancer: { simple: 'RANDOM' } },
        subsets: [
          { name: 'v1', labels: { version: 'v1' } },
          { name: 'v2', labels: { version: 'v2' }, trafficPolicy: { loadBalancer: { simple: 'LEAST_CONN' } } },
          { labels: {} },
        ],
      }),
      none,
      { port: 80 },
    );
    expect(subsets.get('v1')).toMatchObject({ labels: { version: 'v1' }, policy: { balancer: { kind: 'random' } } });
    expect(subsets.get('v2')?.policy).toEqual({ balancer: { kind: 'leastRequest' } });
    expect(subsets.size).toBe(2);
    expect(conditions).toEqual(['spec.subsets[2].name: is required, subset ignored']);
  });

  it('keeps the session affinity of the Service in force', () => {
    const sticky: Pick<Service, 'sessionAffinity'> = { sessionAffinity: { type: 'ClientIP', timeoutSeconds: 60 } };
    const compiled = policyFromDestinationRule(
      rule({ trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } }),
      sticky,
      { port: 1 },
    );
    const clientIP = { kind: 'clientIP', timeoutSeconds: 60 };
    expect(compiled.policy.balancer).toEqual({ ...clientIP, otherwise: { kind: 'random' } });
    expect(policyFromService(sticky).balancer).toEqual({ ...clientIP, otherwise: { kind: 'roundRobin' } });
    expect(policyFromService(none)).toEqual({ balancer: { kind: 'roundRobin' } });
  });

  it('makes a working balancer of anything, and never throws', () => {
    const names = [
      'trafficPolicy',
      'loadBalancer',
      'simple',
      'consistentHash',
      'httpCookie',
      'ttl',
      'useSourceIp',
      'subsets',
      'outlierDetection',
      'interval',
      'portLevelSettings',
      'port',
      'number',
      'labels',
      'name',
      'maglev',
      '__proto__',
      'constructor',
    ];
    const leaf = fc.oneof(
      fc.anything(),
      fc.constantFrom<unknown>('RANDOM', '10s', 80, true, { value: 1 }, `${'1'.repeat(400)}s`),
    );
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof(
        { depthSize: 'medium' },
        leaf,
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...names), tie('tree'), { maxKeys: 5 }),
      ),
    }));
    const path = (inner: unknown) => ({
      host: 'web',
      trafficPolicy: inner,
      subsets: [{ name: 'a', trafficPolicy: inner }],
    });
    const endpoints = makeEndpoints(3);
    fc.assert(
      fc.property(
        fc.oneof(
          tree,
          tree.map(path),
          tree.map((t) => path({ loadBalancer: t })),
          tree.map((t) => path({ outlierDetection: t })),
        ),
        (spec) => {
          const compiled = policyFromDestinationRule(rule(spec), none, { port: 80 });
          expect(endpoints).toContain(createBalancer(compiled.policy.balancer).pick(endpoints, {}));
          for (const condition of compiled.conditions) expect(condition).toMatch(/^spec.*: ./s);
          for (const value of Object.values(compiled.policy.outlier ?? {})) expect(value).toBeGreaterThanOrEqual(0);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('destinationRuleFor', () => {
  const web = { namespace: 'shop', name: 'web' };
  const bind = (...rules: KubeObject[]) => destinationRuleFor(web, rules)?.metadata.name;

  it.each([
    'web',
    'web.shop',
    'web.shop.svc',
    'web.shop.svc.cluster.local',
    'WEB.shop.svc.cluster.local.',
    '*.shop.svc.cluster.local',
    '*',
  ])('binds by the host %s', (host) => expect(bind(rule({ host }, { name: 'r' }))).toBe('r'));

  it.each([
    'shop',
    'web.other',
    'web.shop.svc.other.domain',
    'xweb',
    '*.other.svc.cluster.local',
    'web.shop.com',
    '',
    7,
    undefined,
  ])('does not bind by the host %s', (host) => expect(bind(rule({ host }, { name: 'r' }))).toBeUndefined());

  it('reads short hosts in the namespace of the rule', () => {
    expect(bind(rule({ host: 'web' }, { name: 'r', namespace: 'other' }))).toBeUndefined();
    expect(bind(rule({ host: 'web.shop' }, { name: 'r', namespace: 'other' }))).toBe('r');
  });

  it('binds by name and namespace whatever the host, before any rule by host', () => {
    const own = rule({ host: 'elsewhere' });
    expect(bind(rule({ host: 'web' }, { name: 'a' }), own, rule({ host: 'web' }, { name: 'b' }))).toBe('web');
    expect(bind(rule(undefined))).toBe('web');
    expect(bind(rule({ host: 'elsewhere' }, { namespace: 'other' }))).toBeUndefined();
  });

  it('prefers exact hosts, then the namespace of the Service, then age, then the name, in any order', () => {
    const rules = [
      rule({ host: '*' }, { name: 'wild', creationTimestamp: '2020-01-01T00:00:00Z' }),
      rule({ host: 'web.shop' }, { name: 'far', namespace: 'a', creationTimestamp: '2020-01-01T00:00:00Z' }),
      rule({ host: 'web' }, { name: 'young', creationTimestamp: '2026-01-01T00:00:00Z' }),
      rule({ host: 'web' }, { name: 'b', creationTimestamp: '2025-01-01T00:00:00Z' }),
      rule({ host: 'web' }, { name: 'a', creationTimestamp: '2025-01-01T00:00:00Z' }),
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(rules, { minLength: 1 }), (some) => {
        const order = ['a', 'b', 'young', 'far', 'wild'];
        const best = order.find((name) => some.some((r) => r.metadata.name === name));
        expect(bind(...some)).toBe(best);
      }),
    );
  });

  it('honours exportTo', () => {
    const other = { name: 'r', namespace: 'other' };
    expect(bind(rule({ host: 'web.shop', exportTo: ['.'] }, other))).toBeUndefined();
    expect(bind(rule({ host: 'web.shop', exportTo: ['.'] }, { name: 'r' }))).toBe('r');
    expect(bind(rule({ host: 'web.shop', exportTo: ['x', 'shop'] }, other))).toBe('r');
    expect(bind(rule({ host: 'web.shop', exportTo: ['*'] }, other))).toBe('r');
  });
});
