import { type Catalog, EMPTY_CATALOG, groupKind, type KubeObject, objectKey } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSelector, selects } from './model.ts';
import { planPolicies } from './planner.ts';
import { createNetworkPolicies } from './policies.ts';
import { renderPolicies } from './render.ts';

interface PodPlan {
  readonly labels?: Record<string, string>;
  readonly ip: string;
  readonly node?: string;
  readonly ports?: object[];
  readonly spec?: object;
  readonly phase?: string;
}

const pod = (
  key: string,
  { labels = {}, ip, node = 'me', ports = [], spec = {}, phase = 'Running' }: PodPlan,
): KubeObject => {
  const [namespace, name] = key.split('/') as [string, string];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels },
    spec: { nodeName: node, containers: [{ ports }], ...spec },
    status: { podIP: ip, podIPs: [{ ip }], phase },
  };
};
const namespace = (name: string, labels = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});
const policy = (key: string, spec: object): KubeObject => {
  const [ns, name] = key.split('/') as [string, string];
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace: ns, name }, spec };
};
function catalogOf(...objects: KubeObject[]): Catalog {
  const kinds = new Map<string, Map<string, KubeObject>>();
  for (const object of objects) {
    const kind = groupKind(object);
    kinds.set(kind, (kinds.get(kind) ?? new Map<string, KubeObject>()).set(objectKey(object.metadata), object));
  }
  return { ...EMPTY_CATALOG, objects: kinds };
}

const web = pod('shop/web', {
  labels: { app: 'web' },
  ip: '10.244.1.2',
  ports: [{ name: 'http', containerPort: 8080 }],
});
const db = pod('data/db', {
  labels: { app: 'db' },
  ip: '10.244.2.3',
  node: 'far',
  ports: [{ name: 'sql', containerPort: 5432 }],
});
const other = pod('shop/other', { labels: { app: 'other' }, ip: '10.244.2.9', node: 'far' });
const world = [web, db, other, namespace('shop', { team: 'a' }), namespace('data', { team: 'b' })];
const plan = (...policies: KubeObject[]) => planPolicies(catalogOf(...world, ...policies), 'me').pods;
const app = (name: string) => ({ matchLabels: { app: name } });

describe('a label selector', () => {
  it.each([
    [{}, true],
    [{ matchLabels: { app: 'web' } }, true],
    [{ matchLabels: { app: 'web', tier: 'x' } }, false],
    [{ matchExpressions: [{ key: 'app', operator: 'In', values: ['a', 'web'] }] }, true],
    [{ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['web'] }] }, false],
    [{ matchExpressions: [{ key: 'gone', operator: 'NotIn', values: ['web'] }] }, true],
    [{ matchExpressions: [{ key: 'app', operator: 'Exists' }] }, true],
    [{ matchExpressions: [{ key: 'app', operator: 'DoesNotExist' }] }, false],
    [{ matchExpressions: [{ key: 'app', operator: 'Like', values: ['web'] }] }, false],
  ])('%j', (selector, expected) => {
    expect(selects(parseSelector(selector), { app: 'web' })).toBe(expected);
  });
});

describe('the plan of policies', () => {
  it('leaves pods open that none selects, and looks only at pods of this node', () => {
    expect(plan()).toEqual([]);
    expect(plan(policy('shop/p', { podSelector: app('other') }))).toEqual([]);
    expect(plan(policy('data/p', { podSelector: {} }))).toEqual([]);
  });

  it('applies to ingress by default, and to egress where there is such a section', () => {
    expect(plan(policy('shop/p', { podSelector: {} }))).toEqual([
      { pod: 'shop/web', ips: ['10.244.1.2'], ingress: [] },
    ]);
    expect(plan(policy('shop/p', { podSelector: {}, egress: [] }))).toMatchObject([{ ingress: [], egress: [] }]);
    const [only] = plan(policy('shop/p', { podSelector: {}, policyTypes: ['Egress'] }));
    expect(only).toEqual({ pod: 'shop/web', ips: ['10.244.1.2'], egress: [] });
  });

  it('finds peers in the namespace of the policy, or in those that the selector names', () => {
    const from = (peer: object) => plan(policy('shop/p', { podSelector: {}, ingress: [{ from: [peer] }] }))[0]?.ingress;
    const block = (...include: string[]) => [{ blocks: [{ include, except: [] }], ports: 'any' }];
    expect(from({ podSelector: app('other') })).toEqual(block('10.244.2.9'));
    expect(from({ podSelector: app('db') })).toEqual([]);
    expect(from({ namespaceSelector: { matchLabels: { team: 'b' } } })).toEqual(block('10.244.2.3'));
    expect(
      from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'data' } }, podSelector: app('db') }),
    ).toEqual(block('10.244.2.3'));
    expect(from({ namespaceSelector: {}, podSelector: app('web') })).toEqual(block('10.244.1.2'));
    expect(from({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } })).toEqual([
      { blocks: [{ include: ['10.0.0.0/8'], except: ['10.1.0.0/16'] }], ports: 'any' },
    ]);
  });

  it('understands ports: numbers, ranges, names on the right pod, whole protocols', () => {
    const rule = (direction: 'ingress' | 'egress', more: object) =>
      plan(
        policy('shop/p', {
          podSelector: {},
          policyTypes: [direction === 'ingress' ? 'Ingress' : 'Egress'],
          [direction]: [more],
        }),
      )[0]?.[direction];
    const tcp = (first: number, last = first) => ({ protocol: 'TCP', first, last });
    expect(rule('ingress', { ports: [{ port: 80 }, { port: 8000, endPort: 8100 }] })).toEqual([
      { blocks: 'any', ports: [tcp(80), tcp(8000, 8100)] },
    ]);
    expect(rule('ingress', { ports: [{ port: 'http' }] })).toEqual([{ blocks: 'any', ports: [tcp(8080)] }]);
    expect(rule('ingress', { ports: [{ port: 'sql' }] })).toEqual([]);
    expect(rule('ingress', { ports: [{ protocol: 'UDP' }] })).toEqual([
      { blocks: 'any', ports: [{ protocol: 'UDP', first: 0, last: 65_535 }] },
    ]);
    expect(rule('ingress', { ports: [{ protocol: 'SCTP', port: 9 }] })).toMatchObject([
      { ports: [{ protocol: 'SCTP' }] },
    ]);
    expect(rule('egress', { to: [{ namespaceSelector: {} }], ports: [{ port: 'sql' }] })).toEqual([
      { blocks: [{ include: ['10.244.2.3'], except: [] }], ports: [tcp(5432)] },
    ]);
    expect(rule('egress', { to: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 'sql' }] })).toEqual([]);
  });

  it('forgets pods that have ended or share the address of their node', () => {
    const ended = pod('shop/job', { ip: '10.244.1.7', phase: 'Succeeded' });
    const host = pod('shop/host', { ip: '192.168.1.1', spec: { hostNetwork: true } });
    const isolated = planPolicies(catalogOf(...world, ended, host, policy('shop/p', { podSelector: {} })), 'me').pods;
    expect(isolated.map((one) => one.pod)).toEqual(['shop/web']);
  });

  it('survives objects of any shape', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (spec, peers) => {
        const odd = policy('shop/odd', { podSelector: {}, ingress: [{ from: peers, ports: peers }], egress: peers });
        const objects = catalogOf(...world, odd, {
          ...web,
          metadata: { name: 'y', namespace: 'shop' },
          spec,
          status: spec,
        } as KubeObject);
        expect(renderPolicies(planPolicies(objects, 'me'), 't')).toContain('table inet t');
      }),
    );
  });
});

describe('the rules', () => {
  it('never hold an address beside a range that contains it, which nft refuses', () => {
    const script = renderPolicies(
      {
        pods: [
          {
            pod: 'a/b',
            ips: ['10.0.0.1', 'fd00::1'],
            ingress: [
              {
                blocks: [{ include: ['10.0.0.0/8'], except: ['10.1.0.0/16', '10.1.2.0/24', '10.1.2.3'] }],
                ports: [
                  { protocol: 'TCP', first: 80, last: 90 },
                  { protocol: 'TCP', first: 85, last: 95 },
                  { protocol: 'UDP', first: 53, last: 53 },
                ],
              },
            ],
          },
        ],
        problems: [],
      },
      't',
    );
    expect(script).toContain('ip saddr { 10.0.0.0/8 } ip saddr != { 10.1.0.0/16 } tcp dport { 80-95 } return');
    expect(script).toContain('ip saddr { 10.0.0.0/8 } ip saddr != { 10.1.0.0/16 } udp dport { 53 } return');
    expect(script).toMatch(/elements = \{ 10\.0\.0\.1 : jump ingress_[0-9a-z]+ \}/);
    expect(script).toMatch(/elements = \{ fd00::1 : jump ingress_/);
  });

  it('are shared by pods that have the same', () => {
    const allows = [{ blocks: 'any' as const, ports: 'any' as const }];
    const pods = [1, 2, 3].map((n) => ({ pod: `a/${n}`, ips: [`10.0.0.${n}`], ingress: allows }));
    expect(renderPolicies({ pods, problems: [] }, 't').match(/chain ingress_/g)).toHaveLength(1);
  });
});

describe('applying policies', () => {
  it('keeps the rules of before when nft refuses, and tries again', async () => {
    const clock = createFakeClock();
    const scripts: string[] = [];
    let code = 1;
    const catalog = catalogOf(...world, policy('shop/p', { podSelector: {} }));
    const policies = await createNetworkPolicies({
      view: { current: catalog, subscribe: () => () => undefined },
      nodeName: 'me',
      clock,
      runner: {
        async run(_command, _args, options) {
          scripts.push(options?.input ?? '');
          return { code, stdout: '', stderr: 'busy' };
        },
      },
    });
    expect(policies.status()).toMatchObject({ isolatedPods: 1, error: expect.stringContaining('busy') });
    code = 0;
    clock.advance(1_000);
    await policies.settled();
    expect(policies.status().error).toBeUndefined();
    await policies[Symbol.asyncDispose]();
    expect(scripts).toHaveLength(3);
    expect(scripts[2]).toBe('table inet edgemesh_policy\ndelete table inet edgemesh_policy\n');
    expect(clock.pendingTimers).toBe(0);
  });
});
