import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../fake-clock.ts';
import { createKubeApi, type KubeApi, type KubeApiOptions } from '../index.ts';
import { createWireClient, type WireEvent } from '../wire-client.ts';

const put = (api: KubeApi, name: string, labels: Record<string, string> = {}, data: Record<string, string> = {}) =>
  api.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels }, data });
const path = '/api/v1/configmaps?watch=1';

async function start(options?: KubeApiOptions) {
  const api = await createKubeApi(options);
  return { api, client: createWireClient(api.url), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

const brief = (event: WireEvent | undefined) =>
  event && `${event.type} ${event.object.metadata?.name} ${event.object.metadata?.resourceVersion}`;

describe('watches', () => {
  it('begin with the present state and go on live', async () => {
    await using t = await start();
    put(t.api, 'a');
    const watch = await t.client.watch(path);
    expect(brief(await watch.next())).toBe('ADDED a 1001');
    put(t.api, 'b');
    put(t.api, 'a', { x: '1' });
    t.api.remove('ConfigMap', 'default', 'b');
    expect([brief(await watch.next()), brief(await watch.next()), brief(await watch.next())]).toEqual([
      'ADDED b 1002',
      'MODIFIED a 1003',
      'DELETED b 1004',
    ]);
  });

  it('resume from a revision with everything that happened since', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    put(t.api, 'a', { x: '1' });
    t.api.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } });
    t.api.remove('ConfigMap', 'default', 'b');
    const watch = await t.client.watch(`${path}&resourceVersion=1001`);
    expect(await watch.take(3)).toEqual(['ADDED b', 'MODIFIED a', 'DELETED b']);
  });

  it('wait silently for events beyond a revision of the future', async () => {
    await using t = await start();
    const watch = await t.client.watch(`${path}&resourceVersion=1001`);
    put(t.api, 'a');
    put(t.api, 'b');
    expect(brief(await watch.next())).toBe('ADDED b 1002');
  });

  it('end with an ERROR event when the revision is compacted', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    t.api.compact();
    const events = await (await t.client.watch(`${path}&resourceVersion=1001`)).rest();
    expect(events).toMatchObject([{ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } }]);
    const watch = await t.client.watch(`${path}&resourceVersion=1002`);
    put(t.api, 'c');
    expect(brief(await watch.next())).toBe('ADDED c 1003');
  });

  it('show objects that leave a selector as deleted and those that enter as added', async () => {
    await using t = await start();
    put(t.api, 'a', { on: 'yes' }, { v: '1' });
    const watch = await t.client.watch(`${path}&labelSelector=on%3Dyes`);
    expect(brief(await watch.next())).toBe('ADDED a 1001');
    put(t.api, 'a', { on: 'no' }, { v: '2' });
    const left = await watch.next();
    expect(brief(left)).toBe('DELETED a 1002');
    // The last state that the watcher knew, under the revision of the change.
    expect(left?.object.data).toEqual({ v: '1' });
    put(t.api, 'a', { on: 'no' }, { v: '3' });
    put(t.api, 'a', { on: 'yes' }, { v: '4' });
    expect(brief(await watch.next())).toBe('ADDED a 1004');
    t.api.remove('ConfigMap', 'default', 'a');
    expect(brief(await watch.next())).toBe('DELETED a 1005');
  });

  it('are bound to a namespace by path and to a name by field', async () => {
    await using t = await start();
    const watch = await t.client.watch('/api/v1/namespaces/n/configmaps?watch=true&fieldSelector=metadata.name%3Da');
    put(t.api, 'a');
    for (const name of ['b', 'a'])
      t.api.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'n' } });
    expect(brief(await watch.next())).toBe('ADDED a 1003');
  });

  it('serve the version of the path', async () => {
    await using t = await start();
    t.api.apply({ apiVersion: 'networking.istio.io/v1', kind: 'Gateway', metadata: { name: 'g' } });
    const watch = await t.client.watch('/apis/networking.istio.io/v1alpha3/gateways?watch=1');
    expect((await watch.next())?.object).toMatchObject({ kind: 'Gateway', apiVersion: 'networking.istio.io/v1alpha3' });
  });

  it('open on the deprecated path too, but a named object with ?watch is a plain GET', async () => {
    await using t = await start();
    put(t.api, 'a');
    const watch = await t.client.watch('/api/v1/watch/namespaces/default/configmaps/a');
    expect(brief(await watch.next())).toBe('ADDED a 1001');
    expect((await t.client.get('/api/v1/namespaces/default/configmaps/a?watch=1')).body.kind).toBe('ConfigMap');
  });

  it('end properly after timeoutSeconds, with a last bookmark', async () => {
    const clock = createFakeClock();
    await using t = await start({ clock });
    const watch = await t.client.watch(`${path}&resourceVersion=1000&timeoutSeconds=7&allowWatchBookmarks=true`);
    t.api.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } });
    clock.advance(6_999);
    expect(t.api.watches).toHaveLength(1);
    clock.advance(1);
    expect(await watch.rest()).toEqual([
      {
        type: 'BOOKMARK',
        object: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { resourceVersion: '1001', creationTimestamp: null } },
      },
    ]);
  });

  it('are refused before they open when their options do not fit', async () => {
    await using t = await start();
    const refused = async (query: string) => (await t.client.get(`${path}&${query}`)).status;
    expect(await refused('sendInitialEvents=true')).toBe(422);
    expect(await refused('resourceVersionMatch=NotOlderThan')).toBe(422);
    expect(await refused('resourceVersion=abc')).toBe(400);
    expect(await refused('labelSelector=a%20b')).toBe(400);
  });

  it('lose no change and invent none, wherever they resume', async () => {
    await using t = await start({ managedFields: false });
    const step = fc.record({ name: fc.constantFrom('a', 'b', 'c'), on: fc.constantFrom('yes', 'no', undefined) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), fc.nat(), async (steps, cut) => {
        const state = async () => (await t.client.get('/api/v1/configmaps?labelSelector=on%3Dyes')).body;
        const known = new Map<string, string>();
        let revision = '';
        const middle = cut % steps.length;
        for (const [i, { name, on }] of steps.entries()) {
          if (i === middle) {
            const list = await state();
            revision = list.metadata?.resourceVersion ?? '';
            for (const item of list.items ?? [])
              known.set(String(item.metadata?.name), String(item.metadata?.resourceVersion));
          }
          if (on === undefined) t.api.remove('ConfigMap', 'default', name);
          else put(t.api, name, { on }, { i: String(i), run: revision });
        }
        const end = put(t.api, 'end', { on: 'yes' }, { mark: t.api.resourceVersion });
        const watch = await t.client.watch(`${path}&labelSelector=on%3Dyes&resourceVersion=${revision}`);
        for (let event = await watch.next(); event; event = await watch.next()) {
          const { name, resourceVersion } = event.object.metadata as { name: string; resourceVersion: string };
          expect(known.has(name)).toBe(event.type !== 'ADDED');
          if (event.type === 'DELETED') known.delete(name);
          else known.set(name, resourceVersion);
          if (resourceVersion === end.metadata.resourceVersion) break;
        }
        watch.close();
        const items = (await state()).items ?? [];
        expect([...known].sort()).toEqual(
          items.map((item) => [item.metadata?.name, item.metadata?.resourceVersion]).sort(),
        );
      }),
      { numRuns: 25 },
    );
  });
});

describe('bookmarks', () => {
  it('come to those who ask, once in an interval', async () => {
    const clock = createFakeClock();
    await using t = await start({ clock, bookmarkIntervalMs: 1000 });
    const asking = await t.client.watch(`${path}&resourceVersion=1000&allowWatchBookmarks=true`);
    const silent = await t.client.watch(`${path}&resourceVersion=1000`);
    t.api.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } });
    clock.advance(1000);
    expect(await asking.next()).toMatchObject({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '1001' } } });
    put(t.api, 'a');
    expect(brief(await silent.next())).toBe('ADDED a 1002');
    t.api.sendBookmarks();
    expect([brief(await asking.next()), brief(await asking.next())]).toEqual([
      'ADDED a 1002',
      'BOOKMARK undefined 1002',
    ]);
  });

  it('mark the end of the initial events', async () => {
    await using t = await start();
    put(t.api, 'a');
    const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const watch = await t.client.watch(`${path}&${query}`);
    expect(brief(await watch.next())).toBe('ADDED a 1001');
    expect(await watch.next()).toMatchObject({
      type: 'BOOKMARK',
      object: {
        kind: 'ConfigMap',
        metadata: { resourceVersion: '1001', annotations: { 'k8s.io/initial-events-end': 'true' } },
      },
    });
    expect((await t.client.get(`${path}&${query}&resourceVersion=9999`)).status).toBe(504);
  });
});

describe('faults of watches', () => {
  it('drop: the stream breaks without an end', async () => {
    await using t = await start();
    const watch = await t.client.watch(path);
    expect(t.api.dropWatches({ resource: 'pods' })).toBe(0);
    expect(t.api.dropWatches({ resource: 'configmaps' })).toBe(1);
    await expect(watch.next()).rejects.toThrow();
    await expect.poll(() => t.api.watches.length).toBe(0);
  });

  it('end: the stream ends properly', async () => {
    await using t = await start();
    const watch = await t.client.watch(path);
    t.api.endWatches();
    expect(await watch.rest()).toEqual([]);
  });

  it('cut: the next event arrives in part', async () => {
    await using t = await start();
    const watch = await t.client.watch(path);
    t.api.cutWatches();
    put(t.api, 'a');
    await expect(watch.next()).rejects.toThrow();
  });

  it('freeze: nothing new is seen until the cache thaws', async () => {
    await using t = await start();
    put(t.api, 'a');
    t.api.freezeCache();
    put(t.api, 'b');
    const watch = await t.client.watch(path);
    expect(brief(await watch.next())).toBe('ADDED a 1001');
    t.api.thawCache();
    expect(brief(await watch.next())).toBe('ADDED b 1002');
  });

  it('a watcher that does not read is cut off', async () => {
    await using t = await start({ maxWatchBufferedBytes: 100_000 });
    const { request } = await import('node:http');
    const stalled = request(t.api.url + path, (response) => response.pause());
    stalled.on('error', () => undefined).end();
    const handle = await t.api.watching({ resource: 'configmaps' });
    expect(handle.query.get('watch')).toBe('1');
    const data = { blob: 'x'.repeat(500_000) };
    for (let i = 0; i < 40 && t.api.watches.length > 0; i++) {
      put(t.api, `c${i}`, {}, data);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => t.api.watches.length).toBe(0);
    stalled.destroy();
  });
});
