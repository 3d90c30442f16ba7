import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFakeClock } from '@edgemesh/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CorsPolicy, HeaderOps, PathMatch, RedirectAction, Route } from '../route-model.ts';
import { clusterOf, endpointAt, forwardTo, startProxy, type TestProxy, tableOf } from '../test-support.ts';
import { withoutDotSegments } from './check-target.ts';

interface Arrived {
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

const arrived: Arrived[] = [];
const backend = createServer((req, res) => {
  let body = '';
  req.on('data', (chunk) => {
    body += chunk;
  });
  req.on('end', () => {
    arrived.push({ url: req.url ?? '', headers: req.headers, body });
    res.writeHead(200, { 'x-drop': '1', 'x-keep': '1', 'access-control-allow-origin': 'backend' }).end('ok');
  });
});
let endpoint: ReturnType<typeof endpointAt>;
let proxy: TestProxy | undefined;

beforeAll(async () => {
  backend.listen(0, '127.0.0.1');
  await once(backend, 'listening');
  endpoint = endpointAt((backend.address() as AddressInfo).port);
});

afterEach(async () => {
  await proxy?.[Symbol.asyncDispose]();
  proxy = undefined;
  arrived.length = 0;
});

afterAll(async () => {
  backend.closeAllConnections();
  await new Promise((resolve) => backend.close(resolve));
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

async function ask(
  route: Route,
  path = '/',
  init: { method?: string; headers?: Record<string, string>; body?: string } = {},
  options: Parameters<typeof startProxy>[2] = {},
): Promise<Answer> {
  proxy ??= await startProxy(tableOf(route), { b: [endpoint], m: [endpoint] }, options);
  const sent = request({
    port: proxy.port,
    host: '127.0.0.1',
    path,
    method: init.method ?? 'GET',
    headers: { host: 'shop.example', ...init.headers },
    agent: false,
  });
  sent.end(init.body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  response.on('data', (chunk) => {
    body += chunk;
  });
  await once(response, 'end');
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

const b = clusterOf('b');
const forwardRoute = (more: Partial<Route> = {}, action: object = {}): Route => ({
  name: 'r',
  matches: [],
  action: { ...forwardTo(b), ...action },
  ...more,
});

describe('headers', () => {
  it('are removed, set and added for request and response, by the route and then by the backend', async () => {
    const ops: HeaderOps = {
      remove: ['X-Gone'],
      set: [
        ['X-Set', 'route'],
        ['x-both', 'route'],
      ],
      add: [['x-add', '2']],
    };
    const route = forwardRoute(
      { requestHeaders: ops, responseHeaders: { remove: ['x-drop'], add: [['x-who', 'route']] } },
      {
        backends: [
          {
            weight: 1,
            cluster: b,
            requestHeaders: { set: [['x-both', 'backend']] },
            responseHeaders: { add: [['x-who', 'backend']] },
          },
        ],
      },
    );
    const answer = await ask(route, '/', { headers: { 'x-gone': '1', 'x-add': '1', 'x-set': 'client' } });
    expect(arrived[0]?.headers).toMatchObject({ 'x-set': 'route', 'x-add': '1, 2', 'x-both': 'backend' });
    expect(arrived[0]?.headers).not.toHaveProperty('x-gone');
    expect(answer.headers).toMatchObject({ 'x-keep': '1', 'x-who': 'route, backend' });
    expect(answer.headers).not.toHaveProperty('x-drop');
  });

  it('that frame the message or would break it are left alone', async () => {
    const ops: HeaderOps = {
      set: [
        ['Content-Length', '99'],
        ['transfer-encoding', 'x'],
        ['host', 'evil'],
        ['x-split', 'a\r\nx-evil: 1'],
        ['x bad', '1'],
      ],
      remove: ['content-length', 'host'],
    };
    const answer = await ask(forwardRoute({ requestHeaders: ops, responseHeaders: ops }), '/', {
      method: 'PUT',
      body: 'abc',
    });
    expect(answer).toMatchObject({ status: 200, body: 'ok' });
    expect(arrived[0]).toMatchObject({ body: 'abc', headers: { host: 'shop.example' } });
    expect(arrived[0]?.headers).not.toHaveProperty('x-evil');
  });
});

describe('rewrites', () => {
  it('change path and host, keep the query, and leave the sent host in X-Forwarded-Host', async () => {
    const path: PathMatch = { kind: 'segments', value: '/api' };
    const route = forwardRoute(
      { matches: [{ path }] },
      { rewrite: { path: { kind: 'prefix', value: '/v2' }, host: 'inner.svc' } },
    );
    await ask(route, '/api/x?q=1');
    expect(arrived[0]).toMatchObject({
      url: '/v2/x?q=1',
      headers: { host: 'inner.svc', 'x-forwarded-host': 'shop.example' },
    });
  });
});

describe('dot segments', () => {
  it.each([
    ['/a/b', '/a/b'],
    ['/a/../b', '/b'],
    ['/a/./b', '/a/b'],
    ['/a/..', '/'],
    ['/a/.', '/a/'],
    ['/../../a', '/a'],
    ['/a/%2e%2E/b', '/b'],
    ['/a/.b/..c', '/a/.b/..c'],
    ['/a//../b', '/a/b'],
    ['/%2e', '/'],
    ['/a/%2f../b', '/a/%2f../b'],
  ])('of %s resolve to %s', (path, expected) => {
    expect(withoutDotSegments(path)).toBe(expected);
  });

  it('cannot slip past a route', async () => {
    const guarded: Route = {
      name: 'g',
      matches: [{ path: { kind: 'segments', value: '/admin' } }],
      action: { kind: 'respond', status: 403 },
    };
    proxy = await startProxy(tableOf(guarded, forwardRoute()), { b: [endpoint] });
    expect((await ask(guarded, '/public/..%2e/%2e%2e/admin/x')).status).toBe(200);
    expect((await ask(guarded, '/public/%2e./admin/x')).status).toBe(403);
  });
});

describe('redirects', () => {
  const cases: [string, Partial<RedirectAction>, PathMatch | undefined, string][] = [
    ['nothing changed', {}, undefined, 'http://shop.example:PORT/a/b?q=1'],
    ['to https', { scheme: 'https' }, undefined, 'https://shop.example/a/b?q=1'],
    ['to https with a port', { scheme: 'https', port: 8443 }, undefined, 'https://shop.example:8443/a/b?q=1'],
    [
      'to https, port of the request',
      { scheme: 'https', port: 'request' },
      undefined,
      'https://shop.example:PORT/a/b?q=1',
    ],
    ['to another host', { host: 'other.example' }, undefined, 'http://other.example:PORT/a/b?q=1'],
    ['to a standard port', { port: 80 }, undefined, 'http://shop.example/a/b?q=1'],
    ['to the port of the scheme', { port: 'scheme' }, undefined, 'http://shop.example/a/b?q=1'],
    [
      'to a full path',
      { path: { kind: 'full', value: '/new' }, stripQuery: true },
      undefined,
      'http://shop.example:PORT/new',
    ],
    [
      'to another prefix',
      { path: { kind: 'prefix', value: '/x' } },
      { kind: 'segments', value: '/a' },
      'http://shop.example:PORT/x/b?q=1',
    ],
  ];
  it.each(cases)('%s', async (_name, action, path, expected) => {
    const route: Route = {
      name: 'r',
      matches: path === undefined ? [] : [{ path }],
      action: { kind: 'redirect', status: 301, ...action },
    };
    const answer = await ask(route, '/a/b?q=1');
    expect([answer.status, answer.headers.location]).toEqual([301, expected.replace('PORT', String(proxy?.port))]);
    expect(arrived).toHaveLength(0);
  });
});

describe('direct responses', () => {
  it('have status, body, type and the route’s headers', async () => {
    const route: Route = {
      name: 'r',
      matches: [],
      action: { kind: 'respond', status: 418, body: '{}', contentType: 'application/json' },
      responseHeaders: { set: [['x-a', 'b']] },
    };
    const answer = await ask(route);
    expect(answer).toMatchObject({
      status: 418,
      body: '{}',
      headers: { 'content-type': 'application/json', 'x-a': 'b', 'content-length': '2' },
    });
    expect(answer.headers.date).toMatch(/GMT$/);
  });
});

describe('CORS', () => {
  const policy: CorsPolicy = {
    allowOrigins: [
      { kind: 'exact', value: 'https://a.test' },
      { kind: 'regex', value: 'https://[a-z]+\\.b\\.test' },
    ],
    allowMethods: ['GET', 'PUT'],
    allowHeaders: ['x-a', 'x-b'],
    exposeHeaders: ['x-keep'],
    maxAgeSeconds: 600,
    allowCredentials: true,
  };
  const preflight = (origin: string) => ({
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-a' },
  });

  it('answers preflights of allowed origins here', async () => {
    const answer = await ask(forwardRoute({ cors: policy }), '/', preflight('https://x.b.test'));
    expect(answer.status).toBe(204);
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': 'https://x.b.test',
      'access-control-allow-methods': 'GET, PUT',
      'access-control-allow-headers': 'x-a, x-b',
      'access-control-max-age': '600',
      'access-control-allow-credentials': 'true',
      vary: 'origin',
    });
    expect(arrived).toHaveLength(0);
  });

  it('marks responses for allowed origins, over what the backend says', async () => {
    const answer = await ask(forwardRoute({ cors: policy }), '/', { headers: { origin: 'https://a.test' } });
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': 'https://a.test',
      'access-control-expose-headers': 'x-keep',
    });
  });

  it('leaves other origins to the backend', async () => {
    const answer = await ask(forwardRoute({ cors: policy }), '/', preflight('https://evil.test'));
    expect(answer.headers['access-control-allow-origin']).toBe('backend');
    expect(arrived).toHaveLength(1);
  });

  it('can answer the preflights of other origins without a grant', async () => {
    const answer = await ask(
      forwardRoute({ cors: { ...policy, unmatchedPreflights: 'answer' } }),
      '/',
      preflight('https://evil.test'),
    );
    expect([answer.status, answer.headers['access-control-allow-origin'], arrived.length]).toEqual([204, undefined, 0]);
  });

  it('grants what was asked for where everything is allowed', async () => {
    const open: CorsPolicy = {
      allowOrigins: [{ kind: 'exact', value: '*' }],
      allowMethods: ['*'],
      allowHeaders: ['*'],
    };
    const answer = await ask(forwardRoute({ cors: open }), '/', preflight('https://any.test'));
    expect(answer.headers).toMatchObject({
      'access-control-allow-methods': 'PUT',
      'access-control-allow-headers': 'x-a',
    });
  });
});

describe('faults', () => {
  it('abort with their status, and browsers can read them', async () => {
    const cors: CorsPolicy = { allowOrigins: [{ kind: 'exact', value: 'https://a.test' }] };
    const route = forwardRoute({ fault: { abort: { percent: 100, status: 555 } }, cors });
    const answer = await ask(route, '/', { headers: { origin: 'https://a.test' } });
    expect([answer.status, answer.headers['access-control-allow-origin'], arrived.length]).toEqual([
      555,
      'https://a.test',
      0,
    ]);
  });

  it('hit the given share', async () => {
    let turn = 0;
    const route = forwardRoute({ fault: { abort: { percent: 30, status: 503 } } });
    const statuses: number[] = [];
    for (let i = 0; i < 10; i++)
      statuses.push((await ask(route, '/', {}, { random: () => (turn++ % 20) / 20 })).status);
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThan(0);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
  });

  it('delay by the clock', async () => {
    const clock = createFakeClock();
    const route = forwardRoute({ fault: { delay: { percent: 100, ms: 5_000 } } });
    const answer = ask(route, '/', {}, { clock });
    await expect.poll(() => proxy?.proxy.activeRequests).toBe(1);
    clock.advance(4_999);
    expect(arrived).toHaveLength(0);
    clock.advance(1);
    expect((await answer).status).toBe(200);
  });
});

describe('mirrors', () => {
  it('get a copy of head and body, and their answer is dropped', async () => {
    const route = forwardRoute({}, { mirrors: [{ cluster: clusterOf('m'), percent: 100 }] });
    const answer = await ask(route, '/x?y', { method: 'POST', body: 'copy me', headers: { 'content-length': '7' } });
    expect(answer.body).toBe('ok');
    await expect.poll(() => arrived.length).toBe(2);
    expect(arrived.map(({ url, body }) => [url, body])).toEqual([
      ['/x?y', 'copy me'],
      ['/x?y', 'copy me'],
    ]);
    expect(arrived.map(({ headers }) => headers.host).sort()).toEqual(['shop.example', 'shop.example-shadow']);
  });

  it('that are unreachable or not chosen disturb nobody', async () => {
    const mirrors = [
      { cluster: clusterOf('nobody'), percent: 100 },
      { cluster: clusterOf('m'), percent: 0 },
    ];
    const answer = await ask(forwardRoute({}, { mirrors }), '/', { method: 'PUT', body: 'x' });
    expect([answer.status, arrived.length]).toEqual([200, 1]);
  });
});
