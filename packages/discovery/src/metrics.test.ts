import type { Metrics } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { createKubeApi } from '@edgemesh/testkit/kube';
import { expect, it } from 'vitest';
import { createDiscovery } from './catalog/index.ts';
import { createManualSource, node, service } from './catalog/test-objects.ts';
import { createKubernetesSource, SERVICES } from './kubernetes/index.ts';

/** Keeps `name{labels}` and its value. */
function createRecordingMetrics() {
  const values = new Map<string, number>();
  const metric = ({ name }: { name: string }) => ({
    with: (...labels: readonly string[]) => {
      const key = labels.length > 0 ? `${name}{${labels.join()}}` : name;
      const add = (value = 1) => void values.set(key, (values.get(key) ?? 0) + value);
      return { add, set: (value: number) => void values.set(key, value), observe: () => add() };
    },
  });
  const metrics: Metrics = { counter: metric, gauge: metric, histogram: metric, observe: () => undefined };
  const of = (name: string) => values.get(`edgemesh_discovery_${name}`);
  return { metrics, of };
}

it('counts objects, ages, rejections, second looks and publishes', async () => {
  const { metrics, of } = createRecordingMetrics();
  const clock = createFakeClock();
  const source = createManualSource('a');
  await using _ = await createDiscovery({ sources: [source], clock, metrics });
  const sink = await source.sink;
  sink.replace({ kind: 'Service', objects: [service('a'), service('b')], authority: 'authoritative' });
  sink.replace({ kind: 'Node', objects: [node('n', '10.0.0.1')], authority: 'authoritative' });
  sink.upsert(service('bad', { type: 'Nonsense' }));
  sink.replace({ kind: 'Node', objects: [], authority: 'authoritative' });
  clock.advance(10_000);
  expect(of('objects{Service}')).toBe(2);
  expect(of('objects{Node}')).toBe(1);
  expect(of('source_age_seconds{a}')).toBe(10);
  expect(of('rejected_objects_total{Service}')).toBe(1);
  expect(of('second_looks_total{Node}')).toBe(1);
  expect(of('publishes_total')).toBe(1);
  expect(of('publish_seconds')).toBe(1);
});

it('counts lists and watch restarts with their reasons', async () => {
  const { metrics, of } = createRecordingMetrics();
  await using api = await createKubeApi();
  const connection = { server: api.url };
  const backoff = { initialMs: 1, maxMs: 2 };
  const source = createKubernetesSource({ mode: 'apiserver', connection, resources: [SERVICES], metrics, backoff });
  await using discovery = await createDiscovery({ sources: [source] });
  await discovery.whenSynced();
  await api.watching();
  api.dropWatches();
  await expect.poll(() => of('watch_restarts_total{kubernetes,Service,api-unreachable}')).toBe(1);
  expect(of('relists_total{kubernetes,Service,start}')).toBe(1);
});
