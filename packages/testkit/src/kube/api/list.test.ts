import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createKubeApi, type KubeApi, type KubeApiOptions } from '../index.ts';
import { createWireClient, type WireClient } from '../wire-client.ts';

const put = (api: KubeApi, name: string, namespace = 'default', labels: Record<string, string> = {}) =>
  api.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels } });
const path = '/api/v1/configmaps';

async function start(options?: KubeApiOptions) {
  const api = await createKubeApi(options);
  return { api, client: createWireClient(api.url), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

async function walk(client: WireClient, limit: number, query = ''): Promise<string[]> {
  const names: string[] = [];
  let token = '';
  do {
    const page = await client.get(`${path}?limit=${limit}${token && `&continue=${token}`}${query}`);
    expect(page.status).toBe(200);
    names.push(...page.names);
    token = String(page.body.metadata?.continue ?? '');
  } while (token !== '');
  return names;
}

describe('lists', () => {
  it('come in the order of the store: namespace, then name', async () => {
    await using t = await start();
    for (const [namespace, name] of [
      ['b', 'x'],
      ['a', 'z'],
      ['a', 'y'],
    ] as const)
      put(t.api, name, namespace);
    const all = await t.client.get(path);
    expect(all.names).toEqual(['y', 'z', 'x']);
    expect(all.body.metadata).toEqual({ resourceVersion: '1003' });
    expect((await t.client.get('/api/v1/namespaces/a/configmaps')).names).toEqual(['y', 'z']);
  });

  it('leave the type out of items of built-in kinds, and keep it for custom ones', async () => {
    await using t = await start();
    put(t.api, 'a');
    t.api.apply({ apiVersion: 'networking.istio.io/v1', kind: 'Gateway', metadata: { name: 'g' } });
    expect((await t.client.get(path)).body.items?.[0]?.kind).toBeUndefined();
    const gateways = await t.client.get('/apis/networking.istio.io/v1/gateways');
    expect(gateways.body.items?.[0]?.kind).toBe('Gateway');
    expect(gateways.body.metadata).toEqual({ continue: '', resourceVersion: '1002' });
  });

  it('select by labels and fields', async () => {
    await using t = await start();
    put(t.api, 'a', 'n', { tier: 'web' });
    put(t.api, 'b', 'm', { tier: 'db' });
    put(t.api, 'c', 'm');
    const select = async (query: string) => (await t.client.get(`${path}?${query}`)).names;
    expect(await select('labelSelector=tier%3Dweb')).toEqual(['a']);
    expect(await select('labelSelector=!tier')).toEqual(['c']);
    expect(await select(`labelSelector=${encodeURIComponent('tier in (web,db)')}`)).toEqual(['b', 'a']);
    expect(await select('fieldSelector=metadata.name%3Db')).toEqual(['b']);
    expect(await select('fieldSelector=metadata.namespace!%3Dm')).toEqual(['a']);
    expect((await t.client.get(`${path}?fieldSelector=spec.type%3Dx`)).status).toBe(400);
    expect((await t.client.get(`${path}?labelSelector=a%20b`)).status).toBe(400);
  });

  it('know the extra fields of a kind', async () => {
    await using t = await start();
    const service = (name: string, type: string) =>
      t.api.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { type, ports: [{ port: 1 }] } });
    service('a', 'NodePort');
    service('b', 'ClusterIP');
    expect((await t.client.get('/api/v1/services?fieldSelector=spec.type%3DNodePort')).names).toEqual(['a']);
  });
});

describe('pages', () => {
  it('hand out every object once, and count what remains', async () => {
    await using t = await start();
    for (const name of ['a', 'b', 'c', 'd', 'e']) put(t.api, name);
    const first = await t.client.get(`${path}?limit=2`);
    expect(first.body.metadata).toMatchObject({
      resourceVersion: '1005',
      remainingItemCount: 3,
      continue: expect.any(String),
    });
    expect(await walk(t.client, 2)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('show the state of the first page, whatever happens in between', async () => {
    await using t = await start();
    for (const name of ['a', 'b', 'c']) put(t.api, name);
    const first = await t.client.get(`${path}?limit=1`);
    put(t.api, 'bb');
    t.api.remove('ConfigMap', 'default', 'c');
    const rest = await t.client.get(`${path}?limit=9&continue=${first.body.metadata?.continue}`);
    expect(rest.names).toEqual(['b', 'c']);
    expect(rest.body.metadata?.resourceVersion).toBe('1003');
  });

  it('hand out the same as one whole list, for any names and any limit', async () => {
    await using t = await start({ managedFields: false });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.stringMatching(/^[a-d]{1,3}$/), { maxLength: 9 }),
        fc.integer({ min: 1, max: 5 }),
        async (names, limit) => {
          for (const object of t.api.list('ConfigMap')) t.api.remove('ConfigMap', 'default', object.metadata.name);
          for (const name of names) put(t.api, name);
          expect(await walk(t.client, limit)).toEqual([...names].sort());
        },
      ),
      { numRuns: 20 },
    );
  });

  it('expire with 410 and a token for an inconsistent rest', async () => {
    await using t = await start();
    for (const name of ['a', 'b', 'c']) put(t.api, name);
    const first = await t.client.get(`${path}?limit=1`);
    t.api.remove('ConfigMap', 'default', 'b');
    t.api.compact();
    const expired = await t.client.get(`${path}?limit=1&continue=${first.body.metadata?.continue}`);
    expect(expired.body).toMatchObject({ code: 410, reason: 'Expired' });
    const rest = await t.client.get(`${path}?limit=5&continue=${expired.body.metadata?.continue}`);
    expect(rest.names).toEqual(['c']);
  });

  it('expire by hand', async () => {
    await using t = await start();
    for (const name of ['a', 'b']) put(t.api, name);
    const first = await t.client.get(`${path}?limit=1`);
    t.api.expireContinueTokens();
    expect((await t.client.get(`${path}?continue=${first.body.metadata?.continue}`)).status).toBe(410);
  });

  it('refuse tokens that are none, and revisions beside a token', async () => {
    await using t = await start();
    expect((await t.client.get(`${path}?continue=nonsense`)).body).toMatchObject({ code: 400, reason: 'BadRequest' });
    put(t.api, 'a');
    put(t.api, 'b');
    const { body } = await t.client.get(`${path}?limit=1`);
    expect((await t.client.get(`${path}?continue=${body.metadata?.continue}&resourceVersion=1001`)).status).toBe(400);
  });
});

describe('revisions of lists', () => {
  it('list the exact state of a revision', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    t.api.remove('ConfigMap', 'default', 'a');
    const at = async (revision: number) =>
      (await t.client.get(`${path}?resourceVersion=${revision}&resourceVersionMatch=Exact`)).names;
    expect(await at(1001)).toEqual(['a']);
    expect(await at(1002)).toEqual(['a', 'b']);
    expect(await at(1003)).toEqual(['b']);
  });

  it('take a bare revision with a limit as exact, without one as a lower bound', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    expect((await t.client.get(`${path}?resourceVersion=1001&limit=5`)).names).toEqual(['a']);
    expect((await t.client.get(`${path}?resourceVersion=1001`)).names).toEqual(['a', 'b']);
    expect((await t.client.get(`${path}?resourceVersion=1001&resourceVersionMatch=NotOlderThan`)).names).toEqual([
      'a',
      'b',
    ]);
  });

  it('answer 410 for an exact revision that is compacted', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    t.api.compact();
    const old = await t.client.get(`${path}?resourceVersion=1001&resourceVersionMatch=Exact`);
    expect(old.body).toMatchObject({ code: 410, reason: 'Expired' });
    expect((await t.client.get(`${path}?resourceVersion=1`)).status).toBe(200);
  });

  it('compact by themselves beyond the limit of history', async () => {
    await using t = await start({ historyLimit: 2 });
    for (const name of ['a', 'b', 'c', 'd']) put(t.api, name);
    const exact = async (revision: number) =>
      (await t.client.get(`${path}?resourceVersion=${revision}&resourceVersionMatch=Exact`)).status;
    expect(await exact(1001)).toBe(410);
    expect(await exact(1002)).toBe(200);
  });

  it('wait for a revision of the future, then give up with 504', async () => {
    await using t = await start({ tooLargeWaitMs: 30 });
    const late = await t.client.get(`${path}?resourceVersion=5000`);
    expect(late.body).toMatchObject({
      code: 504,
      reason: 'Timeout',
      message: 'Timeout: Too large resource version: 5000, current: 1000',
      details: { causes: [{ reason: 'ResourceVersionTooLarge' }], retryAfterSeconds: 1 },
    });
  });

  it('answer once the revision of the future is there', async () => {
    await using t = await start({ tooLargeWaitMs: 10_000 });
    const waiting = t.client.get(`${path}?resourceVersion=1001`);
    await expect.poll(() => t.api.requests.length).toBe(1);
    put(t.api, 'a');
    expect((await waiting).names).toEqual(['a']);
  });

  it('read a frozen cache with resourceVersion=0, and ignore the limit there', async () => {
    await using t = await start();
    put(t.api, 'a');
    put(t.api, 'b');
    t.api.freezeCache();
    put(t.api, 'c');
    const stale = await t.client.get(`${path}?resourceVersion=0&limit=1`);
    expect([stale.names, stale.body.metadata]).toEqual([['a', 'b'], { resourceVersion: '1002' }]);
    expect((await t.client.get(path)).names).toEqual(['a', 'b', 'c']);
    t.api.thawCache();
    expect((await t.client.get(`${path}?resourceVersion=0`)).names).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['resourceVersionMatch=Exact', 422],
    ['resourceVersion=5&resourceVersionMatch=Sometimes', 422],
    ['resourceVersion=0&resourceVersionMatch=Exact', 422],
    ['sendInitialEvents=true', 422],
    ['resourceVersion=abc', 400],
    ['limit=-1', 400],
  ])('refuse ?%s with %i', async (query, code) => {
    await using t = await start();
    expect((await t.client.get(`${path}?${query}`)).body).toMatchObject({ kind: 'Status', code });
  });
});
