import { describe, expect, it } from 'vitest';
import { createEdgeFixture, maps, watchMaps } from './fixture.ts';
import type { OdditySwitches } from './oddities.ts';

const without = (...names: (keyof OdditySwitches)[]) => ({
  oddities: Object.fromEntries(names.map((name) => [name, false])),
});

/** An edge that has seen a, b, c (in the order b, c, a of last writes) and lost its link. */
async function offline(options: Parameters<typeof createEdgeFixture>[0] = {}) {
  const t = await createEdgeFixture({ ...options, coldReplayShare: 1 });
  t.put('a', { tier: 'web' });
  t.put('b');
  t.put('c', { tier: 'web' });
  const watch = await t.edge.watch(watchMaps);
  await watch.take(3);
  t.put('a', { tier: 'web' });
  await watch.take(1);
  t.meta.disconnect({ silent: false });
  await t.edge.get(maps);
  return t;
}

describe('lists online', () => {
  it('are those of the API server, byte for byte', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    const [edge, api] = [await t.edge.get(maps), await t.api.get(maps)];
    expect(edge.text).toBe(api.text);
    expect(edge.body.metadata).toEqual({ resourceVersion: '1001' });
  });

  it('take selectors, pages and resourceVersion=0 along', async () => {
    await using t = await createEdgeFixture();
    for (const [name, tier] of [
      ['a', 'x'],
      ['b', 'y'],
      ['c', 'x'],
    ] as const)
      t.put(name, { tier });
    expect((await t.edge.get(`${maps}?labelSelector=tier%3Dx`)).names).toEqual(['a', 'c']);
    expect((await t.edge.get(`${maps}?fieldSelector=metadata.name%3Db`)).names).toEqual(['b']);
    expect((await t.edge.get(`${maps}?resourceVersion=0`)).names).toEqual(['a', 'b', 'c']);
    const page = await t.edge.get(`${maps}?limit=2`);
    expect(page.body.metadata).toMatchObject({ remainingItemCount: 1 });
    expect((await t.edge.get(`${maps}?limit=2&continue=${page.body.metadata?.continue}`)).names).toEqual(['c']);
  });

  it('do not fill the rows of the edge, single GETs do', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    t.put('b');
    await t.edge.get(maps);
    expect(t.meta.rows('configmaps')).toEqual([]);
    await t.edge.get('/api/v1/namespaces/default/configmaps/b');
    expect(t.meta.rows('configmaps').map((row) => row.metadata.name)).toEqual(['b']);
  });

  it.each([
    ['an expired token', (name: string) => `?continue=${name}`],
    ['a refused field', () => '?fieldSelector=data.x%3D1'],
  ])('fall back silently for %s', async (_, query) => {
    await using t = await createEdgeFixture();
    t.put('a');
    await t.edge.get('/api/v1/namespaces/default/configmaps/a');
    t.put('b');
    const answer = await t.edge.get(maps + query('nonsense'));
    expect(answer.status).toBe(200);
    expect(answer.body.metadata?.resourceVersion).not.toBe('1002');
  });

  it.each([403, 429, 500, 503])('fall back silently for a %i of the cloud', async (code) => {
    await using t = await createEdgeFixture();
    t.put('a');
    t.cloud.faults.fail(code);
    expect(await t.edge.get(maps)).toMatchObject({
      status: 200,
      text: '{"apiVersion":"v1","items":[],"kind":"ConfigmapList"}',
    });
    expect((await t.edge.get(maps)).names).toEqual(['a']);
  });

  it('show the failure when the fall-back is switched off', async () => {
    await using t = await createEdgeFixture(without('localFallback'));
    t.cloud.faults.fail(500);
    expect((await t.edge.get(maps)).status).toBe(500);
    t.meta.disconnect();
    expect((await t.edge.get(maps)).status).toBe(503);
  });

  it('fall back when the cloud takes longer than the budget', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    const release = t.cloud.faults.hang();
    expect((await t.edge.get(maps)).text).not.toContain('metadata');
    release();
  });

  it('refuse a malformed label selector, and protobuf alone', async () => {
    await using t = await createEdgeFixture();
    expect((await t.edge.get(`${maps}?labelSelector=a%20b`)).body).toMatchObject({ kind: 'Status', code: 400 });
    expect((await t.edge.get(maps, { accept: 'application/vnd.kubernetes.protobuf' })).status).toBe(406);
    expect((await t.edge.get(maps, { accept: 'application/vnd.kubernetes.protobuf, application/json' })).status).toBe(
      200,
    );
  });

  it('are empty for groups and kinds that do not exist', async () => {
    await using t = await createEdgeFixture();
    t.cloud.kinds.remove('gateway.networking.k8s.io', 'gateways');
    const path = '/apis/gateway.networking.k8s.io/v1/gateways';
    expect(await t.edge.get(path)).toMatchObject({
      status: 200,
      text: '{"apiVersion":"gateway.networking.k8s.io/v1","items":[],"kind":"GatewayList"}',
    });
    await using honest = await createEdgeFixture(without('unknownKindsListEmpty'));
    expect((await honest.edge.get('/apis/x.io/v1/things')).status).toBe(404);
  });

  it('read the deprecated watch path as a list', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    expect((await t.edge.get('/api/v1/watch/configmaps')).names).toEqual(['a']);
  });

  it('stall at an impossible revision and keep cloudcore busy for those behind', async () => {
    await using t = await createEdgeFixture({ stallMs: 40 });
    t.put('a');
    const began = performance.now();
    expect((await t.edge.get(`${maps}?resourceVersion=9999`)).names).toEqual([]);
    expect((await t.edge.get(maps)).names).toEqual([]);
    expect(performance.now() - began).toBeGreaterThan(75);
    await expect.poll(async () => (await t.edge.get(maps)).names).toEqual(['a']);
  });

  it('do not stall at an impossible revision when that is switched off', async () => {
    await using t = await createEdgeFixture(without('badRevisionBlocksCloudcore'), { tooLargeWaitMs: 5 });
    t.put('a');
    expect((await t.edge.get(`${maps}?resourceVersion=9999`)).names).toEqual([]);
    expect((await t.edge.get(maps)).names).toEqual(['a']);
  });
});

describe('lists offline', () => {
  it('are told apart by selfLink, and by having no metadata when empty', async () => {
    await using t = await offline();
    const list = await t.edge.get(maps);
    expect(list.body.metadata).toEqual({ resourceVersion: '1004', selfLink: '/core/v1/configmaps/null/null' });
    const inNamespace = await t.edge.get('/api/v1/namespaces/default/configmaps');
    expect(inNamespace.body.metadata?.selfLink).toBe('/core/v1/configmaps/default/null');
    expect((await t.edge.get('/api/v1/pods')).text).toBe('{"apiVersion":"v1","items":[],"kind":"PodList"}');
  });

  it('look like cloud lists when that is switched off', async () => {
    await using t = await offline(
      without('localSelfLink', 'emptyListWithoutMetadata', 'unsortedLists', 'misspeltListKinds'),
    );
    const list = await t.edge.get(maps);
    expect([list.names, list.body.kind, list.body.metadata]).toEqual([
      ['a', 'b', 'c'],
      'ConfigMapList',
      { resourceVersion: '1004' },
    ]);
    expect((await t.edge.get('/api/v1/pods')).body.metadata).toEqual({ resourceVersion: '1004' });
  });

  it('come in the order of the last write, with the type on each item', async () => {
    await using t = await offline();
    const list = await t.edge.get(maps);
    expect(list.names).toEqual(['c', 'b', 'a']);
    expect(list.body.items?.[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  });

  it('honour label selectors, and of the fields only name and namespace', async () => {
    await using t = await offline();
    const select = async (query: string) => (await t.edge.get(`${maps}?${query}`)).names;
    expect(await select('labelSelector=tier%3Dweb')).toEqual(['c', 'a']);
    expect(await select('labelSelector=!tier')).toEqual(['b']);
    expect(await select(`labelSelector=${encodeURIComponent('tier notin (web),!x')}`)).toEqual(['b']);
    expect(await select('fieldSelector=metadata.name%3Db')).toEqual(['b']);
    expect(await select('fieldSelector=metadata.namespace%3Dnone')).toEqual([]);
    expect(await select('fieldSelector=data.after!%3Dx')).toEqual([]);
    await using honest = await offline(without('offlineFieldSelectors'));
    expect((await honest.edge.get(`${maps}?fieldSelector=data.after!%3Dx`)).names).toHaveLength(3);
  });

  it('ignore limit and continue', async () => {
    await using t = await offline();
    const list = await t.edge.get(`${maps}?limit=1&continue=abc`);
    expect(list.names).toHaveLength(3);
    expect(list.body.metadata?.continue).toBeUndefined();
    await using honest = await offline(without('offlineLimitIgnored'));
    expect((await honest.edge.get(`${maps}?limit=1`)).names).toHaveLength(1);
  });

  it('misspell the kinds of Istio', async () => {
    await using t = await createEdgeFixture({ coldReplayShare: 1 });
    t.cloud.applyYaml('{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {name: d}}');
    t.cloud.applyYaml('{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: v}}');
    const base = '/apis/networking.istio.io/v1alpha3';
    for (const resource of ['destinationrules', 'virtualservices'])
      await (await t.edge.watch(`${base}/${resource}?watch=1`)).take(1);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(`${base}/destinationrules`)).body).toMatchObject({
      kind: 'DestinationruleList',
      items: [{ kind: 'DestinationRule' }],
    });
    expect((await t.edge.get(`${base}/virtualservices`)).body.kind).toBe('VirtualserviceList');
  });

  it('know only the version that was watched', async () => {
    await using t = await createEdgeFixture();
    t.cloud.applyYaml('{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}}');
    await (await t.edge.watch('/apis/networking.istio.io/v1alpha3/virtualservices?watch=1')).take(1);
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get('/apis/networking.istio.io/v1alpha3/virtualservices')).names).toEqual(['v']);
    expect((await t.edge.get('/apis/networking.istio.io/v1beta1/virtualservices')).names).toEqual([]);
  });

  it('have a revision that goes backwards', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    await (await t.edge.watch(watchMaps)).take(1);
    t.cloud.applyYaml('{apiVersion: v1, kind: Secret, metadata: {name: s}}');
    expect((await t.edge.get(maps)).body.metadata?.resourceVersion).toBe('1002');
    t.meta.disconnect();
    expect((await t.edge.get(maps)).body.metadata?.resourceVersion).toBe('1001');
  });
});

describe('EndpointSlices', () => {
  const slices = '/apis/discovery.k8s.io/v1/endpointslices';
  const slice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: NAME, labels: { kubernetes.io/service-name: svc } }
addressType: IPv4
endpoints: [{ addresses: [10.244.3.10], conditions: { ready: true } }, { addresses: [10.244.3.11] }]
ports: [{ name: https, port: 8443 }, { name: tcp, port: 8080 }]`;

  it('show 127.0.0.1 in lists, the truth in GETs and watches', async () => {
    await using t = await createEdgeFixture(without('stockRbac', 'endpointSlicesLostAtFirst'));
    for (const name of ['one', 'kubernetes']) t.cloud.applyYaml(slice.replace('NAME', name));
    const list = await t.edge.get(slices);
    expect(list.body.items).toHaveLength(2);
    expect(list.body.items?.[1]).toMatchObject({
      endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
      ports: [{ port: 10550 }, { port: 8080 }],
    });
    const one = await t.edge.get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/one');
    expect(one.body.endpoints).toMatchObject([{ addresses: ['10.244.3.10'] }, { addresses: ['10.244.3.11'] }]);
    const kubernetes = await t.edge.get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes');
    expect(kubernetes.body.endpoints).toMatchObject([{ addresses: ['127.0.0.1'] }]);
    const watch = await t.edge.watch(`${slices}?watch=1&fieldSelector=metadata.name%3Done`);
    expect((await watch.next())?.object.endpoints).toHaveLength(2);
  });

  it('are the truth everywhere when the rewriting is switched off', async () => {
    await using t = await createEdgeFixture(without('stockRbac', 'endpointSliceRewrite'));
    t.cloud.applyYaml(slice.replace('NAME', 'kubernetes'));
    expect((await t.edge.get(slices)).body.items?.[0]).toMatchObject({
      endpoints: [{ addresses: ['10.244.3.10'] }, {}],
    });
  });

  it('are not cloudcore’s to list with the stock ClusterRole: the list is local and empty', async () => {
    await using t = await createEdgeFixture();
    t.cloud.applyYaml(slice.replace('NAME', 'one'));
    expect((await t.edge.get(slices)).text).toBe(
      '{"apiVersion":"discovery.k8s.io/v1","items":[],"kind":"EndpointSliceList"}',
    );
    expect((await t.api.get(slices)).names).toEqual(['one']);
    expect((await t.edge.get('/api/v1/endpoints')).body.metadata?.resourceVersion).toBe('1001');
  });

  it('are lost in the first watch, until they change', async () => {
    await using t = await createEdgeFixture(without('stockRbac'));
    t.cloud.applyYaml(slice.replace('NAME', 'one'));
    t.cloud.applyYaml(slice.replace('NAME', 'two'));
    const watch = await t.edge.watch(`${slices}?watch=1`);
    await expect.poll(() => t.meta.rejected.length).toBe(2);
    expect(t.meta.rejected[0]).toBe(`Object 'Kind' is missing in {"metadata":{"name":"two","namespace":"default"}}`);
    t.cloud.applyYaml(slice.replace('NAME', 'one').replace('8080', '8081'));
    expect(await watch.take(1)).toEqual(['ADDED one']);
    expect(t.meta.rows('endpointslices', { group: 'discovery.k8s.io' })).toHaveLength(1);
  });
});

describe('GET and write', () => {
  it('answer 404 for what the edge never knew, online and offline', async () => {
    await using t = await createEdgeFixture();
    const path = '/api/v1/namespaces/default/configmaps/x';
    expect((await t.edge.get(path)).body).toMatchObject({ kind: 'Status', code: 404 });
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get(path)).body).toMatchObject({ kind: 'Status', code: 404 });
  });

  it('treat ?watch=1 on an object as a plain GET', async () => {
    await using t = await createEdgeFixture();
    t.put('a');
    expect((await t.edge.get('/api/v1/namespaces/default/configmaps/a?watch=1')).body.metadata?.name).toBe('a');
  });

  it('pass writes on, and refuse them offline', async () => {
    await using t = await createEdgeFixture();
    const path = '/api/v1/namespaces/default/configmaps';
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } };
    expect((await t.edge.send('POST', path, body)).status).toBe(201);
    expect((await t.edge.send('POST', path, body)).status).toBe(409);
    t.meta.disconnect({ silent: false });
    const lost = await t.edge.send('POST', path, body);
    expect(lost.status).toBe(500);
    expect(lost.body.message).toContain('connection lost between EdgeCore and CloudCore');
  });
});

describe('discovery', () => {
  it('is protobuf under the name of JSON', async () => {
    await using t = await createEdgeFixture();
    for (const path of ['/api', '/apis', '/api/v1', '/apis/discovery.k8s.io/v1']) {
      const answer = await t.edge.get(path);
      expect(answer.headers.get('content-type')).toBe('application/json');
      expect(answer.text.startsWith('k8s\0'), path).toBe(true);
    }
    expect((await t.edge.get('/version')).body).toMatchObject({ major: '1' });
    await using honest = await createEdgeFixture(without('protobufDiscovery'));
    expect((await honest.edge.get('/apis')).body.kind).toBe('APIGroupList');
  });

  it('is the last answer offline, or a plain-text 500', async () => {
    await using t = await createEdgeFixture();
    await t.edge.get('/apis');
    await t.edge.get('/readyz');
    t.meta.disconnect({ silent: false });
    expect((await t.edge.get('/apis')).text.startsWith('k8s\0')).toBe(true);
    expect((await t.edge.get('/readyz')).text).toBe('ok');
    const never = await t.edge.get('/api/v1');
    expect([never.status, never.headers.get('content-type'), never.text]).toEqual([
      500,
      'text/plain; charset=utf-8',
      '"" not found',
    ]);
    await using honest = await createEdgeFixture(without('plainTextErrors'));
    honest.meta.disconnect({ silent: false });
    expect((await honest.edge.get('/api')).body).toMatchObject({ kind: 'Status', code: 503 });
  });
});
