import type { Endpoint, KubeObject, Service } from '@edgemesh/core';
import { DESTINATION_RULE_KIND } from '@edgemesh/lb';
import { createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import type { PathKind } from '@edgemesh/tunnel';
import { describe, expect, it } from 'vitest';
import { testService } from '../testing/catalog.ts';
import { type BalancingOptions, createBalancing } from './balancing.ts';

const on = (nodeName: string) => makeEndpoint('172.17.0.2', { nodeName });
const ALL = ['me', 'lan', 'relayed', 'unseen'].map(on);
const PATHS: Readonly<Record<string, PathKind>> = { lan: 'lan', relayed: 'relayed' };

function setup(options: Partial<BalancingOptions> = {}, service: Partial<Service> = {}) {
  const view = createTestCatalog();
  const web = testService('web', service);
  view.put(web, ALL);
  const port = web.ports[0] as NonNullable<(typeof web.ports)[0]>;
  const balancing = createBalancing({
    view,
    nodeName: 'me',
    clusterDomain: 'cluster.local',
    servedByKernel: ({ nodeName }) => nodeName === 'me',
    pathTo: (node) => PATHS[node],
    ...options,
  });
  const rule = (loadBalancer: unknown, more: object = {}) =>
    view.objects(DESTINATION_RULE_KIND, {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'web', namespace: 'default' },
      spec: { host: 'web', trafficPolicy: { loadBalancer }, ...more },
    } as KubeObject);
  const nodes = (list: readonly Endpoint[]) => list.map(({ nodeName }) => nodeName).join(' ');
  const picks = (candidates: readonly Endpoint[] = ALL) => {
    const balancer = balancing.createBalancer(web, port);
    return new Set(Array.from({ length: 40 }, () => balancer.pick(candidates, { sourceIp: '10.0.0.9' })?.nodeName));
  };
  return { view, web, port, balancing, rule, nodes, picks };
}

describe('createBalancing', () => {
  it('leaves to the listener what the kernel does not serve, and everything in reserve', () => {
    const { balancing, web, port, nodes } = setup();
    expect(nodes(balancing.eligible(web, ALL, port))).toBe('lan relayed unseen');
    expect(nodes(balancing.eligible(web, ALL.slice(0, 1), port))).toBe('me');
    expect(nodes(balancing.eligibleAll(web, ALL, port))).toBe('me lan relayed unseen');
    expect(nodes(balancing.reserve(web, ALL, port))).toBe('me lan relayed unseen');
  });

  it.each([
    [{ simple: 'ROUND_ROBIN' }, 'roundRobin'],
    [{ simple: 'RANDOM' }, 'random'],
    [{ simple: 'PASSTHROUGH' }, 'random'],
    [{ simple: 'LEAST_REQUEST' }, 'listener'],
    [{ consistentHash: { useSourceIp: true } }, 'listener'],
    [{ consistentHash: { httpHeaderName: 'x-user' } }, 'random'],
    [{ simple: 'NONSENSE' }, 'roundRobin'],
  ])('has the kernel pick for %j: %s', (loadBalancer, expected) => {
    const { balancing, web, port, rule } = setup();
    rule(loadBalancer);
    expect(balancing.kernelPick(web, port)).toBe(expected);
  });

  it('gives the listener all endpoints where it does all the picking', () => {
    const { balancing, web, port, rule, nodes, picks } = setup();
    rule({ consistentHash: { useSourceIp: true } });
    expect(nodes(balancing.eligible(web, ALL, port))).toBe('me lan relayed unseen');
    expect(picks().size).toBe(1);
  });

  it('says what a rule asks for and does not get', () => {
    const { balancing, rule } = setup();
    expect(balancing.conditions()).toEqual({});
    rule({ consistentHash: { httpHeaderName: 'x-user' } }, { subsets: [{ name: 'v1', labels: { v: '1' } }] });
    expect(balancing.conditions()['default/web']).toEqual([
      'DestinationRule default/web, port 80: consistentHash by header x-user needs HTTP requests, this port is forwarded as TCP connections: endpoints are chosen at random',
      'DestinationRule default/web, port 80: subsets are for HTTP routes, connections go to all endpoints',
    ]);
    rule({ simple: 'NONSENSE' });
    expect(balancing.conditions()['default/web']?.[0]).toMatch(/NONSENSE/);
  });

  it('hands policies that look at requests to whoever reads them', () => {
    const { balancing, web, port, rule } = setup({ readsRequests: () => true });
    rule({ consistentHash: { httpHeaderName: 'x-user' } });
    expect([balancing.kernelPick(web, port), balancing.conditions()]).toEqual(['listener', {}]);
  });

  it('prefers near endpoints for Services that ask for it, for all, or for none', () => {
    const asks = { trafficDistribution: 'PreferClose' };
    const far = ALL.slice(1);
    expect(setup().picks(far).size).toBe(3);
    expect(setup({}, asks).picks(far)).toEqual(new Set(['lan']));
    expect(setup({}, asks).picks()).toEqual(new Set(['me']));
    expect(setup({ locality: 'never' }, asks).picks(far).size).toBe(3);
    const always = setup({ locality: 'always' });
    expect(always.picks(far)).toEqual(new Set(['lan']));
    expect(always.nodes(always.balancing.eligibleAll(always.web, ALL, always.port))).toBe('me');
    // No session yet: as good as relayed, so that it is tried at all.
    expect(setup({ locality: 'always' }).picks(far.slice(1))).toEqual(new Set(['relayed', 'unseen']));
  });

  it('leaves a failing endpoint out without any rule', () => {
    const { balancing, web, port } = setup();
    const balancer = balancing.createBalancer(web, port);
    for (let i = 0; i < 5; i++) balancer.report?.(ALL[1] as Endpoint, { kind: 'connect-failure' });
    const seen = new Set(Array.from({ length: 40 }, () => balancer.pick(ALL, {})?.nodeName));
    expect(seen).toEqual(new Set(['me', 'relayed', 'unseen']));
  });
});
