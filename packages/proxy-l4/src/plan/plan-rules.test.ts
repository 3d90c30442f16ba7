import { type Catalog, EMPTY_CATALOG, type Endpoint, type Service, type ServiceRule } from '@edgemesh/core';
import { eligibleEndpoints } from '@edgemesh/lb';
import { makeService } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRulePlanner, MAX_ROUND_ROBIN_SERVICES, planRules } from './plan-rules.ts';
import type { PlanContext } from './plan-service.ts';

const service = (more: Partial<Service> = {}): Service => makeService('shop/web', more);
const near = makeEndpoint('10.244.1.5', { nodeName: 'me' });
const wired = makeEndpoint('10.244.2.5', { nodeName: 'wired' });
const far = makeEndpoint('172.17.0.2', { nodeName: 'far' });
const farther = makeEndpoint('172.17.0.2', { nodeName: 'farther' });
const six = makeEndpoint('fd00::5', { nodeName: 'me' });

const context = (more: Partial<PlanContext> = {}): PlanContext => ({
  nodeName: 'me',
  bridgeIP: '169.254.96.16',
  listenPortOf: () => 30001,
  isRoutable: (endpoint) => endpoint.nodeName === 'me' || endpoint.nodeName === 'wired',
  eligible: (s, endpoints, port) =>
    eligibleEndpoints(s, endpoints, port.name, { nodeName: 'me', protocol: port.protocol }),
  filter: () => true,
  exclusions: [],
  ...more,
});
const catalog = (endpoints: readonly Endpoint[], ...services: Service[]): Catalog => ({
  ...EMPTY_CATALOG,
  services: new Map(services.map((s) => [s.id, s])),
  endpoints: new Map(services.map((s) => [s.id, endpoints])),
  nodes: new Map([['me', { name: 'me', labels: {}, internalIPs: [], podCIDRs: ['10.244.1.0/24'] }]]),
});
const rulesOf = (endpoints: readonly Endpoint[], more: Partial<Service> = {}, how: Partial<PlanContext> = {}) =>
  planRules(catalog(endpoints, service(more)), context(how)).rules;

/** `addresses -> routable + tunnelled, pick, whenEmpty` in one line per rule. */
function summary(rules: readonly ServiceRule[]): string[] {
  return rules.map((rule) => {
    const fronts = rule.frontends.map((f) => {
      const name = f.kind === 'address' ? f.address : `np${f.port}`;
      const ranges = f.kind === 'address' && f.sourceRanges ? `[${f.sourceRanges.join(',')}]` : '';
      return `${name}${ranges}${f.origin === 'external' ? '!' : ''}${f.masquerade ? '~' : ''}`;
    });
    const targets = rule.routable.map((e) => `${e.address}${e.local ? '*' : ''}`);
    const tunnel = rule.tunnelled > 0 ? [`${rule.tunnelled}@${rule.listener?.address}:${rule.listener?.port}`] : [];
    return `${fronts.join(' ')} -> ${[...targets, ...tunnel].join(' ') || rule.whenEmpty} (${rule.pick.kind})`;
  });
}

interface Case {
  readonly what: string;
  readonly endpoints: readonly Endpoint[];
  readonly service?: Partial<Service>;
  readonly context?: Partial<PlanContext>;
  readonly expected: readonly string[];
}
const affinity = { type: 'ClientIP', timeoutSeconds: 60 } as const;
const outside = {
  type: 'LoadBalancer',
  externalIPs: ['5.5.5.5'],
  ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }],
  loadBalancerIngress: [
    { ip: '6.6.6.6', ipMode: 'VIP' },
    { ip: '7.7.7.7', ipMode: 'Proxy' },
  ],
  loadBalancerSourceRanges: ['9.0.0.0/8', 'fd00::/8'],
} as const;

const cases: readonly Case[] = [
  {
    what: 'local and routable endpoints go to the kernel',
    endpoints: [near, wired],
    expected: ['10.96.0.1 -> 10.244.1.5* 10.244.2.5 (random)'],
  },
  {
    what: 'the tunnel gets its share',
    endpoints: [near, far, farther],
    expected: ['10.96.0.1 -> 10.244.1.5* 2@169.254.96.16:30001 (random)'],
  },
  {
    what: 'all remote goes to the listener',
    endpoints: [far, farther],
    expected: ['10.96.0.1 -> 2@169.254.96.16:30001 (random)'],
  },
  { what: 'no endpoints are refused', endpoints: [], expected: ['10.96.0.1 -> reject (random)'] },
  {
    what: 'an endpoint that is not ready is none',
    endpoints: [{ ...near, ready: false, serving: false }],
    expected: ['10.96.0.1 -> reject (random)'],
  },
  {
    what: 'affinity is kept',
    endpoints: [near],
    service: { sessionAffinity: affinity },
    expected: ['10.96.0.1 -> 10.244.1.5* (clientIP)'],
  },
  {
    what: 'round robin is kept',
    endpoints: [near],
    context: { pickOf: () => 'roundRobin' },
    expected: ['10.96.0.1 -> 10.244.1.5* (roundRobin)'],
  },
  {
    what: 'affinity wins over round robin',
    endpoints: [near],
    service: { sessionAffinity: affinity },
    context: { pickOf: () => 'roundRobin' },
    expected: ['10.96.0.1 -> 10.244.1.5* (clientIP)'],
  },
  {
    what: 'what the kernel cannot choose goes to the listener',
    endpoints: [near, far],
    context: { pickOf: () => 'listener' },
    expected: ['10.96.0.1 -> 1@169.254.96.16:30001 (random)'],
  },
  {
    what: 'and is refused all the same when there is nothing',
    endpoints: [],
    context: { pickOf: () => 'listener' },
    expected: ['10.96.0.1 -> reject (random)'],
  },
  {
    what: 'without a listener the routable ones serve',
    endpoints: [near, far],
    context: { listenPortOf: () => undefined },
    expected: ['10.96.0.1 -> 10.244.1.5* (random)'],
  },
  {
    what: 'without a listener a remote Service is left to others',
    endpoints: [far],
    context: { listenPortOf: () => undefined },
    expected: [],
  },
  {
    what: 'what the kernel can do alone is left to others, where rules are for the agent only',
    endpoints: [near, wired],
    context: { onlyWhereNeeded: true },
    expected: [],
  },
  {
    what: 'what needs the agent is not',
    endpoints: [near, far],
    context: { onlyWhereNeeded: true },
    expected: ['10.96.0.1 -> 10.244.1.5* 1@169.254.96.16:30001 (random)'],
  },
  {
    what: 'a listener of one family serves that family',
    endpoints: [far],
    service: { clusterIPs: ['10.96.0.1', 'fd00::1'] },
    context: {
      bridgeIPv6: 'fd96::16',
      listenPortOf: (_id, _name, _protocol, family) => (family === 6 ? 30_006 : undefined),
    },
    expected: ['fd00::1 -> reject (random)'],
  },
  { what: 'filtered Services are left to others', endpoints: [near], context: { filter: () => false }, expected: [] },
  {
    what: 'headless Services have no rules',
    endpoints: [near],
    service: { headless: true, clusterIPs: [] },
    expected: [],
  },
  {
    what: 'ExternalName Services have no rules',
    endpoints: [],
    service: { type: 'ExternalName', clusterIPs: [] },
    expected: [],
  },
  {
    what: 'SCTP is left alone',
    endpoints: [near],
    service: { ports: [{ name: 'http', protocol: 'SCTP', port: 80 }] },
    expected: [],
  },
  {
    what: 'host names need the agent',
    endpoints: [{ ...near, address: 'db.example.com' }],
    expected: ['10.96.0.1 -> 1@169.254.96.16:30001 (random)'],
  },
  {
    what: 'each family has its endpoints',
    endpoints: [near, six],
    service: { clusterIPs: ['10.96.0.1', 'fd96::1'] },
    expected: ['10.96.0.1 -> 10.244.1.5* (random)', 'fd96::1 -> fd00::5* (random)'],
  },
  {
    what: 'endpoints of a family that the Service lacks need the agent',
    endpoints: [near, six],
    expected: ['10.96.0.1 -> 10.244.1.5* 1@169.254.96.16:30001 (random)'],
  },
  {
    what: 'IPv6 without an IPv6 listener has routable endpoints only',
    endpoints: [six, { ...far, address: 'fd00::9' }],
    service: { clusterIPs: ['fd96::1'] },
    expected: ['fd96::1 -> fd00::5* (random)'],
  },
  {
    what: 'internal policy Local keeps to this node',
    endpoints: [near, wired],
    service: { internalTrafficPolicy: 'Local' },
    expected: ['10.96.0.1 -> 10.244.1.5* (random)'],
  },
  {
    what: 'internal policy Local drops when others have endpoints',
    endpoints: [wired],
    service: { internalTrafficPolicy: 'Local' },
    expected: ['10.96.0.1 -> drop (random)'],
  },
  {
    what: 'internal policy Local refuses when nobody has',
    endpoints: [],
    service: { internalTrafficPolicy: 'Local' },
    expected: ['10.96.0.1 -> reject (random)'],
  },
  {
    what: 'external addresses share the rule and are masqueraded',
    endpoints: [near, far],
    service: outside,
    expected: ['10.96.0.1 5.5.5.5~ 6.6.6.6[9.0.0.0/8]~ np30080~ -> 10.244.1.5* 1@169.254.96.16:30001 (random)'],
  },
  {
    what: 'external policy Local gives outsiders the endpoints of this node',
    endpoints: [near, wired],
    service: { ...outside, externalTrafficPolicy: 'Local' },
    expected: [
      '10.96.0.1 -> 10.244.1.5* 10.244.2.5 (random)',
      '5.5.5.5 6.6.6.6[9.0.0.0/8] np30080 -> 10.244.1.5* 10.244.2.5 (random)',
      '5.5.5.5! 6.6.6.6[9.0.0.0/8]! np30080! -> 10.244.1.5* (random)',
    ],
  },
];

describe('the plan of kernel rules', () => {
  it.each(cases)('$what', ({ endpoints, service: traits, context: how, expected }) => {
    expect(summary(rulesOf(endpoints, traits, how))).toEqual(expected);
  });

  it('writes addresses in canonical form, each once', () => {
    const external = { externalIPs: ['2001:DB8:0::1', '2001:db8::1'], clusterIPs: ['FD96:0::1'] };
    expect(summary(rulesOf([six], external))).toEqual(['fd96::1 2001:db8::1~ -> fd00::5* (random)']);
  });

  it('drops outsiders of policy Local where this node has no endpoint', () => {
    const rules = rulesOf([wired], { ...outside, externalTrafficPolicy: 'Local' });
    expect(rules.find((rule) => rule.key.endsWith(':local'))).toMatchObject({
      routable: [],
      tunnelled: 0,
      whenEmpty: 'drop',
    });
  });

  it('masquerades ClusterIPs where asked to', () => {
    expect(summary(rulesOf([near], {}, { masqueradeAll: true }))).toEqual(['10.96.0.1~ -> 10.244.1.5* (random)']);
  });

  it('carries exclusions and the pod ranges of this node', () => {
    const exclusions = [{ kind: 'range', cidr: '10.0.0.1/32' }] as const;
    expect(planRules(catalog([]), context({ exclusions }))).toEqual({
      rules: [],
      exclusions,
      internalSources: ['10.244.1.0/24'],
    });
  });

  it('does not depend on the order of events and reuses what did not change', () => {
    const a = service({ id: 'a/a', clusterIPs: ['10.96.0.2'] });
    const b = service({ id: 'b/b', clusterIPs: ['10.96.0.3'] });
    const endpoints = [near];
    const planner = createRulePlanner(context());
    const first = planner.plan(catalog(endpoints, a, b));
    const second = planner.plan(catalog(endpoints, { ...b }, a));
    expect(second).toEqual(first);
    expect(second.rules[0]).toBe(first.rules[0]);
    expect(second.rules[1]).not.toBe(first.rules[1]);
  });

  it('comes to the same plan whatever was planned before', () => {
    const ids = ['a/a', 'b/b', 'c/c', 'd/d'] as const;
    const services = ids.flatMap((id, i) => [1, 2].map((n) => service({ id, clusterIPs: [`10.96.${n}.${i}`] })));
    const lists = [[near], [far], [near, far], []];
    const step = fc.record({
      present: fc.subarray(services),
      list: fc.constantFrom(...lists),
      port: fc.constantFrom(1, 2),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        let port = 1;
        const how = context({ listenPortOf: () => port });
        const planner = createRulePlanner(how);
        for (const { present, list, ...at } of steps) {
          if (at.port !== port) for (const id of ids) planner.forget(id);
          port = at.port;
          const now = catalog(list, ...present);
          expect(planner.plan(now)).toEqual(planRules(now, how));
        }
      }),
    );
  });

  it('gives every eligible endpoint its share, whatever the mix', () => {
    const arbitrary = fc.record({
      node: fc.constantFrom('me', 'wired', 'far', undefined),
      host: fc.integer({ min: 1, max: 250 }),
      ready: fc.boolean(),
      v6: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(arbitrary, { maxLength: 30 }), fc.boolean(), fc.boolean(), (list, dual, local) => {
        const endpoints = list.map(({ node, host, ready, v6 }) => {
          const { nodeName: _, ...rest } = makeEndpoint(v6 ? `fd00::${host.toString(16)}` : `10.244.0.${host}`);
          return { ...rest, ready, serving: ready, ...(node === undefined ? {} : { nodeName: node }) };
        });
        const traits = {
          clusterIPs: dual ? ['10.96.0.1', 'fd96::1'] : ['10.96.0.1'],
          internalTrafficPolicy: local ? 'Local' : 'Cluster',
        } as const;
        const how = context({ bridgeIPv6: 'fd00:96::16' });
        const rules = planRules(catalog(endpoints, service(traits)), how).rules;
        const eligible = how.eligible(service(traits), endpoints, service().ports[0]!);
        const shares = rules.reduce((sum, rule) => sum + rule.routable.length + rule.tunnelled, 0);
        // No endpoint is lost, none counts twice, and each is served by the side that can reach it.
        expect(shares).toBe(eligible.length);
        const routable = rules.flatMap((rule) => rule.routable.map((e) => e.address)).sort();
        const reachable = eligible.filter((e) => how.isRoutable(e) && (dual || !e.address.includes(':')));
        expect(routable).toEqual(reachable.map((e) => e.address).sort());
        for (const rule of rules) {
          for (const target of rule.routable) expect(target.address.includes(':')).toBe(rule.family === 6);
          expect(rule.listener !== undefined).toBe(rule.tunnelled > 0);
        }
      }),
    );
  });

  it('takes turns in small clusters, and chooses at random in large ones', () => {
    const planner = createRulePlanner(context({ pickOf: () => 'roundRobin' }));
    const one = catalog([near, far], service());
    const many = Array.from({ length: MAX_ROUND_ROBIN_SERVICES + 1 }, (_, i) => service({ id: `shop/s${i}` }));
    const kinds = (of: Catalog) => new Set(planner.plan(of).rules.map(({ pick }) => pick.kind));
    expect(kinds(one)).toEqual(new Set(['roundRobin']));
    expect(kinds(catalog([near, far], service(), ...many))).toEqual(new Set(['random']));
    expect(kinds(catalog([near, far], service(), ...many.slice(50)))).toEqual(new Set(['random']));
    expect(kinds(one)).toEqual(new Set(['roundRobin']));
  });
});
