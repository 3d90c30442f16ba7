import { createRecordingLogger } from '@edgemesh/testkit';
import { createKubeApi, type KubeApi } from '@edgemesh/testkit/kube';
import { afterEach, describe, expect, it } from 'vitest';
import { GATEWAY_API_RESOURCES } from '../resources.ts';
import type { WantedStatus } from './types.ts';
import { createStatusWriter, type StatusWriterOptions } from './writer.ts';

const OURS = 'edgemesh.kubeedge.io/gateway';
let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

async function startApi(): Promise<KubeApi> {
  const api = stack.use(await createKubeApi());
  for (const name of ['one', 'two']) {
    api.apply({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name, namespace: 'shop' },
      spec: { gatewayClassName: 'edgemesh' },
    } as never);
  }
  return api;
}

function start(api: KubeApi, node: string, more: Partial<StatusWriterOptions> = {}) {
  return stack.use(
    createStatusWriter({
      connection: { server: api.url },
      node,
      namespace: 'kubeedge',
      topic: 'gateway',
      controllerName: OURS,
      resources: GATEWAY_API_RESOURCES,
      renewMs: 60,
      lookMs: 60,
      delayMs: 1,
      pauseMs: 1,
      backoff: { initialMs: 20, maxMs: 50 },
      ...more,
    }),
  );
}

/** A status that says who reports. */
const wanted = (name: string, reports: readonly string[], uid?: string): WantedStatus => ({
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'Gateway',
  namespace: 'shop',
  name,
  ...(uid !== undefined && { uid }),
  status: {
    addresses: reports.map((value) => ({ value })),
    conditions: [{ type: 'Accepted', status: 'True', reason: 'Accepted', message: '' }],
  },
});
const publication = (report: string, ...names: readonly string[]) => ({
  report,
  render: (reports: readonly string[]) => names.map((name) => wanted(name, reports)),
});

const statusOf = (api: KubeApi, name: string) =>
  (api.get('Gateway.gateway.networking.k8s.io', 'shop', name) as { status?: Record<string, unknown> } | undefined)
    ?.status;
const addressesOf = (api: KubeApi, name = 'one') =>
  (statusOf(api, name)?.addresses as { value: string }[] | undefined)?.map(({ value }) => value);
const writes = (api: KubeApi, path = '/status') =>
  api.requests.filter((r) => r.method === 'PATCH' && r.path.endsWith(path));

describe('a writer of statuses', () => {
  it('writes through the status subresource, and nothing while nothing changes', async () => {
    const api = await startApi();
    const writer = start(api, 'a');
    writer.publish(publication('192.0.2.1', 'one', 'two'));
    await expect.poll(() => [addressesOf(api, 'one'), addressesOf(api, 'two')]).toEqual([['192.0.2.1'], ['192.0.2.1']]);
    expect(statusOf(api, 'one')?.conditions).toEqual([
      {
        type: 'Accepted',
        status: 'True',
        reason: 'Accepted',
        message: '',
        lastTransitionTime: expect.stringMatching(/^\d{4}-.*\d\dZ$/),
      },
    ]);
    await expect.poll(() => writer.state()).toEqual({ role: 'leader', leader: 'a', nodes: 1, pending: 0 });
    expect(
      writes(api)
        .map(({ path }) => path)
        .sort(),
    ).toEqual([
      '/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/one/status',
      '/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/two/status',
    ]);
    writer.publish(publication('192.0.2.1', 'one', 'two'));
    const renewals = writes(api, '/edgemesh-gateway-a').length;
    await expect.poll(() => writes(api, '/edgemesh-gateway-a').length).toBeGreaterThan(renewals + 1);
    expect(writes(api)).toHaveLength(2);
  });

  it('leaves writing to the first of several nodes, which writes what all of them report', async () => {
    const api = await startApi();
    const writers = ['c', 'a', 'b'].map((node) => start(api, node));
    for (const [i, writer] of writers.entries()) writer.publish(publication(`192.0.2.${i}`, 'one'));
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.0']);
    await expect.poll(() => writers.map((writer) => writer.state().role)).toEqual(['follower', 'leader', 'follower']);
    // the leader leaves: its Lease goes with it, the next one takes over
    await writers[1]?.[Symbol.asyncDispose]();
    expect(api.get('Lease', 'kubeedge', 'edgemesh-gateway-a')).toBeUndefined();
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.2', '192.0.2.0']);
  });

  it('forgets a node whose Lease is not renewed', async () => {
    const api = await startApi();
    api.apply({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: 'edgemesh-gateway-0-dead',
        namespace: 'kubeedge',
        labels: { 'edgemesh.kubeedge.io/reports': 'gateway' },
        annotations: { 'edgemesh.kubeedge.io/report': '192.0.2.99' },
      },
      spec: { holderIdentity: '0-dead', leaseDurationSeconds: 0.3, renewTime: '2026-01-01T00:00:00.000000Z' },
    } as never);
    const writer = start(api, 'a', { forgetMs: 600 });
    writer.publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => writer.state()).toMatchObject({ role: 'follower', leader: '0-dead', nodes: 2 });
    expect(statusOf(api, 'one')).toBeUndefined();
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
    await expect
      .poll(() => api.list('Lease').map(({ metadata }) => metadata.name), { timeout: 5_000 })
      .toEqual(['edgemesh-gateway-a']);
  });

  it('keeps what others write at the same time, by reading again after a conflict', async () => {
    const api = await startApi();
    api.faults.delay(60, { match: { verbs: ['patch'], urlIncludes: '/one/status' }, times: 1 });
    const writer = start(api, 'a');
    writer.publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => writes(api).length).toBeGreaterThan(0);
    const { status: _, ...object } = api.get('Gateway.gateway.networking.k8s.io', 'shop', 'one') as never as Record<
      string,
      unknown
    >;
    api.apply({ ...object, status: { theirs: 1, conditions: [{ type: 'Theirs', status: 'True' }] } } as never);
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
    expect(statusOf(api, 'one')).toMatchObject({ theirs: 1, conditions: [{ type: 'Theirs' }, { type: 'Accepted' }] });
    expect(writes(api).length).toBe(2);
  });

  it('repairs what somebody overwrote, when it looks again', async () => {
    const api = await startApi();
    start(api, 'a', { resyncMs: 100 }).publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
    const object = api.get('Gateway.gateway.networking.k8s.io', 'shop', 'one') as never as Record<string, unknown>;
    api.apply({ ...object, status: { addresses: [] } } as never);
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
  });

  it('says once what it may not do, and does the rest', async () => {
    const api = await startApi();
    const log = createRecordingLogger();
    const allow = api.access.forbid({ verbs: ['patch'], resources: ['gateways/status'] });
    const writer = start(api, 'a', { log });
    writer.publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => writes(api).length).toBeGreaterThan(2);
    expect(writer.state()).toMatchObject({ role: 'leader', pending: 1, problem: expect.stringContaining('403') });
    expect(log.lines.filter(({ message }) => message === 'a status cannot be written')).toHaveLength(1);
    allow();
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
    await expect.poll(() => writer.state().problem).toBeUndefined();
  });

  it('writes nothing without Leases: it cannot know who else writes', async () => {
    const api = await startApi();
    api.access.forbid({ resources: ['leases'] });
    const writer = start(api, 'a');
    writer.publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => writer.state().problem).toContain('403');
    expect(writes(api)).toEqual([]);
  });

  it('does not write to an object that was made anew under the name, nor miss one that is gone', async () => {
    const api = await startApi();
    const writer = start(api, 'a');
    writer.publish({
      report: 'x',
      render: () => [wanted('one', [], 'other-uid'), wanted('gone', []), wanted('two', ['y'])],
    });
    await expect.poll(() => addressesOf(api, 'two')).toEqual(['y']);
    expect(statusOf(api, 'one')).toBeUndefined();
    await expect.poll(() => writer.state().pending).toBe(0);
  });

  it('asks nothing of the API while there is nothing to say', async () => {
    const api = await startApi();
    const writer = start(api, 'a');
    writer.publish(undefined);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(api.requests).toEqual([]);
    writer.publish(publication('192.0.2.1', 'one'));
    await expect.poll(() => addressesOf(api)).toEqual(['192.0.2.1']);
    writer.publish(undefined);
    await expect.poll(() => api.get('Lease', 'kubeedge', 'edgemesh-gateway-a')).toBeUndefined();
    expect(writer.state()).toEqual({ role: 'idle', nodes: 0, pending: 0 });
  });
});
