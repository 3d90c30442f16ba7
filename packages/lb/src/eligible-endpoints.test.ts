import type { Endpoint, NodeInfo } from '@edgemesh/core';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EndpointContext, eligibleEndpoints } from './eligible-endpoints.ts';

type Traits = Parameters<typeof eligibleEndpoints>[0];
const traits = (overrides: Partial<Traits> = {}): Traits => ({
  annotations: {},
  internalTrafficPolicy: 'Cluster',
  publishNotReadyAddresses: false,
  ...overrides,
});
const context: EndpointContext = { nodeName: 'me', zone: 'za' };
const gone = { ready: false, serving: false, terminating: true };
const leaving = { ready: false, serving: true, terminating: true };
const unready = { ready: false, serving: false };
const ep = (name: string, overrides: Partial<Endpoint> = {}) =>
  makeEndpoint(name, { nodeName: 'other', zone: 'zb', ...overrides });

interface Case {
  readonly what: string;
  readonly service?: Partial<Traits>;
  readonly from?: Partial<EndpointContext>;
  readonly endpoints: readonly Endpoint[];
  readonly expected: string;
}

const zoned = [ep('a', { zone: 'za', hintZones: ['za'] }), ep('b', { hintZones: ['zb'] })];
const noded = [ep('a', { hintNodes: ['me'], hintZones: ['za'] }), ep('b', { hintNodes: ['x'], hintZones: ['za'] })];
const plain = [ep('a', { nodeName: 'me', zone: 'za' }), ep('b', { zone: 'za' }), ep('c')];
const cases: readonly Case[] = [
  {
    what: 'ready endpoints only',
    endpoints: [ep('a'), ep('b', unready), ep('c', gone), ep('d', leaving)],
    expected: 'a',
  },
  {
    what: 'those that serve while terminating, when none is ready',
    endpoints: [ep('b', unready), ep('c', gone), ep('d', leaving)],
    expected: 'd',
  },
  { what: 'nothing when nothing serves', endpoints: [ep('b', unready), ep('c', gone)], expected: '' },
  {
    what: 'unready endpoints that are published',
    service: { publishNotReadyAddresses: true },
    endpoints: [ep('a'), ep('b', unready), ep('c', gone)],
    expected: 'a b',
  },
  { what: 'endpoints of the named port only', endpoints: [ep('a'), ep('b', { portName: 'metrics' })], expected: 'a' },
  {
    what: 'endpoints of the protocol only',
    from: { protocol: 'UDP' },
    endpoints: [ep('a'), ep('b', { protocol: 'UDP' })],
    expected: 'b',
  },
  {
    what: 'local endpoints for policy Local',
    service: { internalTrafficPolicy: 'Local' },
    endpoints: [ep('a'), ep('b', { nodeName: 'me' })],
    expected: 'b',
  },
  {
    what: 'local terminating ones for policy Local',
    service: { internalTrafficPolicy: 'Local' },
    endpoints: [ep('a'), ep('b', { nodeName: 'me', ...leaving })],
    expected: 'b',
  },
  {
    what: 'nothing for policy Local without local endpoints',
    service: { internalTrafficPolicy: 'Local' },
    endpoints: [ep('a')],
    expected: '',
  },
  {
    what: 'no hints for policy Local',
    service: { internalTrafficPolicy: 'Local' },
    endpoints: [ep('a', { nodeName: 'me', hintZones: ['zb'] })],
    expected: 'a',
  },
  { what: 'the zone that hints name', endpoints: zoned, expected: 'a' },
  { what: 'everything while one ready endpoint lacks hints', endpoints: [...zoned, ep('c')], expected: 'a b c' },
  { what: 'hints although an unready endpoint lacks them', endpoints: [...zoned, ep('c', unready)], expected: 'a' },
  { what: 'everything when no hint is for our zone', from: { zone: 'zx' }, endpoints: zoned, expected: 'a b' },
  { what: 'node hints before zone hints', endpoints: noded, expected: 'a' },
  { what: 'zone hints when no node hint is for us', from: { nodeName: 'you' }, endpoints: noded, expected: 'a b' },
  {
    what: 'our node for PreferSameNode without hints',
    service: { trafficDistribution: 'PreferSameNode' },
    endpoints: plain,
    expected: 'a',
  },
  {
    what: 'our zone for PreferSameNode when our node has none',
    service: { trafficDistribution: 'PreferSameNode' },
    endpoints: plain.slice(1),
    expected: 'b',
  },
  {
    what: 'our zone for PreferSameZone',
    service: { trafficDistribution: 'PreferSameZone' },
    endpoints: plain,
    expected: 'a b',
  },
  {
    what: 'our zone for PreferClose',
    service: { trafficDistribution: 'PreferClose' },
    endpoints: plain,
    expected: 'a b',
  },
  {
    what: 'everything for a wish nobody knows',
    service: { trafficDistribution: 'Fastest' },
    endpoints: plain,
    expected: 'a b c',
  },
  {
    what: 'hints before the wish',
    service: { trafficDistribution: 'PreferSameZone' },
    endpoints: [ep('a', { zone: 'za', hintZones: ['zb'] }), ep('b', { hintZones: ['za'] })],
    expected: 'b',
  },
  {
    what: 'everything for a zone without endpoints',
    service: { trafficDistribution: 'PreferSameZone' },
    from: { zone: 'zx' },
    endpoints: plain,
    expected: 'a b c',
  },
];

describe('eligibleEndpoints', () => {
  it.each(cases)('chooses $what', ({ service, from, endpoints, expected }) => {
    const chosen = eligibleEndpoints(traits(service), endpoints, 'http', { ...context, ...from });
    expect(chosen.map((e) => e.address).join(' ')).toBe(expected);
  });

  it('stays within the node group where the Service asks for it', () => {
    const node = (name: string, group?: string): [string, NodeInfo] => [
      name,
      { name, labels: group ? { 'apps.kubeedge.io/belonging-to': group } : {}, internalIPs: [], podCIDRs: [] },
    ];
    const nodes = new Map([node('me', 'east'), node('near', 'east'), node('far', 'west'), node('cloud')]);
    const endpoints = ['me', 'near', 'far', 'cloud', 'unknown'].map((nodeName) => ep(nodeName, { nodeName }));
    const service = traits({ annotations: { 'apps.kubeedge.io/service-topology': 'range-nodegroup' } });
    const from = (nodeName: string) =>
      eligibleEndpoints(service, endpoints, 'http', { nodeName, nodes, nodeLabels: nodes.get(nodeName)?.labels ?? {} })
        .map((e) => e.address)
        .join(' ');
    expect(from('me')).toBe('me near');
    expect(from('far')).toBe('far');
    expect(from('cloud')).toBe('me near far cloud unknown');
  });

  it('always answers with a part of the input, in its order, and with something when something is ready', () => {
    const endpoint = fc.record({
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
      nodeName: fc.constantFrom('me', 'other'),
      zone: fc.constantFrom('za', 'zb'),
      hintZones: fc.option(fc.subarray(['za', 'zb']), { nil: undefined }),
      hintNodes: fc.option(fc.subarray(['me', 'other']), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        fc.array(endpoint, { maxLength: 8 }),
        fc.constantFrom(undefined, 'PreferClose', 'PreferSameNode', 'PreferSameZone'),
        (list, trafficDistribution) => {
          const all = list.map(({ hintZones, hintNodes, ...rest }, i) =>
            ep(`e${i}`, { ...rest, ...(hintZones && { hintZones }), ...(hintNodes && { hintNodes }) }),
          );
          const service = traits(trafficDistribution === undefined ? {} : { trafficDistribution });
          const chosen = eligibleEndpoints(service, all, 'http', context);
          expect(chosen).toEqual(all.filter((e) => chosen.includes(e)));
          if (all.some((e) => e.ready)) expect(chosen.length > 0 && chosen.every((e) => e.ready)).toBe(true);
          else expect(chosen).toEqual(all.filter((e) => e.serving && e.terminating));
        },
      ),
    );
  });
});
