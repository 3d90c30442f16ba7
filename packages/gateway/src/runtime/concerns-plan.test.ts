import { type CatalogChange, type GroupKind, groupKind, serviceId } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { compiledFrom, concernsPlan } from './concerns-plan.ts';

const GATEWAY_API = 'gateway.networking.k8s.io/v1';
const object = (apiVersion: string, kind: string, more: object = {}) => ({
  apiVersion,
  kind,
  metadata: { name: 'x', namespace: 'default', uid: 'u', generation: 1 },
  spec: { a: 1 },
  ...more,
});
const metadata = (more: object) => ({
  metadata: { name: 'x', namespace: 'default', uid: 'u', generation: 1, ...more },
});
const change = (...kinds: readonly GroupKind[]): CatalogChange => ({
  services: new Set(),
  nodes: new Set(),
  objects: new Set(kinds),
});
const matters = (before: readonly object[], now: readonly object[]) => {
  const kinds = [...before, ...now].map((any) => groupKind(any as { apiVersion: string; kind: string }));
  return concernsPlan(change(...kinds), compiledFrom(catalogOf([], before)), catalogOf([], now));
};

describe('the plan is compiled again', () => {
  it.each<[string, readonly object[], readonly object[]]>([
    ['for a route that comes', [], [object(GATEWAY_API, 'HTTPRoute')]],
    ['for a route that goes', [object(GATEWAY_API, 'HTTPRoute')], []],
    [
      'for a new spec',
      [object(GATEWAY_API, 'HTTPRoute')],
      [object(GATEWAY_API, 'HTTPRoute', metadata({ generation: 2 }))],
    ],
    [
      'for an object made anew',
      [object(GATEWAY_API, 'Gateway')],
      [object(GATEWAY_API, 'Gateway', metadata({ uid: 'v' }))],
    ],
    [
      'for a change that nobody counts',
      [object(GATEWAY_API, 'Gateway', metadata({ generation: undefined }))],
      [object(GATEWAY_API, 'Gateway', metadata({ generation: undefined }))],
    ],
    [
      'for an annotation of an IngressClass',
      [object('networking.k8s.io/v1', 'IngressClass')],
      [object('networking.k8s.io/v1', 'IngressClass', metadata({ annotations: {} }))],
    ],
    [
      'for anything of Istio',
      [object('networking.istio.io/v1', 'Gateway')],
      [object('networking.istio.io/v1', 'Gateway')],
    ],
    ['for a Secret', [object('v1', 'Secret')], [object('v1', 'Secret')]],
    ['for the first Pods, however many', [], ['a', 'b', 'c'].map((name) => object('v1', 'Pod', metadata({ name })))],
  ])('%s', (_, before, now) => {
    expect(matters(before, now)).toBe(true);
  });

  it('for another Service', () => {
    const before = compiledFrom(catalogOf([serviceOf('default/a', 80)]));
    const seen = { ...change(), services: new Set([serviceId('default', 'a')]) };
    expect(concernsPlan(seen, before, catalogOf([serviceOf('default/a', 81)]))).toBe(true);
  });
});

describe('the plan stays', () => {
  const status = { status: { parents: [] } };
  it.each<[string, readonly object[], readonly object[]]>([
    ['for a status of a route', [object(GATEWAY_API, 'HTTPRoute')], [object(GATEWAY_API, 'HTTPRoute', status)]],
    [
      'for a status of an Ingress',
      [object('networking.k8s.io/v1', 'Ingress')],
      [object('networking.k8s.io/v1', 'Ingress', status)],
    ],
    ['for NetworkPolicies', [], [object('networking.k8s.io/v1', 'NetworkPolicy')]],
    ['for one more Pod', [object('v1', 'Pod')], ['a', 'b'].map((name) => object('v1', 'Pod', metadata({ name })))],
  ])('%s', (_, before, now) => {
    expect(matters(before, now)).toBe(false);
  });

  it('for endpoints', () => {
    const service = serviceOf('default/a', 80);
    const seen = { ...change(), services: new Set([serviceId('default', 'a')]) };
    expect(concernsPlan(seen, compiledFrom(catalogOf([service])), catalogOf([service]))).toBe(false);
  });
});
