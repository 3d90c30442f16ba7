import { get } from 'node:https';
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../fake-clock.ts';
import { createKubeApi, createTestCertificate, type KubeApiOptions } from '../index.ts';
import { createWireClient } from '../wire-client.ts';

const path = '/api/v1/services';

async function start(options?: KubeApiOptions) {
  const api = await createKubeApi(options);
  return { api, client: createWireClient(api.url), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

describe('faults', () => {
  it('fail the next requests and say when to come back', async () => {
    await using t = await start();
    t.api.faults.fail(429, { times: 2, retryAfterSeconds: 7 });
    t.api.faults.fail(500, { match: { resource: 'pods' } });
    const first = await t.client.get(path);
    expect([first.status, first.headers.get('retry-after'), first.body.reason]).toEqual([429, '7', 'TooManyRequests']);
    expect((await t.client.get(path)).status).toBe(429);
    expect((await t.client.get(path)).status).toBe(200);
    expect((await t.client.get('/api/v1/pods')).status).toBe(500);
    const cancel = t.api.faults.fail(503);
    cancel();
    expect((await t.client.get(path)).status).toBe(200);
  });

  it('delay by the clock', async () => {
    const clock = createFakeClock();
    await using t = await start({ clock });
    t.api.faults.delay(5000, { match: { verbs: ['list'] } });
    let done = false;
    const answer = t.client.get(path).then((result) => {
      done = true;
      return result;
    });
    await expect.poll(() => clock.pendingTimers).toBe(1);
    clock.advance(4999);
    expect(done).toBe(false);
    clock.advance(1);
    expect((await answer).status).toBe(200);
  });

  it('hang until released', async () => {
    await using t = await start();
    const release = t.api.faults.hang();
    const answer = t.client.get(path);
    await expect.poll(() => t.api.requests.length).toBe(1);
    expect(t.api.requests[0]?.status).toBeUndefined();
    release();
    expect((await answer).status).toBe(200);
  });

  it('refuse connections and take them again on the same port', async () => {
    await using t = await start();
    const watch = await t.client.watch(`${path}?watch=1`);
    await t.api.refuseConnections();
    await expect(watch.next()).rejects.toThrow();
    await expect(t.client.get(path)).rejects.toThrow();
    await t.api.acceptConnections();
    expect((await t.client.get(path)).status).toBe(200);
  });

  it('compress large answers for those who accept it', async () => {
    await using t = await start({ gzipFromBytes: 10 });
    const answer = await t.client.get(path);
    expect([answer.headers.get('content-encoding'), answer.status]).toEqual(['gzip', 200]);
  });

  it('refuse bodies beyond the limit', async () => {
    await using t = await start({ maxBodyBytes: 100 });
    expect((await t.client.send('POST', '/api/v1/namespaces/default/services', { x: 'y'.repeat(200) })).body.code).toBe(
      413,
    );
  });
});

describe('access', () => {
  it('asks for a token and names the user in refusals', async () => {
    await using t = await start({ tokens: { secret: 'edge' } });
    const as = (token: string) => t.client.get(path, { authorization: `Bearer ${token}` });
    expect((await t.client.get(path)).body).toMatchObject({ code: 401, reason: 'Unauthorized' });
    expect((await as('wrong')).status).toBe(401);
    expect((await as('toString')).status).toBe(401);
    expect((await as('secret')).status).toBe(200);
    expect((await t.client.get('/readyz')).status).toBe(200);
    const allow = t.api.access.forbid({ resources: ['services'], verbs: ['list'] });
    expect((await as('secret')).body).toMatchObject({
      code: 403,
      reason: 'Forbidden',
      message:
        'services is forbidden: User "edge" cannot list resource "services" in API group "" at the cluster scope',
    });
    allow();
    expect((await as('secret')).status).toBe(200);
  });

  it('can be narrowed to a few rules, per namespace', async () => {
    await using t = await start();
    t.api.access.allowOnly('system:anonymous', [
      { verbs: ['list', 'watch'], groups: [''], resources: ['services'], namespaces: ['n'] },
    ]);
    const status = async (at: string) => (await t.client.get(at)).status;
    expect(await status('/api/v1/namespaces/n/services')).toBe(200);
    expect(await status('/api/v1/namespaces/n/services/x')).toBe(403);
    expect(await status(path)).toBe(403);
    expect(await status('/apis/discovery.k8s.io/v1/namespaces/n/endpointslices')).toBe(403);
    t.api.access.allowOnly('system:anonymous', undefined);
    expect(await status(path)).toBe(200);
  });
});

describe('HTTPS', () => {
  it('serves a certificate that clients can verify', async () => {
    const tls = createTestCertificate();
    await using t = await start({ tls });
    expect(t.api.url).toMatch(/^https:/);
    const status = (ca: string | undefined) =>
      new Promise((resolve, reject) => {
        get(t.api.url + path, { ca, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode);
        }).on('error', reject);
      });
    expect(await status(tls.cert)).toBe(200);
    await expect(status(undefined)).rejects.toThrow(/self-signed/);
  });
});
