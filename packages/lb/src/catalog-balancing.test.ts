import { type Catalog, EMPTY_CATALOG, type KubeObject, type Service, type ServicePort } from '@edgemesh/core';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { type CatalogBalancingOptions, createCatalogBalancing } from './catalog-balancing.ts';
import { DESTINATION_RULE_KIND } from './destination-rule-binding.ts';
import { type HashKey, requestKeyOf } from './policy.ts';

const http: ServicePort = { name: 'http', protocol: 'TCP', port: 80 };
const service = {
  id: 'shop/web',
  namespace: 'shop',
  name: 'web',
  annotations: {},
  sessionAffinity: { type: 'None' },
  internalTrafficPolicy: 'Cluster',
  publishNotReadyAddresses: false,
  trafficDistribution: 'PreferSameZone',
} as unknown as Service;

const rule = (simple: string, host = 'web'): KubeObject => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name: 'r', namespace: 'shop' },
  spec: { host, trafficPolicy: { loadBalancer: { simple } } },
});

function setup(more: Partial<CatalogBalancingOptions> = {}) {
  let current: Catalog = EMPTY_CATALOG;
  const balancing = createCatalogBalancing({
    catalog: {
      get current() {
        return current;
      },
      subscribe: () => () => undefined,
    },
    nodeName: 'me',
    ...more,
  });
  return {
    balancing,
    publish: (change: Partial<Catalog>) => {
      current = { ...current, ...change, revision: current.revision + 1 };
    },
    rules: (...list: KubeObject[]) => new Map([[DESTINATION_RULE_KIND, new Map(list.map((r, i) => [`shop/${i}`, r]))]]),
  };
}

describe('createCatalogBalancing', () => {
  it('takes the given default where neither rule nor Service says how to choose', () => {
    const { balancing, publish, rules } = setup({ defaultPolicy: { kind: 'leastRequest' } });
    const policyOf = (of: Service = service) => balancing.policyOf(of, http).policy.balancer;
    expect(policyOf()).toEqual({ kind: 'leastRequest' });
    const sticky = { ...service, sessionAffinity: { type: 'ClientIP', timeoutSeconds: 60 } } as Service;
    expect(policyOf(sticky)).toMatchObject({ kind: 'clientIP', otherwise: { kind: 'leastRequest' } });
    const silent = { ...rule('RANDOM'), spec: { host: 'web', trafficPolicy: { outlierDetection: {} } } };
    publish({ objects: rules(silent) });
    expect(policyOf()).toEqual({ kind: 'leastRequest' });
    publish({ objects: rules(rule('RANDOM')) });
    expect(policyOf()).toEqual({ kind: 'random' });
  });

  it('gives a subset its own policy, or that of the rule', () => {
    const { balancing, publish, rules } = setup();
    const subsets = [
      { name: 'own', labels: { v: '1' }, trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } },
      { name: 'none', labels: { v: '2' } },
    ];
    publish({
      objects: rules({ ...rule('LEAST_REQUEST'), spec: { ...(rule('LEAST_REQUEST').spec as object), subsets } }),
    });
    const keyOf = (subset?: string) => balancing.policyKey(service, http, subset);
    expect(JSON.parse(keyOf('own'))).toEqual({ balancer: { kind: 'random' } });
    expect([keyOf('none'), keyOf('unknown')]).toEqual([keyOf(), keyOf()]);
    expect(JSON.parse(keyOf())).toMatchObject({ balancer: { kind: 'leastRequest' } });
    // least request counts what is in flight, random does not
    expect(balancing.createBalancer(service, http, 'none').begin).toBeDefined();
    expect(balancing.createBalancer(service, http, 'own').begin).toBeUndefined();
  });

  it('follows the rules of the catalog, and tells which one is in force and what it lacks', () => {
    const { balancing, publish, rules } = setup();
    const kinds = () => balancing.policyOf(service, http).policy.balancer.kind;
    expect([kinds(), balancing.policyOf(service, http).rule]).toEqual(['roundRobin', undefined]);
    publish({ objects: rules(rule('RANDOM')) });
    expect([kinds(), balancing.policyOf(service, http).rule]).toEqual(['random', 'shop/r']);
    publish({ objects: rules(rule('SOMETHING')) });
    expect(kinds()).toBe('roundRobin');
    expect(balancing.policyOf(service, http).conditions[0]).toMatch(/unknown value "SOMETHING"/);
    publish({ objects: rules(rule('RANDOM', 'elsewhere')) });
    expect(balancing.policyOf(service, http).rule).toBeUndefined();
  });

  it('keeps the policy key while the policy stays the same', () => {
    const { balancing, publish, rules } = setup();
    const before = balancing.policyKey(service, http);
    publish({ objects: rules(rule('ROUND_ROBIN')) });
    expect(balancing.policyKey({ ...service }, http)).toBe(before);
    publish({ objects: rules(rule('RANDOM')) });
    expect(balancing.policyKey(service, http)).not.toBe(before);
  });

  it('compiles once per version of Service and rules', () => {
    const { balancing, publish, rules } = setup();
    publish({ objects: rules(rule('RANDOM')) });
    const first = balancing.policyOf(service, http);
    publish({});
    expect(balancing.policyOf(service, http)).toBe(first);
    expect(balancing.policyOf({ ...service }, http)).not.toBe(first);
  });

  it('knows the zone of its node from the catalog', () => {
    const { balancing, publish } = setup();
    const endpoints = [makeEndpoint('10.0.0.1', { zone: 'za' }), makeEndpoint('10.0.0.2', { zone: 'zb' })];
    expect(balancing.eligible(service, endpoints, http)).toHaveLength(2);
    const me = { name: 'me', labels: {}, internalIPs: [], podCIDRs: [], zone: 'zb' };
    publish({ nodes: new Map([['me', me]]) });
    expect(balancing.eligible(service, endpoints, http)).toEqual([endpoints[1]]);
    expect(endpoints).toContain(balancing.createBalancer(service, http).pick(endpoints, {}));
  });

  it('ejects a failing endpoint by default, and prefers near ones only for the Services that want it', () => {
    const far = makeEndpoint('far', { nodeName: 'far' });
    const near = makeEndpoint('near', { nodeName: 'near' });
    const balancing = createCatalogBalancing({
      catalog: { current: EMPTY_CATALOG, subscribe: () => () => undefined },
      nodeName: 'me',
      outlier: { consecutiveErrors: 1, maxEjectionPercent: 50 },
      localityOf: ({ trafficDistribution }) =>
        trafficDistribution === undefined ? undefined : { tierOf: ({ nodeName }) => (nodeName === 'near' ? 0 : 1) },
    });
    const picks = (balancer: ReturnType<typeof balancing.createBalancer>) =>
      new Set(Array.from({ length: 20 }, () => balancer.pick([far, near], {})?.nodeName));
    const choosy = balancing.createBalancer(service, http);
    expect(picks(choosy)).toEqual(new Set(['near']));
    choosy.report?.(near, { kind: 'connect-failure' });
    expect(picks(choosy)).toEqual(new Set(['far']));
    const { trafficDistribution: _, ...plain } = service;
    expect(picks(balancing.createBalancer(plain, http))).toEqual(new Set(['near', 'far']));
  });

  it('tells which policies need more than a connection', () => {
    const hash = (key: HashKey) => ({ kind: 'consistentHash', key }) as const;
    expect(requestKeyOf({ kind: 'random' })).toBeUndefined();
    expect(requestKeyOf(hash({ from: 'sourceIp' }))).toBeUndefined();
    expect(requestKeyOf(hash({ from: 'header', name: 'x-user' }))).toBe('header x-user');
    expect(requestKeyOf({ kind: 'clientIP', timeoutSeconds: 1, otherwise: hash({ from: 'query', name: 'q' }) })).toBe(
      'query q',
    );
  });
});
