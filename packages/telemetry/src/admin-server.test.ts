import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type AdminServerOptions, createAdminServer } from './admin-server.ts';
import type { TelemetryError } from './errors.ts';
import { createHealth } from './health.ts';
import { createMetrics } from './metrics.ts';

async function serving(options: Partial<AdminServerOptions> = {}) {
  const health = createHealth();
  const metrics = createMetrics();
  const server = await createAdminServer({ listen: { host: '127.0.0.1', port: 0 }, health, metrics, ...options });
  return { server, health, metrics };
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly text: string;
}

function get(url: string, options: { method?: string; headers?: Record<string, string> } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { ...options, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
    });
    outgoing.on('error', reject).end();
  });
}

describe('the admin endpoint', () => {
  it('is alive from the start, and ready when every module is', async () => {
    const { server, health } = await serving();
    await using _ = server;
    const module = health.register('dns');
    expect((await get(`${server.url}/healthz`)).status).toBe(200);
    const before = await get(`${server.url}/readyz`);
    expect([before.status, JSON.parse(before.text)]).toEqual([503, { ok: false, failing: ['dns'] }]);
    module.set('ready');
    const after = await get(`${server.url}/readyz?verbose`);
    expect(after.status).toBe(200);
    expect(JSON.parse(after.text)).toMatchObject({ ok: true, modules: [{ name: 'dns', state: 'ready', reason: '' }] });
  });

  it('serves metrics, status and further pages', async () => {
    const { server, metrics } = await serving({
      status: () => ({ nodeName: 'a' }),
      routes: [{ path: '/x', handle: ({ query }) => ({ status: 202, body: { q: query.get('q') } }) }],
    });
    await using _ = server;
    metrics.counter({ name: 'c_total', help: 'C.' }).with().add(2);
    const page = await get(`${server.url}/metrics`);
    expect(page.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(page.text).toContain('c_total 2\n');
    expect(JSON.parse((await get(`${server.url}/status`)).text)).toEqual({ modules: [], nodeName: 'a' });
    const further = await get(`${server.url}/x?q=1`);
    expect([further.status, JSON.parse(further.text)]).toEqual([202, { q: '1' }]);
  });

  it('answers HEAD without a body, 404 and 405 as short JSON, and a failing page with 500', async () => {
    const { server } = await serving({
      status: () => {
        throw new Error('s3cret detail');
      },
    });
    await using _ = server;
    const head = await get(`${server.url}/metrics`, { method: 'HEAD' });
    expect([head.status, head.text, Number(head.headers['content-length']) > 0]).toEqual([200, '', true]);
    const missing = await get(`${server.url}/nope`);
    expect([missing.status, JSON.parse(missing.text).error]).toEqual([404, 'not found']);
    const post = await get(`${server.url}/status`, { method: 'POST' });
    expect([post.status, post.headers.allow]).toEqual([405, 'GET, HEAD']);
    const broken = await get(`${server.url}/status`);
    expect(broken.status).toBe(500);
    expect(broken.text).not.toContain('s3cret');
  });

  it('on loopback refuses what a web page sends', async () => {
    const { server } = await serving();
    await using _ = server;
    const foreign: Record<string, string>[] = [
      { host: 'evil.example' },
      { host: '127.0.0.1.evil.example' },
      { host: `localhost:${server.port}`, origin: 'http://evil.example' },
      { 'sec-fetch-site': 'cross-site' },
    ];
    for (const headers of foreign) expect((await get(`${server.url}/status`, { headers })).status).toBe(403);
    for (const host of ['localhost', `LOCALHOST:${server.port}`, '[::1]:1', '127.9.9.9']) {
      expect((await get(`${server.url}/status`, { headers: { host } })).status).toBe(200);
    }
  });

  it('on all addresses does not ask for the name', async () => {
    const { server } = await serving({ listen: { host: '0.0.0.0', port: 0 } });
    await using _ = server;
    expect((await get(`http://127.0.0.1:${server.port}/healthz`, { headers: { host: 'node-1.example' } })).status).toBe(
      200,
    );
  });

  it('a busy port is an error that names it', async () => {
    const { server } = await serving();
    await using _ = server;
    const error = await serving({ listen: { host: '127.0.0.1', port: server.port } }).then(
      () => undefined,
      (reason: TelemetryError) => reason,
    );
    expect([error?.name, error?.code, error?.retryable]).toEqual(['TelemetryError', 'address-in-use', true]);
    expect(error?.message).toContain(`127.0.0.1:${server.port}`);
    await expect(serving({ listen: { host: '192.0.2.1', port: 1 } })).rejects.toMatchObject({ code: 'listen-failed' });
  });

  it('gives profiles only when told to, one at a time', async () => {
    const without = await serving();
    expect((await get(`${without.server.url}/debug/cpu`)).status).toBe(404);
    await without.server[Symbol.asyncDispose]();
    const { server } = await serving({ profiling: true });
    await using _ = server;
    const [first, second] = await Promise.all([
      get(`${server.url}/debug/cpu?seconds=0.2`),
      get(`${server.url}/debug/cpu?seconds=0.2`),
    ]);
    expect([first.status, second.status].toSorted()).toEqual([200, 429]);
    expect(JSON.parse((first.status === 200 ? first : second).text)).toHaveProperty('nodes');
    expect((await get(`${server.url}/debug/cpu?seconds=9999`)).status).toBe(400);
    const heap = await get(`${server.url}/debug/heap`);
    expect(heap.status).toBe(200);
    expect(heap.text.startsWith('{"snapshot"')).toBe(true);
  });

  it('garbage and half requests do not stop it, and closing ends open connections', async () => {
    const { server } = await serving();
    const garbage = connect(server.port, '127.0.0.1').resume();
    garbage.write('\0\0garbage\r\n\r\n');
    await once(garbage, 'close');
    const silent = connect(server.port, '127.0.0.1').resume();
    await once(silent, 'connect');
    silent.write('GET /healthz HTTP/1.1\r\n');
    expect((await get(`${server.url}/healthz`)).status).toBe(200);
    const closed = once(silent, 'close');
    await server[Symbol.asyncDispose]();
    await closed;
    await server[Symbol.asyncDispose]();
  });
});
