import type { NodeInfo } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lanCandidates, type PlanInput, planNetwork } from './planner.ts';
import { vxlanMac, vxlanPeers } from './vxlan-peers.ts';

const node = (name: string, podCIDRs: string[], internalIPs: string[] = []): NodeInfo => ({
  name,
  labels: {},
  internalIPs,
  podCIDRs,
});

function input(nodes: readonly NodeInfo[], more: Partial<PlanInput> = {}): PlanInput {
  return {
    nodeName: 'me',
    nodes: new Map(nodes.map((one) => [one.name, one])),
    ranges: { cloudCIDR: [], edgeCIDR: [] },
    survey: { subnets: [{ cidr: '192.168.1.0/24', device: 'eth0' }], foreign: new Set() },
    reachable: () => [],
    ...more,
  };
}

const me = node('me', ['10.244.1.0/24', 'fd44:1::/64'], ['192.168.1.1']);

describe('the plan of the pod network', () => {
  it('goes through the tunnel unless a node has proved to be on the LAN, family by family', () => {
    const far = node('far', ['10.244.2.0/24'], ['192.168.1.9']);
    const near = node('near', ['10.244.3.0/24', 'fd44:3::/64'], ['192.168.1.3']);
    const plan = planNetwork(input([me, far, near], { reachable: (name) => (name === 'near' ? ['192.168.1.3'] : []) }));
    expect(plan.own).toEqual(['10.244.1.0/24', 'fd44:1::/64']);
    expect(plan.paths).toEqual([
      { node: 'far', cidr: '10.244.2.0/24', kind: 'tunnel' },
      { node: 'near', cidr: '10.244.3.0/24', kind: 'lan', gateway: '192.168.1.3' },
      { node: 'near', cidr: 'fd44:3::/64', kind: 'tunnel' },
    ]);
    expect([...lanCandidates(input([me, far, near]))]).toEqual([
      ['far', ['192.168.1.9']],
      ['near', ['192.168.1.3']],
    ]);
  });

  it('encapsulates to nodes of the LAN where that is wanted, both families to the one IPv4 address', () => {
    const near = node('near', ['10.244.3.0/24', 'fd44:3::/64'], ['192.168.1.3', 'fd00::3']);
    const far = node('far', ['10.244.2.0/24'], ['192.168.1.9']);
    const reachable = (name: string) => (name === 'near' ? ['fd00::3', '192.168.1.3'] : []);
    const { paths } = planNetwork(input([me, near, far], { lanMode: 'vxlan', reachable }));
    expect(paths).toEqual([
      { node: 'far', cidr: '10.244.2.0/24', kind: 'tunnel' },
      { node: 'near', cidr: '10.244.3.0/24', kind: 'vxlan', gateway: '10.244.3.1', remote: '192.168.1.3' },
      {
        node: 'near',
        cidr: 'fd44:3::/64',
        kind: 'vxlan',
        gateway: expect.stringMatching(/^fe80::.*ff:fe/),
        remote: '192.168.1.3',
      },
    ]);
    expect(vxlanPeers(paths)).toEqual([
      {
        remote: '192.168.1.3',
        mac: vxlanMac('near'),
        gateways: ['10.244.3.1', paths[2] && 'gateway' in paths[2] && paths[2].gateway],
      },
    ]);
  });

  it('does not route directly to an address that is no longer on a subnet of ours', () => {
    const near = node('near', ['10.244.3.0/24']);
    const plan = planNetwork(input([me, near], { reachable: () => ['172.16.0.3'] }));
    expect(plan.paths).toMatchObject([{ kind: 'tunnel' }]);
  });

  it.each([
    ['invalid', node('x', ['nonsense']), {}],
    ['invalid', node('x', ['0.0.0.0/0']), {}],
    ['own', node('x', ['10.244.0.0/16']), {}],
    ['outside', node('x', ['10.9.0.0/24']), { ranges: { cloudCIDR: [], edgeCIDR: ['10.244.0.0/16'] } }],
    ['foreign', node('x', ['10.244.7.0/24']), { survey: { subnets: [], foreign: new Set(['10.244.7.0/24']) } }],
    ['cloud', node('x', ['10.244.7.0/24']), { ranges: { cloudCIDR: ['10.244.0.0/16'], edgeCIDR: [] } }],
  ] as const)('leaves a range out, reason %s', (reason, other, more) => {
    const plan = planNetwork(input([me, other], more));
    expect(plan.paths).toEqual([]);
    expect(plan.skipped).toMatchObject([{ node: 'x', reason }]);
  });

  it('gives a range to one node only, whichever came first', () => {
    const plan = planNetwork(input([node('b', ['10.244.2.0/25']), node('a', ['10.244.2.0/24']), me]));
    expect(plan.paths).toMatchObject([{ node: 'a', cidr: '10.244.2.0/24' }]);
    expect(plan.skipped).toMatchObject([{ node: 'b', reason: 'overlap' }]);
    expect(plan.rangesOf.has('b')).toBe(false);
  });

  it('is the same for every order of nodes, and no two paths overlap', () => {
    const cidr = fc.tuple(fc.nat({ max: 7 }), fc.integer({ min: 22, max: 26 })).map(([n, p]) => `10.244.${n}.0/${p}`);
    const nodes = fc.array(fc.array(cidr, { minLength: 1, maxLength: 2 }), { maxLength: 8 });
    fc.assert(
      fc.property(nodes, fc.nat(), (lists, turn) => {
        const all = [me, ...lists.map((cidrs, i) => node(`n${i}`, cidrs))];
        const turned = [...all.slice(turn % all.length), ...all.slice(0, turn % all.length)];
        const plan = planNetwork(input(all));
        expect(planNetwork(input(turned))).toEqual(plan);
        const spans = [...plan.paths.map((path) => path.cidr), '10.244.1.0/24'].map((text) => {
          const [ip, prefix] = text.split('/') as [string, string];
          const start = ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
          return [start, start + 2 ** (32 - Number(prefix))] as const;
        });
        for (const [i, a] of spans.entries()) {
          for (const b of spans.slice(i + 1)) expect(a[1] <= b[0] || b[1] <= a[0]).toBe(true);
        }
      }),
    );
  });

  it('is made for 5,000 nodes in well under a second', () => {
    const nodes = Array.from({ length: 5_000 }, (_, i) => node(`n${i}`, [`10.${i >> 8}.${i & 255}.0/24`]));
    const started = performance.now();
    expect(planNetwork(input([node('me', ['10.250.1.0/24']), ...nodes])).paths.length).toBe(4_999);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
