import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiscovery, type DiscoveryOptions } from './discovery.ts';
import { createManualSource, gateway, node, service, slice } from './test-objects.ts';

let folder: string;
let snapshotFile: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-discovery-'));
  snapshotFile = join(folder, 'catalog.snapshot');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function start(options: Partial<DiscoveryOptions> = {}) {
  const clock = createFakeClock();
  const log = createRecordingLogger();
  const source = createManualSource('kubernetes');
  const discovery = await createDiscovery({ sources: [source], clock, log, ...options });
  return { clock, log, discovery, sink: await source.sink };
}
const list = (kind: string, ...objects: unknown[]) => ({ kind, objects, authority: 'authoritative' as const });

describe('createDiscovery', () => {
  it('publishes what a source says one window later, and once', async () => {
    const { discovery, sink, clock } = await start();
    await using _ = discovery;
    const revisions: number[] = [];
    discovery.subscribe(({ revision }) => revisions.push(revision));
    sink.replace(list('Service', service('web'), service('db')));
    sink.upsert(slice('s', 'web', ['10.0.0.1']));
    expect(discovery.current.revision).toBe(0);
    sink.synced();
    expect(revisions).toEqual([1]);
    expect(discovery.current.endpoints.get('shop/web')).toHaveLength(1);
    sink.upsert(service('db', { clusterIP: '10.96.0.9' }));
    sink.upsert(slice('s', 'web', []));
    clock.advance(9);
    expect(revisions).toEqual([1]);
    clock.advance(1);
    expect(revisions).toEqual([1, 2]);
  });

  it('waits no longer for the first catalog when there was nothing to read', async () => {
    const { discovery, sink, clock } = await start();
    await using _ = discovery;
    sink.synced();
    sink.upsert(service('web'));
    clock.advance(10);
    expect([...discovery.current.services.keys()]).toEqual(['shop/web']);
  });

  it('waits with the first catalog until all is there, but not for a source that never is', async () => {
    const { discovery, sink, clock } = await start();
    await using _ = discovery;
    sink.replace(list('Service', service('web')));
    clock.advance(4_999);
    expect(discovery.current.revision).toBe(0);
    clock.advance(1);
    expect(discovery.current.services.size).toBe(1);
    sink.replace(list('EndpointSlice.discovery.k8s.io', slice('s', 'web', ['10.0.0.1'])));
    clock.advance(10);
    expect(discovery.current.endpoints.get('shop/web')).toHaveLength(1);
  });

  it('serves the last snapshot before any source has answered', async () => {
    const first = await start({ snapshotFile });
    first.sink.replace(list('Service', service('web')));
    first.sink.replace(list('EndpointSlice.discovery.k8s.io', slice('s', 'web', ['10.0.0.1'])));
    first.sink.replace(list('Gateway.networking.istio.io', gateway('g')));
    await first.discovery[Symbol.asyncDispose]();

    const clock = createFakeClock(Date.UTC(2026, 0, 1) + 60_000);
    const { discovery } = await start({ snapshotFile, clock });
    await using _ = discovery;
    expect(discovery.current.services.has('shop/web')).toBe(true);
    expect(discovery.current.endpoints.get('shop/web')).toHaveLength(1);
    expect(discovery.current.objects.get('Gateway.networking.istio.io')?.size).toBe(1);
    expect(discovery.status()).toMatchObject({ source: 'snapshot', ageMs: 60_000, services: 1, synced: false });
  });

  it('drops what only the snapshot knew at the first authoritative list of its kind, and only then', async () => {
    const first = await start({ snapshotFile });
    first.sink.replace(list('Service', service('old'), service('web')));
    first.sink.replace(list('Node', node('n1', '192.168.0.1')));
    await first.discovery[Symbol.asyncDispose]();

    const { discovery, sink, clock } = await start({ snapshotFile });
    await using _ = discovery;
    sink.upsert(service('new'));
    sink.replace({ ...list('Service', service('ghost')), authority: 'hint' });
    clock.advance(10);
    expect([...discovery.current.services.keys()].sort()).toEqual(['shop/new', 'shop/old', 'shop/web']);
    sink.replace(list('Service', service('web'), service('new')));
    clock.advance(10);
    expect([...discovery.current.services.keys()].sort()).toEqual(['shop/new', 'shop/web']);
    expect(discovery.current.nodes.size).toBe(1);
    expect(discovery.status().source).toBe('snapshot');
  });

  it('starts empty on a damaged snapshot', async () => {
    await writeFile(snapshotFile, 'garbage');
    const { discovery, log } = await start({ snapshotFile });
    await using _ = discovery;
    expect(discovery.current.revision).toBe(0);
    expect(log.lines.some(({ message }) => message === 'snapshot ignored')).toBe(true);
  });

  it('forgets the snapshot of a source that is no longer configured', async () => {
    const first = await start({ snapshotFile });
    first.sink.replace(list('Service', service('web')));
    await first.discovery[Symbol.asyncDispose]();
    await using discovery = await createDiscovery({ sources: [createManualSource('other')], snapshotFile });
    expect(discovery.current.services.size).toBe(0);
  });

  it('is synced when every source is, with everything published by then', async () => {
    const sources = [createManualSource('a'), createManualSource('b')] as const;
    await using discovery = await createDiscovery({ sources, clock: createFakeClock() });
    const synced = discovery.whenSynced();
    (await sources[0].sink).replace(list('Service', service('web')));
    (await sources[0].sink).synced();
    expect(discovery.status().synced).toBe(false);
    (await sources[1].sink).synced();
    await synced;
    expect(discovery.current.services.size).toBe(1);
  });

  it('lets a waiter give up, and rejects waiters when it stops', async () => {
    const { discovery } = await start();
    await expect(discovery.whenSynced(AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    const waiting = expect(discovery.whenSynced(new AbortController().signal)).rejects.toMatchObject({
      code: 'aborted',
    });
    await discovery[Symbol.asyncDispose]();
    await discovery[Symbol.asyncDispose]();
    await waiting;
  });

  it('says how old its data is and warns once when it becomes stale', async () => {
    const { discovery, sink, clock, log } = await start({ staleAfterMs: 60_000 });
    await using _ = discovery;
    expect(discovery.status()).toMatchObject({ source: 'none', stale: true });
    sink.report('live');
    sink.replace(list('Service', service('web')));
    sink.replace(list('Node', node('n1', '192.168.0.1')));
    clock.advance(30_000);
    sink.confirm('Service');
    expect(discovery.status()).toMatchObject({ source: 'authoritative', ageMs: 30_000, stale: false });
    sink.report('offline', 'connection refused');
    clock.advance(90_000);
    const stale = () => log.lines.filter(({ message }) => message === 'discovery data is stale');
    expect(stale()).toHaveLength(1);
    expect(discovery.status().sources).toMatchObject([
      { name: 'kubernetes', state: 'offline', error: 'connection refused', ageMs: 120_000 },
    ]);
    sink.confirm('Service');
    sink.confirm('Node');
    clock.advance(20_000);
    expect(log.lines.some(({ message }) => message === 'discovery data is fresh again')).toBe(true);
  });

  it('keeps only the kinds it is asked for', async () => {
    const { discovery, sink, clock } = await start({ kinds: ['Service'] });
    await using _ = discovery;
    sink.upsert(service('web'));
    sink.upsert(gateway('g'));
    clock.advance(5_000);
    expect(discovery.current.objects.size).toBe(0);
    expect(discovery.current.services.size).toBe(1);
  });

  it('counts every rejected object and logs each problem once', async () => {
    const { discovery, sink, log } = await start();
    await using _ = discovery;
    for (let i = 0; i < 3; i++) sink.upsert(service('web', { type: 'Nonsense' }));
    expect(discovery.status().rejected).toBe(3);
    const lines = log.lines.filter(({ message }) => message === 'object rejected');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields).toMatchObject({ kind: 'Service', namespace: 'shop', name: 'web', field: 'spec.type' });
  });

  it('runs a source again that failed, and refuses two of one name', async () => {
    const clock = createFakeClock();
    let runs = 0;
    const failing = {
      name: 'x',
      run: () => {
        runs += 1;
        return Promise.reject(new Error('boom'));
      },
    };
    await using _ = await createDiscovery({ sources: [failing], clock });
    await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toBe(1);
    clock.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toBe(2);
    await expect(createDiscovery({ sources: [failing, failing] })).rejects.toMatchObject({ code: 'config' });
  });
});
