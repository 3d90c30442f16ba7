import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../fake-clock.ts';
import { createEdgeFixture, maps, watchMaps } from './fixture.ts';
import { createLink } from './link.ts';
import { oddityState } from './oddities.ts';

const isLocal = (text: string) => !text.includes('"metadata":{"resourceVersion"') || text.includes('selfLink');

describe('the link between edge and cloud', () => {
  it('cut silently: every list stalls, then falls back', async () => {
    await using t = await createEdgeFixture({ stallMs: 40 });
    t.meta.disconnect();
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      expect(isLocal((await t.edge.get(maps)).text)).toBe(true);
      expect(performance.now() - began).toBeGreaterThan(38);
    }
  });

  it('cut silently: opening a watch stalls before its headers', async () => {
    await using t = await createEdgeFixture({ stallMs: 40 });
    t.meta.disconnect();
    const began = performance.now();
    await t.edge.watch(watchMaps);
    expect(performance.now() - began).toBeGreaterThan(38);
  });

  it('lost with notice: only the first list stalls', async () => {
    await using t = await createEdgeFixture({ stallMs: 300 });
    t.meta.stopCloudcore();
    const began = performance.now();
    await t.edge.get(maps);
    const first = performance.now();
    await t.edge.get(maps);
    await t.edge.get(maps);
    expect(first - began).toBeGreaterThan(298);
    expect(performance.now() - first).toBeLessThan(250);
  });

  it('stalls nowhere when that is switched off', async () => {
    await using t = await createEdgeFixture({
      stallMs: 10_000,
      oddities: { silentLossStallsEveryList: false, cleanLossStallsFirstList: false },
    });
    t.meta.disconnect();
    expect((await t.edge.get(maps)).status).toBe(200);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(maps)).status).toBe(200);
  });

  it('keeps streams open and silent while it is cut, and brings adds and updates after it is back', async () => {
    await using t = await createEdgeFixture();
    const watch = await t.edge.watch(watchMaps);
    t.meta.disconnect();
    t.put('a');
    t.put('a');
    expect(t.meta.rows('configmaps')).toEqual([]);
    await t.meta.reconnect();
    expect(await watch.take(1)).toEqual(['ADDED a']);
  });

  it('answers from the cloud again after notice and back-off', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    t.meta.disconnect();
    await t.edge.get(maps);
    await t.meta.reconnect();
    expect(isLocal((await t.edge.get(maps)).text)).toBe(false);
  });

  it('takes 3 s to notice and 30 s to try again, by the clock', async () => {
    const clock = createFakeClock();
    let connections = 0;
    const times = { noticeMs: 3_000, backoffMs: 30_000, cloudcoreStartMs: 30_000 };
    const link = createLink({
      clock,
      times,
      odd: oddityState(),
      cloudcoreUp: () => true,
      onConnected: () => connections++,
    });
    link.disconnect(true);
    const back = link.reconnect();
    expect([link.connected, link.takesStall(), link.takesStall()]).toEqual([false, true, true]);
    clock.advance(3_000);
    expect([link.connected, link.takesStall()]).toEqual([false, false]);
    clock.advance(29_999);
    expect(connections).toBe(0);
    clock.advance(1);
    await back;
    expect([link.connected, connections]).toEqual([true, 1]);
  });

  it('a restarted edgecore cuts its streams and serves its rows without a stall', async () => {
    await using t = await createEdgeFixture({ stallMs: 10_000 });
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(1);
    t.meta.disconnect({ silent: false });
    await t.meta.restartEdgecore();
    await expect(watch.next()).rejects.toThrow();
    expect((await t.edge.get(maps)).names).toEqual(['a']);
    expect(await (await t.edge.watch(watchMaps)).take(1)).toEqual(['ADDED a']);
  });

  it('a restarted edgecore is connected at once when the cloud is there', async () => {
    await using t = await createEdgeFixture();
    await t.meta.restartEdgecore();
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    expect(await watch.take(1)).toEqual(['ADDED a']);
    expect(isLocal((await t.edge.get(maps)).text)).toBe(false);
  });

  it('a thin link turns large lists into stalls and local answers; small pages get through', async () => {
    await using t = await createEdgeFixture({ stallMs: 60 });
    for (let i = 0; i < 40; i++) {
      t.cloud.apply({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: `c${i}` },
        data: { blob: 'x'.repeat(1000) },
      });
    }
    t.meta.throttle(200_000);
    expect(isLocal((await t.edge.get(maps)).text)).toBe(true);
    const page = await t.edge.get(`${maps}?limit=2`);
    expect(page.names).toHaveLength(2);
    expect(isLocal(page.text)).toBe(false);
    t.meta.throttle(undefined);
    expect((await t.edge.get(maps)).names).toHaveLength(40);
  });
});
