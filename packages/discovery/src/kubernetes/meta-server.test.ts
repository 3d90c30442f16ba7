import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  builtinKinds,
  createKubeApi,
  createMetaServer,
  type KubeApi,
  type KubeApiOptions,
  type MetaServer,
} from '@edgemesh/testkit/kube';
import { afterEach, describe, expect, it } from 'vitest';
import { createDiscovery, type Discovery } from '../catalog/index.ts';
import { endpoints, gateway, node, service } from '../catalog/test-objects.ts';
import {
  CORE_RESOURCES,
  createKubernetesSource,
  GATEWAY_API_RESOURCES,
  ISTIO_RESOURCES,
  type KubernetesSourceOptions,
} from './index.ts';
import { eventually, until, untilStatus } from './test-until.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** The fake's times and ours, shrunk by about the same factor. */
const edgeTimes = {
  stallMs: 30,
  noticeMs: 5,
  backoffMs: 10,
  cloudcoreStartMs: 10,
  edgecoreStartMs: 5,
  flushMs: 5,
  syncLoopMs: 10,
};
const fast = {
  metaRelistMs: { min: 40, max: 80 },
  probeMs: { min: 10, max: 20 },
  secondLookMs: 20,
  missingReprobeMs: 100,
  backoff: { initialMs: 5, maxMs: 20 },
};

async function startEdge(options: KubeApiOptions = {}): Promise<{ cloud: KubeApi; meta: MetaServer }> {
  const cloud = stack.use(await createKubeApi(options));
  const meta = stack.use(await createMetaServer({ ...edgeTimes, cloud }));
  return { cloud, meta };
}
async function start(
  meta: MetaServer,
  options: Partial<KubernetesSourceOptions> = {},
  snapshotFile?: string,
): Promise<Discovery> {
  const source = createKubernetesSource({ mode: 'metaserver', connection: { server: meta.url }, ...fast, ...options });
  return stack.use(
    await createDiscovery({
      sources: [source],
      publishWindowMs: 0,
      firstPublishMs: 20,
      ...(snapshotFile && { snapshotFile }),
    }),
  );
}
async function snapshotPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'edgemesh-meta-'));
  stack.defer(() => rm(folder, { recursive: true }));
  return join(folder, 'snapshot');
}
const put = (cloud: KubeApi, name: string) => cloud.apply(service(name, { clusterIP: undefined }));
const names = (discovery: Discovery) => [...discovery.current.services.keys()].sort();
const offline = (discovery: Discovery) => untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
const watchesOf = (meta: MetaServer) => meta.requests.filter(({ query }) => query.watch);
const listsOf = (meta: MetaServer) => meta.requests.filter(({ query }) => !query.watch);

describe('a source on a metaServer', () => {
  it('reads Services with v1 Endpoints and never asks for EndpointSlices (rule 9)', async () => {
    const { cloud, meta } = await startEdge();
    put(cloud, 'web');
    cloud.apply(endpoints('web', ['10.0.0.9']));
    cloud.apply(node('n1', '192.168.0.1'));
    const discovery = await start(meta);
    await discovery.whenSynced();
    expect(discovery.current.endpoints.get('shop/web')).toMatchObject([{ address: '10.0.0.9', nodeName: 'edge-1' }]);
    cloud.apply(endpoints('web', ['10.0.0.9', '10.0.0.10']));
    await until(discovery, (catalog) => catalog.endpoints.get('shop/web')?.length === 2);
    expect(meta.requests.some(({ path }) => path.includes('endpointslices'))).toBe(false);
  });

  it('refuses a request timeout that the metaServer outlasts (rule 2)', () => {
    const connection = { server: 'http://127.0.0.1:1' };
    const make = () => createKubernetesSource({ mode: 'metaserver', connection, requestTimeoutMs: 10_000 });
    expect(make).toThrow(expect.objectContaining({ code: 'config' }));
  });

  it('asks for JSON, in pages, without versions, one list at a time (rules 2 and 8)', async () => {
    const { cloud, meta } = await startEdge();
    for (let i = 0; i < 5; i++) put(cloud, `s${i}`);
    const discovery = await start(meta, { pageLimit: 2 });
    await discovery.whenSynced();
    expect(names(discovery)).toHaveLength(5);
    for (const { query, headers } of meta.requests) {
      expect(query.resourceVersion).toBeUndefined();
      expect(headers.accept).toBe('application/json');
    }
    expect(listsOf(meta).every(({ query }) => query.limit)).toBe(true);
  });

  it('never watches what the cloud has not listed, so that cloudcore lives (rule 3)', async () => {
    const kinds = builtinKinds.filter(({ group }) => group !== 'gateway.networking.k8s.io');
    const { cloud, meta } = await startEdge({ kinds });
    cloud.apply({ ...gateway('rule'), kind: 'DestinationRule' });
    const resources = [...CORE_RESOURCES, ...ISTIO_RESOURCES, ...GATEWAY_API_RESOURCES];
    const discovery = await start(meta, { resources });
    await discovery.whenSynced();
    await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'live');
    expect(meta.cloudcore.downBecause).toBeUndefined();
    expect(meta.cloudcore.frozen).toBe(false);
    const watched = new Set(watchesOf(meta).map(({ path }) => path));
    expect([...watched].some((path) => path.includes('gateway.networking.k8s.io'))).toBe(false);
    expect(watched.has('/apis/networking.istio.io/v1/destinationrules')).toBe(true);
    const firstList = new Map(
      listsOf(meta)
        .map(({ path, at }) => [path, at])
        .reverse() as [string, number][],
    );
    for (const { path, at } of watchesOf(meta)) expect(firstList.get(path)).toBeLessThan(at);
  });

  it('survives a version that cloudcore may not list (rule 3)', async () => {
    const { cloud, meta } = await startEdge();
    const resources = [
      ...CORE_RESOURCES,
      {
        group: 'discovery.k8s.io',
        versions: ['v1'],
        plural: 'things',
        kind: 'Thing',
        namespaced: true,
        optional: true,
      },
    ];
    put(cloud, 'web');
    const discovery = await start(meta, { resources });
    await discovery.whenSynced();
    expect(meta.cloudcore.frozen).toBe(false);
    expect(names(discovery)).toEqual(['shop/web']);
  });

  it('lists Gateways again and again and never watches them (rule 5)', async () => {
    const { cloud, meta } = await startEdge();
    const discovery = await start(meta, { resources: ISTIO_RESOURCES });
    await discovery.whenSynced();
    cloud.apply(gateway('late'));
    await until(discovery, ({ objects }) => objects.get('Gateway.networking.istio.io')?.has('shop/late') === true);
    expect(watchesOf(meta).some(({ path }) => path.endsWith('/gateways'))).toBe(false);
  });

  it('keeps everything while the cloud is away, though local lists know nothing (rule 1)', async () => {
    const { cloud, meta } = await startEdge();
    put(cloud, 'web');
    cloud.apply(endpoints('web', ['10.0.0.9']));
    const discovery = await start(meta);
    await discovery.whenSynced();
    meta.disconnect();
    await offline(discovery);
    meta.clearRequests();
    await eventually(
      () => listsOf(meta).filter(({ status }) => status === 200).length,
      (count) => count > 3,
    );
    expect(names(discovery)).toEqual(['shop/web']);
    expect(discovery.current.endpoints.get('shop/web')).toHaveLength(1);
  });

  it('drops what was deleted while the cloud was away, and lets no replay bring it back (rules 4 and 6)', async () => {
    const { cloud, meta } = await startEdge();
    const discovery = await start(meta);
    await discovery.whenSynced();
    for (const name of ['ghost', 'web']) put(cloud, name);
    await eventually(
      () => meta.rows('services').length,
      (count) => count >= 2,
    );
    await until(discovery, ({ services }) => services.size === 2);
    meta.disconnect();
    await offline(discovery);
    cloud.remove('Service', 'shop', 'ghost');
    put(cloud, 'new');
    await meta.reconnect();
    await until(discovery, ({ services }) => services.has('shop/new') && !services.has('shop/ghost'));
    const revived: string[] = [];
    discovery.subscribe(({ services }) => {
      if (services.has('shop/ghost')) revived.push('ghost');
    });
    // the edge still has the row and replays it to every new watch
    expect(meta.rows('services').some(({ metadata }) => metadata.name === 'ghost')).toBe(true);
    const before = watchesOf(meta).length;
    meta.dropWatches('services');
    await eventually(
      () => watchesOf(meta).length,
      (count) => count > before,
    );
    put(cloud, 'last');
    await until(discovery, ({ services }) => services.has('shop/last'));
    expect(revived).toEqual([]);
    expect(names(discovery)).toEqual(['shop/last', 'shop/new', 'shop/web']);
  });

  it('hears of new objects after cloudcore restarted, when open watches are dead (rules 5 and 6)', async () => {
    const { cloud, meta } = await startEdge();
    put(cloud, 'web');
    const discovery = await start(meta);
    await discovery.whenSynced();
    await meta.restartCloudcore();
    put(cloud, 'after');
    await until(discovery, ({ services }) => services.has('shop/after'));
  });

  it('follows the Pods of a namespace, by no field that it does not know offline', async () => {
    const { cloud, meta } = await startEdge();
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'shop', name: 'a', labels: { v: '1' } } };
    cloud.apply({ ...pod, status: { phase: 'Running' } });
    const source = createKubernetesSource({
      mode: 'metaserver',
      connection: { server: meta.url },
      ...fast,
      resources: [],
    });
    const discovery = stack.use(await createDiscovery({ sources: [source], publishWindowMs: 0, firstPublishMs: 20 }));
    source.follow([{ kind: 'Pod', namespace: 'shop' }]);
    await until(discovery, ({ objects }) => objects.get('Pod')?.has('shop/a') === true);
    meta.disconnect({ silent: false });
    await offline(discovery);
    expect(discovery.current.objects.get('Pod')?.size).toBe(1);
    const pods = meta.requests.filter(({ path }) => path.endsWith('/pods'));
    expect(pods.length).toBeGreaterThan(0);
    expect(pods.every(({ query }) => !query.fieldSelector)).toBe(true);
  });

  it('repairs a row that the edge has missed (rule 5)', async () => {
    const { cloud, meta } = await startEdge();
    put(cloud, 'web');
    cloud.apply(endpoints('web', ['10.0.0.1']));
    const discovery = await start(meta);
    await discovery.whenSynced();
    meta.loseNextPush({ group: '', version: 'v1', resource: 'endpoints' }, 'shop', 'web');
    cloud.apply(endpoints('web', ['10.0.0.2']));
    await until(discovery, (catalog) => catalog.endpoints.get('shop/web')?.[0]?.address === '10.0.0.2');
  });

  it('never opens two watches alike (rule 7)', async () => {
    const { meta } = await startEdge();
    const discovery = await start(meta);
    await discovery.whenSynced();
    for (let i = 0; i < 5; i++) {
      const before = watchesOf(meta).length;
      await eventually(
        () => meta.watches.length,
        (count) => count > 0,
      );
      meta.dropWatches();
      await eventually(
        () => watchesOf(meta).length,
        (count) => count > before,
      );
    }
    const urls = watchesOf(meta).map(({ url }) => url);
    expect(new Set(urls).size).toBe(urls.length);
    for (const { query } of watchesOf(meta)) {
      expect(Number(query.timeoutSeconds)).toBeGreaterThanOrEqual(300);
      expect(Number(query.timeoutSeconds)).toBeLessThanOrEqual(600);
      expect(query.allowWatchBookmarks ?? query.sendInitialEvents).toBeUndefined();
    }
  });

  it('starts offline from its own snapshot, not from the rows of the edge', async () => {
    const file = await snapshotPath();
    const { cloud, meta } = await startEdge();
    const first = await start(meta, {}, file);
    await first.whenSynced();
    for (const name of ['ghost', 'web']) put(cloud, name);
    await eventually(
      () => meta.rows('services').length,
      (count) => count >= 2,
    );
    await until(first, ({ services }) => services.size === 2);
    meta.disconnect();
    await offline(first);
    await first[Symbol.asyncDispose]();

    const second = await start(meta, {}, file);
    expect(names(second)).toEqual(['shop/ghost', 'shop/web']);
    await offline(second);
    expect(names(second)).toEqual(['shop/ghost', 'shop/web']);
    expect(second.status()).toMatchObject({ source: 'snapshot', synced: false });
    cloud.remove('Service', 'shop', 'ghost');
    await meta.reconnect();
    await until(second, ({ services }) => services.size === 1);
    await second.whenSynced();
  });

  it('starts offline without a snapshot from the rows of the edge, as hints', async () => {
    const { cloud, meta } = await startEdge();
    const first = await start(meta);
    await first.whenSynced();
    put(cloud, 'web');
    await eventually(
      () => meta.rows('services').length,
      (count) => count >= 1,
    );
    await first[Symbol.asyncDispose]();
    meta.disconnect();
    const second = await start(meta);
    await until(second, ({ services }) => services.has('shop/web'));
    expect(second.status().source).toBe('hint');
    await meta.reconnect();
    await second.whenSynced();
    expect(second.status().source).toBe('authoritative');
  });

  it('goes on after edgecore itself restarted', async () => {
    const { cloud, meta } = await startEdge();
    put(cloud, 'web');
    const discovery = await start(meta);
    await discovery.whenSynced();
    await meta.restartEdgecore();
    put(cloud, 'after');
    await until(discovery, ({ services }) => services.has('shop/after'));
  });

  it('gets large lists over a thin link by asking for smaller pages (rule 2)', async () => {
    const { cloud, meta } = await startEdge();
    for (let i = 0; i < 60; i++) put(cloud, `s${i}`);
    // 30 ms of this link carry about a dozen Services
    meta.throttle(400_000);
    const discovery = await start(meta, { pageLimit: 200 });
    await until(discovery, ({ services }) => services.size === 60);
  });
});
