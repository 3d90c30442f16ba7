import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock } from '@edgemesh/testkit';
import { createKubeApi } from '@edgemesh/testkit/kube';
import { describe, expect, it } from 'vitest';
import { createDiscovery } from '../catalog/index.ts';
import { createKubeClient } from './client.ts';
import { createTransports, inClusterConnection } from './connection.ts';
import { createKubernetesSource } from './index.ts';
import { untilStatus } from './test-until.ts';

describe('connections', () => {
  it('of a pod point at the service account', () => {
    expect(inClusterConnection({ host: 'fd00::1', port: '443' })).toEqual({
      server: 'https://[fd00::1]:443',
      caFile: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
      tokenFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    });
  });

  it('with an impossible address or kubeconfig are refused, and the source says why', async () => {
    for (const server of ['', 'ftp://x', '127.0.0.1:6443', 'not a url']) {
      await expect(createTransports({ server })).rejects.toMatchObject({ code: 'config' });
    }
    await expect(createTransports({ kubeconfig: '/nowhere/config' })).rejects.toMatchObject({ code: 'config' });
    const source = createKubernetesSource({ mode: 'apiserver', connection: { kubeconfig: '/nowhere/config' } });
    await using discovery = await createDiscovery({ sources: [source] });
    const status = await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    expect(status.sources[0]?.error).toContain('/nowhere/config');
  });

  it('from a kubeconfig may be plain http, as through kubectl proxy', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'edgemesh-kubeconfig-'));
    const kubeconfig = join(folder, 'config');
    const contexts = ['a', 'b'].map((name) => ({ name, context: { cluster: name, user: 'u' } }));
    const clusters = ['a', 'b'].map((name) => ({ name, cluster: { server: `http://${name}.example:8001/prefix` } }));
    const users = [{ name: 'u', user: { username: 'me', password: 'secret' } }];
    await writeFile(kubeconfig, JSON.stringify({ 'current-context': 'a', contexts, clusters, users }));
    using transports = await createTransports({ kubeconfig, context: 'b' });
    const { base, headers } = await transports.get();
    expect(base.href).toBe('http://b.example:8001/prefix');
    expect(headers.authorization).toBe(`Basic ${Buffer.from('me:secret').toString('base64')}`);
    await rm(folder, { recursive: true });
  });
});

describe('the client', () => {
  async function setup() {
    const api = await createKubeApi();
    const clock = createFakeClock();
    const transports = await createTransports({ server: api.url });
    const client = createKubeClient({ transports, requestTimeoutMs: 20_000, clock });
    return { api, clock, client };
  }
  const query = new URLSearchParams();
  const never = new AbortController().signal;

  it('gives up after its time, and says that it was time', async () => {
    const { api, clock, client } = await setup();
    await using _ = api;
    api.faults.hang();
    const list = expect(client.list('/api/v1/nodes', query, never)).rejects.toMatchObject({ code: 'api-timeout' });
    await expect.poll(() => api.requests.length).toBe(1);
    clock.advance(20_000);
    await list;
  });

  it('gives up when told to', async () => {
    const { api, client } = await setup();
    await using _ = api;
    api.faults.hang();
    const stop = new AbortController();
    const list = expect(client.list('/api/v1/nodes', query, stop.signal)).rejects.toMatchObject({ code: 'aborted' });
    await expect.poll(() => api.requests.length).toBe(1);
    stop.abort();
    await list;
    await expect(client.list('/api/v1/nodes', query, stop.signal)).rejects.toMatchObject({ code: 'aborted' });
  });

  it('names refusals, statuses and nonsense by their codes', async () => {
    const { api, client } = await setup();
    await using _ = api;
    const list = (path: string) => client.list(path, query, never);
    await expect(list('/api/v1/nothing')).rejects.toMatchObject({ code: 'api-status', status: 404 });
    await expect(list('/version')).rejects.toMatchObject({ code: 'api-protocol' });
    api.faults.fail(429, { retryAfterSeconds: 7 });
    await expect(list('/api/v1/nodes')).rejects.toMatchObject({ status: 429, retryAfterMs: 7_000 });
    await api.refuseConnections();
    await expect(list('/api/v1/nodes')).rejects.toMatchObject({ code: 'api-unreachable', retryable: true });
  });
});
