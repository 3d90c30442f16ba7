import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../fake-clock.ts';
import { createCloudcore, createKubeApi, createMetaServer } from '../index.ts';
import { createWireClient } from '../wire-client.ts';
import { createEdgeFixture, maps, watchMaps } from './fixture.ts';

const off = (...names: string[]) => ({ oddities: Object.fromEntries(names.map((name) => [name, false])) });
const watchSecrets = '/api/v1/secrets?watch=1';
const missing = '/apis/x.io/v1/things?watch=1';

describe('watches of the metaServer', () => {
  it('bring changes live, with the transitions of selectors', async () => {
    await using t = await createEdgeFixture();
    t.put('a', { on: 'yes' });
    const watch = await t.edge.watch(`${watchMaps}&labelSelector=on%3Dyes`);
    expect(await watch.take(1)).toEqual(['ADDED a']);
    t.put('a', { on: 'no' });
    t.put('b', { on: 'no' });
    t.put('a', { on: 'yes' });
    t.put('a', { on: 'yes', more: 'x' });
    t.remove('a');
    expect(await watch.take(4)).toEqual(['DELETED a', 'ADDED a', 'MODIFIED a', 'DELETED a']);
    expect(t.meta.rows('configmaps')).toEqual([]);
  });

  it('replay all rows whatever the resourceVersion, and never say 410', async () => {
    await using t = await createEdgeFixture({ coldReplayShare: 1 });
    t.put('a');
    t.put('b');
    await (await t.edge.watch(watchMaps)).take(2);
    t.cloud.compact();
    for (const revision of ['1', '1001', '99999']) {
      const watch = await t.edge.watch(`${watchMaps}&resourceVersion=${revision}`);
      expect(await watch.take(2)).toEqual(['ADDED b', 'ADDED a']);
    }
    expect((await t.edge.get(`${watchMaps}&resourceVersion=abc`)).body).toMatchObject({ kind: 'Status', code: 500 });
    await using honest = await createEdgeFixture({ ...off('resourceVersionIgnored'), coldReplayShare: 1 });
    honest.put('a');
    honest.put('b');
    await (await honest.edge.watch(watchMaps)).take(2);
    expect(await (await honest.edge.watch(`${watchMaps}&resourceVersion=1001`)).take(1)).toEqual(['ADDED b']);
  });

  it('send no bookmark, not even after the initial events', async () => {
    const query = `${watchMaps}&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`;
    const clock = createFakeClock();
    await using t = await createEdgeFixture({ clock });
    t.put('a');
    const watch = await t.edge.watch(`${query}&timeoutSeconds=600`);
    clock.advance(599_999);
    t.put('b');
    clock.advance(1);
    expect((await watch.rest()).map((event) => event.type)).toEqual(['ADDED', 'ADDED']);
    await using honest = await createEdgeFixture(off('noBookmarks'));
    honest.put('a');
    const other = await honest.edge.watch(query);
    expect([(await other.next())?.type, (await other.next())?.type]).toEqual(['ADDED', 'BOOKMARK']);
  });

  it('end properly after timeoutSeconds', async () => {
    const clock = createFakeClock();
    await using t = await createEdgeFixture({ clock });
    const watch = await t.edge.watch(`${watchMaps}&timeoutSeconds=300`);
    clock.advance(299_999);
    expect(t.meta.watches).toHaveLength(1);
    clock.advance(1);
    expect(await watch.rest()).toEqual([]);
  });

  it('3.1: on a cold edge replay only part of what there is, though all of it reaches the rows', async () => {
    await using t = await createEdgeFixture();
    for (const name of 'abcdefgh') t.put(name);
    const watch = await t.edge.watch(watchMaps);
    expect(await watch.take(3)).toEqual(['ADDED h', 'ADDED g', 'ADDED f']);
    expect(t.meta.rows('configmaps')).toHaveLength(8);
    t.put('new');
    expect(await watch.take(1)).toEqual(['ADDED new']);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(maps)).names).toHaveLength(9);
  });

  it('3.1: replay nothing of a kind when the edge knows newer objects of others', async () => {
    await using t = await createEdgeFixture();
    for (const name of 'abcdef') t.put(name);
    t.cloud.applyYaml('{apiVersion: v1, kind: Secret, metadata: {name: newest}}');
    await (await t.edge.watch(watchSecrets)).take(1);
    const watch = await t.edge.watch(watchMaps);
    t.put('live');
    expect(await watch.take(1)).toEqual(['ADDED live']);
    expect(t.meta.rows('configmaps')).toHaveLength(7);
  });

  it('3.1: replay everything when that is switched off', async () => {
    await using t = await createEdgeFixture(off('incompleteReplay'));
    for (const name of 'abcd') t.put(name);
    expect(await (await t.edge.watch(watchMaps)).take(4)).toHaveLength(4);
  });

  it('3.3: never deliver Gateways, though online lists have them', async () => {
    await using t = await createEdgeFixture();
    const gateways = '/apis/networking.istio.io/v1/gateways';
    const watch = await t.edge.watch(`${gateways}?watch=1`);
    t.cloud.applyYaml('{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g}}');
    expect((await t.edge.get(gateways)).names).toEqual(['g']);
    expect(t.meta.rows('gatewaies', { group: 'networking.istio.io' })).toHaveLength(1);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(gateways)).names).toEqual([]);
    for (const open of t.meta.watches) open.end();
    expect(await watch.rest()).toEqual([]);
    await using honest = await createEdgeFixture(off('gatewaysNeverDelivered'));
    const other = await honest.edge.watch(`${gateways}?watch=1`);
    honest.cloud.applyYaml('{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g}}');
    expect(await other.take(1)).toEqual(['ADDED g']);
  });

  it('3.4: lose deletes that happen offline; the ghost is listed, replayed and even answers GETs online', async () => {
    await using t = await createEdgeFixture({ coldReplayShare: 1 });
    t.put('ghost');
    t.put('kept');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(2);
    t.meta.disconnect();
    t.remove('ghost');
    t.put('kept');
    t.put('new');
    await t.meta.reconnect();
    expect(await watch.take(2)).toEqual(['MODIFIED kept', 'ADDED new']);
    await expect
      .poll(() => t.meta.rejected)
      .toEqual([`Object 'Kind' is missing in {"metadata":{"name":"ghost","namespace":"default"}}`]);
    expect((await t.edge.get(maps)).names).toEqual(['kept', 'new']);
    expect(await (await t.edge.watch(watchMaps)).take(3)).toContain('ADDED ghost');
    expect((await t.edge.get('/api/v1/namespaces/default/configmaps/ghost')).status).toBe(200);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(maps)).names).toContain('ghost');
  });

  it('3.4: bring deletes after reconnection, and no ghosts in GETs, when that is switched off', async () => {
    await using t = await createEdgeFixture(off('deletesLostOffline', 'ghostsAnswerGets'));
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(1);
    t.meta.disconnect();
    t.remove('a');
    await t.meta.reconnect();
    expect(await watch.take(1)).toEqual(['DELETED a']);
    expect((await t.edge.get('/api/v1/namespaces/default/configmaps/a')).status).toBe(404);
  });

  it('3.5: are dead after a cloudcore restart until some watch closes; then known objects come again as ADDED', async () => {
    await using t = await createEdgeFixture({ syncLoopMs: 60_000 });
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    const other = await t.edge.watch(watchSecrets);
    await watch.take(1);
    await t.meta.restartCloudcore();
    t.put('new');
    expect((await t.edge.get(maps)).names).toEqual(['a', 'new']);
    expect(t.meta.watches.map((open) => open.registered)).toEqual([false, false]);
    expect(t.meta.rows('configmaps')).toHaveLength(1);
    other.close();
    expect(await watch.take(2)).toEqual(['ADDED a', 'ADDED new']);
    expect(t.meta.watches.map((open) => open.registered)).toEqual([true]);
  });

  it('3.5: are registered again by themselves when that is switched off, without repeats if those are off too', async () => {
    await using t = await createEdgeFixture(off('deadWatchesAfterRestart', 'repeatedAdds'));
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(1);
    await t.meta.restartCloudcore();
    t.put('new');
    expect(await watch.take(1)).toEqual(['ADDED new']);
  });

  it('3.6: lose every second change after a restart for good; a GET or a new change heals the row', async () => {
    await using t = await createEdgeFixture({ coldReplayShare: 1, syncLoopMs: 5 });
    t.put('a');
    t.put('b');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(2);
    await t.meta.restartCloudcore();
    const stale = t.meta.rows('configmaps').find((row) => row.metadata.name === 'a')?.metadata.resourceVersion;
    t.put('a');
    t.put('b');
    expect(await watch.take(1)).toEqual(['MODIFIED b']);
    const fresh = await t.edge.watch(`${watchMaps}&timeoutSeconds=100`);
    const replay = [await fresh.next(), await fresh.next()].find((event) => event?.object.metadata?.name === 'a');
    expect(replay?.object.metadata?.resourceVersion).toBe(stale);
    const now = await t.edge.get('/api/v1/namespaces/default/configmaps/a');
    expect(now.body.metadata?.resourceVersion).not.toBe(stale);
    expect(t.meta.rows('configmaps').find((row) => row.metadata.name === 'a')?.metadata.resourceVersion).toBe(
      now.body.metadata?.resourceVersion,
    );
  });

  it('3.6: a single push can be lost on request', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(1);
    t.meta.loseNextPush({ group: '', version: 'v1', resource: 'configmaps' }, 'default', 'a');
    t.put('a');
    const second = t.put('a');
    expect((await watch.next())?.object.metadata?.resourceVersion).toBe(second);
  });

  it('3.7: opened offline, are never registered, unless another watch covers the kind', async () => {
    await using t = await createEdgeFixture();
    t.meta.disconnect({ silent: false });
    const orphan = await t.edge.watch(watchMaps);
    await t.meta.reconnect();
    t.put('unseen');
    expect(t.meta.watches.map((open) => open.registered)).toEqual([false]);
    const covering = await t.edge.watch(`${watchMaps}&timeoutSeconds=100`);
    await covering.take(1);
    t.put('seen');
    expect(await orphan.take(2)).toEqual(['ADDED unseen', 'ADDED seen']);
    covering.close();
    await expect.poll(() => t.meta.watches.map((open) => open.registered)).toEqual([false]);
  });

  it('3.7: are registered on reconnection when that is switched off and watches revive', async () => {
    await using t = await createEdgeFixture(off('offlineWatchNeverRegistered', 'deadWatchesAfterRestart'));
    t.meta.disconnect({ silent: false });
    const watch = await t.edge.watch(watchMaps);
    await t.meta.reconnect();
    t.put('a');
    expect(await watch.take(1)).toEqual(['ADDED a']);
  });

  it('3.8: byte-identical, starve when their twin closes: nothing new, changes late, deletes still', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    const one = await t.edge.watch(watchMaps);
    const two = await t.edge.watch(watchMaps);
    await one.take(1);
    await two.take(1);
    one.close();
    await expect.poll(() => t.meta.watches.map((open) => open.registered)).toEqual([false]);
    t.put('new');
    t.put('a');
    expect(await two.take(1)).toEqual(['MODIFIED a']);
    t.remove('a');
    expect(await two.take(1)).toEqual(['DELETED a']);
    expect(t.meta.rows('configmaps')).toEqual([]);
  });

  it('3.8: with different timeoutSeconds do not share anything', async () => {
    await using t = await createEdgeFixture();
    const one = await t.edge.watch(`${watchMaps}&timeoutSeconds=301`);
    const two = await t.edge.watch(`${watchMaps}&timeoutSeconds=302`);
    one.close();
    await expect.poll(() => t.meta.watches.length).toBe(1);
    t.put('a');
    expect(await two.take(1)).toEqual(['ADDED a']);
  });

  it('3.9: of a kind that does not exist, kill cloudcore, and again at the next close after its restart', async () => {
    await using t = await createEdgeFixture();
    const deadly = await t.edge.watch(missing);
    await expect.poll(() => t.meta.cloudcore.up).toBe(false);
    expect(t.meta.cloudcore.downBecause).toBe('x.io/v1, Resource=things');
    await t.meta.startCloudcore();
    deadly.close();
    await expect.poll(() => t.meta.cloudcore.up).toBe(false);
    await t.meta.startCloudcore();
    (await t.edge.watch(watchMaps)).close();
    await expect.poll(() => t.meta.cloudcore.up).toBe(false);
  });

  it('3.9: are forgotten some minutes after they closed', async () => {
    await using t = await createEdgeFixture({ poisonMemoryMs: 0 });
    const deadly = await t.edge.watch(missing);
    deadly.close();
    await expect.poll(() => t.meta.watches.length).toBe(0);
    await t.meta.startCloudcore();
    (await t.edge.watch(watchMaps)).close();
    await expect.poll(() => t.meta.watches.length).toBe(0);
    expect(t.meta.cloudcore.up).toBe(true);
  });

  it('2.3: of what cloudcore may not list, freeze it for every node', async () => {
    await using cloud = await createKubeApi();
    using cloudcore = createCloudcore({ cloud });
    await using here = await createMetaServer({ cloud, cloudcore, stallMs: 30 });
    await using there = await createMetaServer({ cloud, cloudcore, stallMs: 30 });
    const other = createWireClient(there.url);
    expect((await other.get(maps)).body.metadata).toBeDefined();
    await createWireClient(here.url).watch('/apis/discovery.k8s.io/v1/endpointslices?watch=1');
    expect(cloudcore.frozen).toBe(true);
    const began = performance.now();
    for (let i = 0; i < 2; i++)
      expect((await other.get(maps)).text).toBe('{"apiVersion":"v1","items":[],"kind":"ConfigmapList"}');
    expect(performance.now() - began).toBeGreaterThan(55);
    expect(there.connected).toBe(true);
  });

  it('2.3 and 3.9: stay silent and harmless when those are switched off', async () => {
    await using t = await createEdgeFixture(off('forbiddenWatchFreezesCloudcore', 'missingKindKillsCloudcore'));
    await t.edge.watch(missing);
    await t.edge.watch('/apis/discovery.k8s.io/v1/endpointslices?watch=1');
    t.put('a');
    expect((await t.edge.get(maps)).names).toEqual(['a']);
  });

  it('share pushes: a watch of one selector feeds the rows that another replays', async () => {
    await using t = await createEdgeFixture();
    const narrow = await t.edge.watch(`${watchMaps}&labelSelector=on`);
    const wide = await t.edge.watch(watchMaps);
    t.put('a', { on: '' });
    expect(await narrow.take(1)).toEqual(['ADDED a']);
    t.put('a');
    expect(await narrow.take(1)).toEqual(['DELETED a']);
    expect(await wide.take(2)).toEqual(['ADDED a', 'MODIFIED a']);
    expect(t.meta.rows('configmaps')).toHaveLength(1);
  });

  it('3.6: bring every change through the sync loop when lost ones are switched off', async () => {
    await using t = await createEdgeFixture({ ...off('staleRows'), coldReplayShare: 1 });
    t.put('a');
    const watch = await t.edge.watch(watchMaps);
    await watch.take(1);
    await t.meta.restartCloudcore();
    t.put('a');
    expect(await watch.take(1)).toEqual(['MODIFIED a']);
  });

  it('3.8: count for themselves when sharing is switched off', async () => {
    await using t = await createEdgeFixture(off('identicalWatchesShare'));
    const one = await t.edge.watch(watchMaps);
    const two = await t.edge.watch(watchMaps);
    one.close();
    await expect.poll(() => t.meta.watches.length).toBe(1);
    t.put('a');
    expect(await two.take(1)).toEqual(['ADDED a']);
  });

  it('open on the deprecated path, and see rows of every version, when those oddities are off', async () => {
    await using t = await createEdgeFixture(off('deprecatedWatchIsList', 'rowsPerVersion'));
    t.cloud.applyYaml('{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}}');
    const watch = await t.edge.watch('/apis/networking.istio.io/v1alpha3/watch/virtualservices');
    expect(await watch.take(1)).toEqual(['ADDED v']);
    t.meta.disconnect({ silent: false });
    const list = await t.edge.get('/apis/networking.istio.io/v1/virtualservices');
    expect(list.body.items?.[0]).toMatchObject({ apiVersion: 'networking.istio.io/v1', metadata: { name: 'v' } });
  });
});
