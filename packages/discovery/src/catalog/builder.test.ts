import type { Catalog, KubeObject } from '@edgemesh/core';
import { noMetrics, silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDiscoveryMetrics } from '../metrics.ts';
import { createPublisher } from './publisher.ts';
import { createStore } from './store.ts';
import { endpoints, gateway, node, service, slice } from './test-objects.ts';

function setup() {
  const clock = createFakeClock();
  const store = createStore({
    sources: [{ name: 'a' }],
    now: () => 0,
    onChange: (kind, key) => publisher.touch(kind, key),
    onProblem: (problem) => {
      throw problem;
    },
  });
  const metrics = createDiscoveryMetrics(noMetrics);
  const publisher = createPublisher({ winner: store.winner, windowMs: 0, clock, log: silentLogger, metrics });
  const put = (...objects: KubeObject[]) => {
    for (const object of objects) store.upsert('a', object);
    publisher.flush();
  };
  const drop = (kind: string, name: string) => {
    store.remove('a', { kind, namespace: 'shop', name });
    publisher.flush();
  };
  const addresses = () => publisher.current.endpoints.get('shop/web')?.map(({ address }) => address);
  return { store, publisher, put, drop, addresses };
}

/** A catalog without its revision, as plain data in canonical order. */
function plain({ services, endpoints, nodes, objects }: Catalog) {
  const sorted = (map: ReadonlyMap<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    services: sorted(services),
    endpoints: sorted(endpoints),
    nodes: sorted(nodes),
    objects: sorted(objects).map(([kind, map]) => [kind, sorted(map as ReadonlyMap<string, unknown>)]),
  };
}

describe('the catalog', () => {
  it('merges the slices of a Service and prefers them to Endpoints', () => {
    const { put, drop, addresses } = setup();
    put(service('web'), endpoints('web', ['10.0.0.9']));
    expect(addresses()).toEqual(['10.0.0.9']);
    put(slice('web-b', 'web', ['10.0.0.2']), slice('web-a', 'web', ['10.0.0.3', '10.0.0.2']));
    expect(addresses()).toEqual(['10.0.0.2', '10.0.0.3']);
    drop('EndpointSlice.discovery.k8s.io', 'web-a');
    expect(addresses()).toEqual(['10.0.0.2']);
    drop('EndpointSlice.discovery.k8s.io', 'web-b');
    expect(addresses()).toEqual(['10.0.0.9']);
  });

  it('moves a slice whose label names another Service', () => {
    const { put, publisher } = setup();
    put(service('web'), service('db'), slice('s', 'web', ['10.0.0.2']));
    put(slice('s', 'db', ['10.0.0.2']));
    expect(publisher.current.endpoints.get('shop/web')).toEqual([]);
    expect(publisher.current.endpoints.get('shop/db')).toHaveLength(1);
  });

  it('has endpoints for existing Services only, whichever came first', () => {
    const { put, drop, publisher, addresses } = setup();
    put(slice('s', 'web', ['10.0.0.2']));
    expect(publisher.current.endpoints.size).toBe(0);
    put(service('web'));
    expect(addresses()).toEqual(['10.0.0.2']);
    drop('Service', 'web');
    expect(publisher.current.endpoints.size).toBe(0);
    expect(publisher.current.services.size).toBe(0);
  });

  it('tells what changed and keeps the identity of what did not', () => {
    const { put, publisher } = setup();
    put(service('web'), service('db'), node('n1', '192.168.0.1'), gateway('g'));
    const before = publisher.current;
    const seen: unknown[] = [];
    publisher.subscribe((catalog, change) => seen.push([catalog.revision, change]));
    put(slice('s', 'web', ['10.0.0.2']));
    expect(seen).toEqual([
      [before.revision + 1, { services: new Set(['shop/web']), nodes: new Set(), objects: new Set() }],
    ]);
    expect(publisher.current.services.get('shop/web')).toBe(before.services.get('shop/web'));
    expect(publisher.current.services).toBe(before.services);
    expect(publisher.current.nodes).toBe(before.nodes);
    expect(publisher.current.objects).toBe(before.objects);
    expect(before.endpoints.get('shop/web')).toEqual([]);
  });

  it('is not published again for changes that readers cannot see', () => {
    const { put, publisher } = setup();
    put(service('web', {}, { resourceVersion: '1' }), node('n1', '192.168.0.1', { resourceVersion: '1' }));
    const before = publisher.current;
    put(service('web', {}, { resourceVersion: '2' }), node('n1', '192.168.0.1', { resourceVersion: '2' }));
    expect(publisher.current).toBe(before);
  });

  it('keeps other kinds raw, under their kind and key, until the last is gone', () => {
    const { put, store, publisher } = setup();
    put(gateway('g'));
    expect(publisher.current.objects.get('Gateway.networking.istio.io')?.get('shop/g')?.spec).toEqual({});
    store.remove('a', { kind: 'Gateway.networking.istio.io', namespace: 'shop', name: 'g' });
    publisher.flush();
    expect(publisher.current.objects.size).toBe(0);
  });

  it('collects changes for one window and survives a subscriber that throws', () => {
    const clock = createFakeClock();
    const store = createStore({
      sources: [{ name: 'a' }],
      now: () => 0,
      onChange: (kind, key) => publisher.touch(kind, key),
      onProblem: () => undefined,
    });
    const metrics = createDiscoveryMetrics(noMetrics);
    const publisher = createPublisher({ winner: store.winner, windowMs: 10, clock, log: silentLogger, metrics });
    publisher.subscribe(() => {
      throw new Error('broken');
    });
    const revisions: number[] = [];
    const unsubscribe = publisher.subscribe((catalog) => revisions.push(catalog.revision));
    store.upsert('a', service('a'));
    clock.advance(9);
    store.upsert('a', service('b'));
    expect(revisions).toEqual([]);
    clock.advance(1);
    expect(revisions).toEqual([1]);
    expect(publisher.current.services.size).toBe(2);
    unsubscribe();
    store.upsert('a', service('c'));
    clock.advance(10);
    expect(revisions).toEqual([1]);
  });
});

describe('convergence', () => {
  const versions = (make: (rv: number) => KubeObject) => [1, 2, 3].map(make);
  const rv = (n: number, i: number) => ({ resourceVersion: String(n * 10 + i), uid: `u${i}` });
  const pool: readonly KubeObject[] = [
    ...versions((n) => service('web', { ports: [{ port: n }] }, rv(n, 0))),
    ...versions((n) => service('db', { clusterIP: n === 2 ? 'None' : '10.96.0.2' }, rv(n, 1))),
    ...versions((n) => slice('s1', n === 2 ? 'db' : 'web', [`10.0.0.${n}`], rv(n, 2))),
    ...versions((n) => slice('s2', 'web', ['10.0.0.1', `10.0.1.${n}`], rv(n, 3))),
    ...versions((n) => endpoints('db', [`10.0.2.${n}`], rv(n, 4))),
    ...versions((n) => node('n1', `192.168.0.${n}`, rv(n, 5))),
    ...versions((n) => gateway('g', { ...rv(n, 6), labels: { n: String(n) } })),
  ];
  const deletions = [
    { kind: 'Service', namespace: 'shop', name: 'db', resourceVersion: '25' },
    { kind: 'EndpointSlice.discovery.k8s.io', namespace: 'shop', name: 's1', resourceVersion: '99' },
    { kind: 'Node', name: 'n1', resourceVersion: '35' },
  ];
  type Event = { put: KubeObject } | { remove: (typeof deletions)[number] };
  const events: readonly Event[] = [...pool.map((put) => ({ put })), ...deletions.map((remove) => ({ remove }))];

  function apply(order: readonly Event[], flushEvery: number) {
    const { store, publisher } = setup();
    for (const [i, event] of order.entries()) {
      if ('put' in event) store.upsert('a', event.put);
      else store.remove('a', event.remove);
      if (i % flushEvery === 0) publisher.flush();
    }
    publisher.flush();
    return plain(publisher.current);
  }

  it('all orders of the same events, deletions included, end in the same catalog', () => {
    const expected = apply(events, events.length);
    expect(expected.services).toHaveLength(2);
    const order = fc.shuffledSubarray([...events], { minLength: events.length, maxLength: events.length });
    fc.assert(
      fc.property(order, fc.integer({ min: 1, max: 8 }), (shuffled, flushEvery) => {
        expect(apply(shuffled, flushEvery)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('a list after any history equals the list alone', () => {
    const kinds = ['Service', 'EndpointSlice.discovery.k8s.io', 'Endpoints', 'Node'] as const;
    const latest = [
      service('web'),
      slice('s2', 'web', ['10.0.0.7']),
      endpoints('x', ['10.0.0.8']),
      node('n2', '1.2.3.4'),
    ];
    const relist = ({ store, publisher }: ReturnType<typeof setup>) => {
      for (const [i, kind] of kinds.entries())
        store.replace('a', { kind, objects: [latest[i]], authority: 'authoritative' });
      store.retain('a', 'Gateway.networking.istio.io', new Set());
      publisher.flush();
      return plain(publisher.current);
    };
    const alone = relist(setup());
    fc.assert(
      fc.property(fc.shuffledSubarray([...events]), (history) => {
        const after = setup();
        for (const event of history) {
          if ('put' in event) after.store.upsert('a', event.put);
          else after.store.remove('a', event.remove);
        }
        after.publisher.flush();
        expect(relist(after)).toEqual(alone);
      }),
      { numRuns: 100 },
    );
  });
});

describe('10,000 Services with 100,000 endpoints', () => {
  it('one change costs a small part of a rebuild', () => {
    const { store, publisher } = setup();
    const ip = (i: number) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
    const tenOf = (i: number) => Array.from({ length: 10 }, (_, k) => ip(i * 10 + k));
    const start = performance.now();
    for (let i = 0; i < 10_000; i++) {
      store.upsert('a', service(`s${i}`, { clusterIP: ip(i) }));
      store.upsert('a', slice(`s${i}-x`, `s${i}`, tenOf(i)));
    }
    publisher.flush();
    const rebuildMs = performance.now() - start;
    const rounds = 20;
    const changesStart = performance.now();
    for (let i = 0; i < rounds; i++) {
      store.upsert('a', slice(`s${i}-x`, `s${i}`, tenOf(i).slice(1)));
      publisher.flush();
    }
    const changeMs = (performance.now() - changesStart) / rounds;
    expect(publisher.current.endpoints.get('shop/s3')).toHaveLength(9);
    console.info(`rebuild ${rebuildMs.toFixed(0)} ms, one change ${changeMs.toFixed(2)} ms`);
    expect(changeMs * 20).toBeLessThan(rebuildMs);
  });
});
