import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  builtinKinds,
  createKubeApi,
  createTestCertificate,
  customKind,
  type KubeApi,
  type KubeApiOptions,
} from '@edgemesh/testkit/kube';
import { afterEach, describe, expect, it } from 'vitest';
import { createDiscovery, type Discovery } from '../catalog/index.ts';
import { endpoints, gateway, node, service, slice } from '../catalog/test-objects.ts';
import {
  CORE_RESOURCES,
  createKubernetesSource,
  ISTIO_RESOURCES,
  type KubernetesSourceOptions,
  PODS,
  SERVICES,
} from './index.ts';
import { until, untilStatus } from './test-until.ts';

const stack = { current: new AsyncDisposableStack() };
afterEach(async () => {
  await stack.current.disposeAsync();
  stack.current = new AsyncDisposableStack();
});

const fast = { secondLookMs: 20, missingReprobeMs: 50, backoff: { initialMs: 5, maxMs: 20 }, publishWindowMs: 0 };
const SLICES = 'EndpointSlice.discovery.k8s.io';

async function startApi(options: KubeApiOptions = {}): Promise<KubeApi> {
  return stack.current.use(await createKubeApi(options));
}
async function start(api: KubeApi, options: Partial<KubernetesSourceOptions> = {}, snapshotFile?: string) {
  const source = createKubernetesSource({ mode: 'apiserver', connection: { server: api.url }, ...fast, ...options });
  const discovery: Discovery = await createDiscovery({
    sources: [source],
    publishWindowMs: 0,
    firstPublishMs: 20,
    ...(snapshotFile && { snapshotFile }),
  });
  stack.current.use(discovery);
  return { source, discovery };
}
const names = (discovery: Discovery) => [...discovery.current.services.keys()].sort();

describe('a source on an API server', () => {
  it('reads everything, page by page, and follows changes', async () => {
    const api = await startApi();
    for (const name of ['a', 'b', 'c', 'd', 'e']) api.apply(service(name, { clusterIP: undefined }));
    api.apply(slice('a-1', 'a', ['10.0.0.1']));
    api.apply(node('n1', '192.168.0.1'));
    const { discovery } = await start(api, { pageLimit: 2 });
    await discovery.whenSynced();
    expect(names(discovery)).toEqual(['shop/a', 'shop/b', 'shop/c', 'shop/d', 'shop/e']);
    expect(discovery.current.endpoints.get('shop/a')).toMatchObject([{ address: '10.0.0.1', nodeName: 'edge-1' }]);
    expect(discovery.current.nodes.get('n1')?.internalIPs).toEqual(['192.168.0.1']);
    expect(api.requests.filter(({ path, query }) => path === '/api/v1/services' && query.continue)).toHaveLength(2);

    await api.watching({ resource: 'services' });
    api.apply(service('f', { clusterIP: undefined }));
    await until(discovery, ({ services }) => services.has('shop/f'));
    api.apply(slice('a-1', 'a', ['10.0.0.1', '10.0.0.2']));
    await until(discovery, (catalog) => catalog.endpoints.get('shop/a')?.length === 2);
    api.remove('Service', 'shop', 'a');
    const after = await until(discovery, ({ services }) => !services.has('shop/a'));
    expect(after.endpoints.has('shop/a')).toBe(false);
    expect(discovery.status()).toMatchObject({ source: 'authoritative', synced: true, sources: [{ state: 'live' }] });
  });

  it('resumes a dropped, a cut and an ended watch without listing again', async () => {
    const api = await startApi();
    const { discovery } = await start(api, { resources: [SERVICES] });
    await discovery.whenSynced();
    for (const [i, stop] of [api.dropWatches, api.cutWatches, api.endWatches].entries()) {
      await api.watching({ resource: 'services' });
      stop({ resource: 'services' });
      api.apply(service(`s${i}`, { clusterIP: undefined }));
      await until(discovery, ({ services }) => services.has(`shop/s${i}`));
    }
    const lists = api.requests.filter(({ path, query }) => path === '/api/v1/services' && !query.watch);
    expect(lists).toHaveLength(1);
  });

  it('lists again when its version is gone, and sees what was deleted meanwhile', async () => {
    const api = await startApi();
    api.apply(service('old', { clusterIP: undefined }));
    api.apply(service('web', { clusterIP: undefined }));
    const { discovery } = await start(api, { resources: [SERVICES] });
    await discovery.whenSynced();
    await api.watching({ resource: 'services' });
    await api.refuseConnections();
    api.remove('Service', 'shop', 'old');
    api.apply(service('new', { clusterIP: undefined }));
    api.compact();
    await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    expect(names(discovery)).toEqual(['shop/old', 'shop/web']);
    await api.acceptConnections();
    await until(discovery, ({ services }) => services.has('shop/new'));
    expect(names(discovery)).toEqual(['shop/new', 'shop/web']);
    await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'live');
  });

  it('believes that everything is gone only after a second look', async () => {
    const api = await startApi();
    api.apply(service('web', { clusterIP: undefined }));
    const { discovery } = await start(api, { resources: [SERVICES], secondLookMs: 50 });
    await discovery.whenSynced();
    await api.watching();
    await api.refuseConnections();
    api.remove('Service', 'shop', 'web');
    api.compact();
    api.clearRequests();
    await api.acceptConnections();
    await until(discovery, ({ services }) => services.size === 0);
    const lists = api.requests.filter(({ query, status }) => !query.watch && status === 200);
    expect(lists.length).toBeGreaterThanOrEqual(2);
  });

  it('survives expired continue tokens, server errors and overload', async () => {
    const api = await startApi();
    for (let i = 0; i < 6; i++) api.apply(service(`s${i}`, { clusterIP: undefined }));
    api.faults.fail(500);
    api.faults.fail(503, { retryAfterSeconds: 0 });
    const { discovery } = await start(api, { resources: [SERVICES], pageLimit: 2 });
    await discovery.whenSynced();
    expect(discovery.current.services.size).toBe(6);
  });

  it('finds the version that is served and takes missing resources as empty', async () => {
    const istio = customKind({
      group: 'networking.istio.io',
      versions: ['v1beta1'],
      kind: 'Gateway',
      plural: 'gateways',
    });
    const core = builtinKinds.filter(({ group }) => group !== 'networking.istio.io');
    const api = await startApi({ kinds: [...core, istio] });
    api.apply(gateway('g'));
    const { discovery } = await start(api, { resources: [...CORE_RESOURCES, ...ISTIO_RESOURCES] });
    await discovery.whenSynced();
    expect([...discovery.current.objects.keys()].sort()).toEqual(['Gateway.networking.istio.io']);
    expect(api.requests.some(({ path }) => path.startsWith('/apis/networking.istio.io/v1beta1/gateways'))).toBe(true);
  });

  it('finds a resource that appears later', async () => {
    const api = await startApi();
    api.apply({ ...gateway('g'), kind: 'DestinationRule' });
    // not served at any of its three versions at first
    api.faults.fail(404, { times: 3, match: { resource: 'destinationrules' } });
    const { discovery } = await start(api, { resources: ISTIO_RESOURCES });
    await discovery.whenSynced();
    expect(discovery.current.objects.size).toBe(0);
    await until(discovery, ({ objects }) => objects.get('DestinationRule.networking.istio.io')?.has('shop/g') === true);
  });

  it('reads Endpoints where EndpointSlices are not served', async () => {
    const api = await startApi({ kinds: builtinKinds.filter(({ group }) => group !== 'discovery.k8s.io') });
    api.apply(service('web', { clusterIP: undefined }));
    api.apply(endpoints('web', ['10.0.0.9']));
    const { discovery } = await start(api);
    await discovery.whenSynced();
    expect(discovery.current.endpoints.get('shop/web')).toMatchObject([{ address: '10.0.0.9' }]);
  });

  it('selects by label', async () => {
    const api = await startApi();
    api.apply(service('in', { clusterIP: undefined }, { labels: { app: 'x' } }));
    api.apply(service('out', { clusterIP: undefined }));
    const { discovery } = await start(api, { resources: [{ ...SERVICES, labelSelector: 'app=x' }] });
    await discovery.whenSynced();
    expect(names(discovery)).toEqual(['shop/in']);
  });

  it('follows Secrets by name and forgets those no longer named', async () => {
    const api = await startApi();
    const secret = (name: string) => ({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'shop', name } });
    for (const name of ['tls', 'other', 'private']) api.apply({ ...secret(name), data: { k: 'dg==' } });
    const { source, discovery } = await start(api, { resources: [] });
    await discovery.whenSynced();
    const secrets = () => [...(discovery.current.objects.get('Secret')?.keys() ?? [])].sort();
    source.follow([
      { kind: 'Secret', namespace: 'shop', name: 'tls' },
      { kind: 'Secret', namespace: 'shop', name: 'other' },
    ]);
    await until(discovery, () => secrets().length === 2);
    source.follow([{ kind: 'Secret', namespace: 'shop', name: 'tls' }]);
    await until(discovery, () => secrets().length === 1);
    api.apply({ ...secret('tls'), data: { k: 'bmV3' } });
    await until(discovery, ({ objects }) =>
      JSON.stringify(objects.get('Secret')?.get('shop/tls')?.data).includes('bmV3'),
    );
    expect(
      api.requests.every(({ path, query }) => path === '/api/v1/namespaces/shop/secrets' && query.fieldSelector),
    ).toBe(true);
  });

  it('follows the Pods of a namespace that have not ended, and a ConfigMap', async () => {
    const api = await startApi();
    const pod = (name: string, phase: string, namespace = 'shop') => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace, name, labels: { app: name }, annotations: { long: 'text' } },
      spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 1 }] }] },
      status: { phase, podIP: '10.0.0.1', conditions: [{ type: 'Ready' }] },
    });
    for (const object of [pod('a', 'Running'), pod('done', 'Succeeded'), pod('b', 'Running', 'other')])
      api.apply(object);
    api.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'shop', name: 'ca' }, data: { k: 'v' } });
    const { source, discovery } = await start(api, { resources: [] });
    await discovery.whenSynced();
    const keys = (kind: string) => [...(discovery.current.objects.get(kind)?.keys() ?? [])].sort();
    source.follow([
      { kind: 'Pod', namespace: 'shop' },
      { kind: 'ConfigMap', namespace: 'shop', name: 'ca' },
    ]);
    await until(discovery, () => keys('Pod').length === 1 && keys('ConfigMap').length === 1);
    expect(discovery.current.objects.get('Pod')?.get('shop/a')).toMatchObject({
      metadata: { labels: { app: 'a' } },
      spec: { nodeName: 'n', containers: [{ name: 'c', ports: [{ containerPort: 1 }] }] },
      status: { phase: 'Running', podIP: '10.0.0.1' },
    });
    expect(JSON.stringify(discovery.current.objects.get('Pod')?.get('shop/a'))).not.toMatch(/long|image|Ready/);
    await api.watching({ resource: 'pods' });
    api.apply(pod('a', 'Failed'));
    api.apply(pod('c', 'Pending'));
    await until(discovery, () => keys('Pod').join() === 'shop/c');
    source.follow([{ kind: 'Pod', namespace: 'other' }]);
    await until(discovery, () => keys('Pod').join() === 'other/b' && keys('ConfigMap').length === 0);
  });

  it('follows no Pods where all are read', async () => {
    const api = await startApi();
    const { source, discovery } = await start(api, { resources: [PODS] });
    await discovery.whenSynced();
    source.follow([{ kind: 'Pod', namespace: 'shop' }]);
    await api.watching({ resource: 'pods' });
    expect(api.requests.filter(({ path }) => path.includes('/namespaces/'))).toEqual([]);
  });

  it('reads compressed lists', async () => {
    const api = await startApi({ gzipFromBytes: 1 });
    api.apply(service('web', { clusterIP: undefined }));
    const { discovery } = await start(api, { resources: [SERVICES] });
    await discovery.whenSynced();
    expect(names(discovery)).toEqual(['shop/web']);
  });

  it('sends its token, and reads it again when the file changes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'edgemesh-token-'));
    stack.current.defer(() => rm(folder, { recursive: true }));
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'wrong\n');
    const api = await startApi({ tokens: { good: 'agent' } });
    const { discovery } = await start(api, { resources: [SERVICES], connection: { server: api.url, tokenFile } });
    const status = await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    expect(status.sources[0]?.error).toContain('401');
    await writeFile(tokenFile, 'good-one\n');
    api.access.requireTokens({ 'good-one': 'agent' });
    await discovery.whenSynced();
  });

  it('goes on from its snapshot when the server is away at the start', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'edgemesh-api-'));
    stack.current.defer(() => rm(folder, { recursive: true }));
    const file = join(folder, 'snapshot');
    const api = await startApi();
    api.apply(service('web', { clusterIP: undefined }));
    api.apply(slice('web-1', 'web', ['10.0.0.1']));
    const first = await start(api, {}, file);
    await first.discovery.whenSynced();
    await first.discovery[Symbol.asyncDispose]();
    await api.refuseConnections();
    const { discovery } = await start(api, {}, file);
    expect(discovery.current.endpoints.get('shop/web')).toHaveLength(1);
    await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    api.remove(SLICES, 'shop', 'web-1');
    await api.acceptConnections();
    await until(discovery, (catalog) => catalog.endpoints.get('shop/web')?.length === 0);
  });

  it('stops at once, with nothing left open', async () => {
    const api = await startApi();
    api.faults.hang({ match: { resource: 'nodes' } });
    const { discovery } = await start(api);
    await api.watching({ resource: 'services' });
    await discovery[Symbol.asyncDispose]();
    await expect.poll(() => api.watches.length).toBe(0);
  });
});

describe('TLS', () => {
  async function startTls() {
    const folder = await mkdtemp(join(tmpdir(), 'edgemesh-tls-'));
    stack.current.defer(() => rm(folder, { recursive: true }));
    const { cert, key } = createTestCertificate();
    const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
    await Promise.all([writeFile(files.cert, cert), writeFile(files.key, key)]);
    const api = await startApi({ tls: { key, cert, ca: cert }, tokens: { good: 'agent' } });
    api.apply(service('web', { clusterIP: undefined }));
    return { api, folder, files };
  }

  it('is verified against the CA, with a client certificate and a token', async () => {
    const { api, files } = await startTls();
    const tls = { caFile: files.cert, certFile: files.cert, keyFile: files.key, token: 'good' };
    const { discovery } = await start(api, { resources: [SERVICES], connection: { server: api.url, ...tls } });
    await discovery.whenSynced();
    expect(names(discovery)).toEqual(['shop/web']);
  });

  it('refuses a server it cannot verify', async () => {
    const { api } = await startTls();
    const { discovery } = await start(api, { resources: [SERVICES], connection: { server: api.url, token: 'good' } });
    const status = await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    expect(status.sources[0]?.error).toContain('self-signed');
  });

  it('works from a kubeconfig file', async () => {
    const { api, folder, files } = await startTls();
    const kubeconfig = join(folder, 'config');
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server: api.url, 'certificate-authority': files.cert } }],
      users: [{ name: 'u', user: { token: 'good', 'client-certificate': files.cert, 'client-key': files.key } }],
    };
    await writeFile(kubeconfig, JSON.stringify(config));
    const { discovery } = await start(api, { resources: [SERVICES], connection: { kubeconfig } });
    await discovery.whenSynced();
    expect(names(discovery)).toEqual(['shop/web']);
  });
});
