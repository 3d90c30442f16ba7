import { readFile } from 'node:fs/promises';
import type { MetricSpec, Metrics } from '@edgemesh/core';
import { expect, it } from 'vitest';
import { fakeView, service } from '../test/catalog.ts';
import { ask } from '../test/client.ts';
import { createFakeUpstream } from '../test/fake-upstream.ts';
import { createDnsServer } from './index.ts';

/** Metrics that keep their values by `name{labels}`. */
function recordingMetrics() {
  const values = new Map<string, number>();
  const names = new Set<string>();
  const labelled = ({ name }: MetricSpec) => {
    names.add(name);
    return {
      with: (...labels: readonly string[]) => {
        const key = `${name}{${labels.join(',')}}`;
        const add = (value = 1) => void values.set(key, (values.get(key) ?? 0) + value);
        return { add, set: (value: number) => void values.set(key, value), observe: () => add(1) };
      },
    };
  };
  const observe = ({ name }: MetricSpec, read: () => number) => {
    names.add(name);
    values.set(name, read());
  };
  const metrics: Metrics = { counter: labelled, gauge: labelled, histogram: labelled, observe };
  return { metrics, values, names };
}

it('counts queries, answers by source and upstreams', async () => {
  await using upstream = await createFakeUpstream();
  const { metrics, values } = recordingMetrics();
  const view = fakeView({ services: [service('d', 'web', { clusterIPs: ['10.3.0.1'] })] });
  const target = `127.0.0.1:${upstream.port}`;
  await using server = await createDnsServer(
    { listen: [{ address: '127.0.0.1', port: 0 }], upstreams: [target] },
    { view, metrics },
  );
  await ask(server, 'web.d.svc.cluster.local', 'A', { tcp: true });
  await ask(server, 'none.d.svc.cluster.local', 'A');
  await ask(server, 'x.test', 'A');
  await ask(server, 'x.test', 'A');
  expect(Object.fromEntries(values)).toMatchObject({
    'edgemesh_dns_queries_total{udp}': 3,
    'edgemesh_dns_queries_total{tcp}': 1,
    'edgemesh_dns_answers_total{zone,NOERROR}': 1,
    'edgemesh_dns_answers_total{zone,NXDOMAIN}': 1,
    'edgemesh_dns_answers_total{upstream,NOERROR}': 1,
    'edgemesh_dns_answers_total{cache,NOERROR}': 1,
    [`edgemesh_dns_upstream_queries_total{${target},reply}`]: 1,
    [`edgemesh_dns_upstream_up{${target}}`]: 1,
    'edgemesh_dns_listener_up{127.0.0.1,udp}': 1,
  });
});

it('names in its README every metric it has', async () => {
  const { metrics, names } = recordingMetrics();
  await using _server = await createDnsServer(
    { listen: [{ address: '127.0.0.1', port: 0 }] },
    { view: fakeView(), metrics },
  );
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  for (const name of names) {
    expect(readme.includes(name) || readme.includes(`\`${name.replace('edgemesh_dns', '')}\``), name).toBe(true);
  }
});
