import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  Agent,
  createServer,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  request,
} from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { createFakeClock } from '@edgemesh/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import type { AccessLogEntry } from './access-log.ts';
import type { Route } from './route-model.ts';
import {
  allTo,
  clusterOf,
  endpointAt,
  exchangeRaw,
  forwardTo,
  startProxy,
  startRawServer,
  tableOf,
} from './test-support.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

function use<T extends AsyncDisposable>(resource: T): T {
  open.push(async () => resource[Symbol.asyncDispose]());
  return resource;
}

/** A node:http backend; gives its port. */
async function backend(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
  readonly body: string;
}

function ask(port: number, options: RequestOptions = {}, body?: string | Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('latin1');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          trailers: response.trailers,
          body: text,
        }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const b = clusterOf('b');
const echoHead: RequestListener = (req, res) => {
  res.setHeader('content-type', 'application/json');
  req.resume();
  req.on('end', () => res.end(JSON.stringify({ url: req.url, method: req.method, raw: req.rawHeaders })));
};

function headersOf(answer: Answer): Record<string, string> {
  const { raw } = JSON.parse(answer.body) as { raw: string[] };
  return Object.fromEntries(raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1] as string]] : [])));
}

describe('a forwarded request', () => {
  it('keeps end-to-end fields and loses those of the hop', async () => {
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(await backend(echoHead))] }));
    const answer = await exchangeRaw(
      proxy.port,
      'GET /p?q=1 HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nKeep-Alive: timeout=5\r\n' +
        'Proxy-Connection: x\r\nTE: trailers\r\nUpgrade: foo\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n\r\n',
    );
    const body = answer.slice(answer.indexOf('{'));
    const headers = headersOf({ status: 200, headers: {}, trailers: {}, body });
    expect(JSON.parse(body).url).toBe('/p?q=1');
    expect(headers).toMatchObject({
      host: 'shop.example:8080',
      'x-end': '2',
      te: 'trailers',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'shop.example:8080',
      traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/),
      'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    for (const name of ['x-hop', 'keep-alive', 'proxy-connection', 'upgrade', 'forwarded']) {
      expect(headers).not.toHaveProperty(name);
    }
  });

  it('passes on what a trusted proxy says', async () => {
    const options = { forwarding: { trust: () => true, forwarded: true, via: 'edge' } };
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(await backend(echoHead))] }, options));
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const answer = await ask(proxy.port, {
      headers: {
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-proto': 'https',
        forwarded: 'for=1.2.3.4',
        'x-request-id': 'mine',
        traceparent,
      },
    });
    expect(headersOf(answer)).toMatchObject({
      'x-forwarded-for': '1.2.3.4, 127.0.0.1',
      'x-forwarded-proto': 'https',
      forwarded: expect.stringMatching(/^for=1.2.3.4, for=127.0.0.1;host="127.0.0.1:\d+";proto=http$/),
      'x-request-id': 'mine',
      via: '1.1 edge',
      traceparent,
    });
    expect(answer.headers.via).toBe('1.1 edge');
  });

  it('streams both ways at once', async () => {
    const port = await backend((req, res) => void req.pipe(res));
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const sent = request({ port: proxy.port, host: '127.0.0.1', method: 'POST', agent: false });
    sent.write('one');
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    expect(String((await once(response, 'data'))[0])).toBe('one');
    sent.write('two');
    expect(String((await once(response, 'data'))[0])).toBe('two');
    sent.end();
    response.resume();
    await once(response, 'end');
  });

  it('carries 24 MiB each way unharmed, chunked and with a length', async () => {
    const hash = (data: Buffer) => createHash('sha256').update(data).digest('hex');
    const port = await backend((req, res) => {
      if (req.headers['content-length'] !== undefined) res.setHeader('content-length', req.headers['content-length']);
      req.pipe(res);
    });
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const data = Buffer.alloc(24 << 20, 'edge mesh ');
    for (const headers of [{ 'content-length': data.length }, { 'transfer-encoding': 'chunked' }]) {
      const answer = await ask(proxy.port, { method: 'POST', headers }, data);
      expect(hash(Buffer.from(answer.body, 'latin1'))).toBe(hash(data));
    }
  });

  it('carries trailers both ways', async () => {
    const port = await backend((req, res) => {
      req.resume();
      req.on('end', () => {
        res.writeHead(200, { trailer: 'x-sum' });
        res.write('body');
        res.addTrailers({ 'x-sum': `got ${req.trailers['x-t']}`, 'content-length': '9' });
        res.end();
      });
    });
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const raw =
      'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\nX-T: v\r\nContent-Length: 7\r\n\r\n';
    const answer = await exchangeRaw(proxy.port, raw);
    expect(answer).toMatch(/4\r\nbody\r\n0\r\nx-sum: got v\r\n\r\n$/);
  });

  it('waits for 100 Continue, and passes 103 on', async () => {
    let continued = 0;
    const { port: informing } = use(
      await startRawServer((socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n');
          socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
        });
      }),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(informing)] }));
    const sent = request({
      port: proxy.port,
      host: '127.0.0.1',
      method: 'PUT',
      agent: false,
      headers: { expect: '100-continue', 'content-length': 3 },
    });
    const hints: unknown[] = [];
    sent.on('information', (info) => hints.push(info.statusCode));
    sent.on('continue', () => {
      continued++;
      sent.end('abc');
    });
    sent.flushHeaders();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    expect([response.statusCode, continued, hints]).toEqual([200, 1, [103, 100]]);
    response.resume();
    await once(response, 'end');
  });

  it('passes a refusal of 100-continue on without reading the body', async () => {
    const { port: refusing } = use(
      await startRawServer((socket) => {
        socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'));
      }),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(refusing)] }));
    const answer = await exchangeRaw(
      proxy.port,
      'PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  it.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n', /content-length: 500\r\n.*\r\n\r\n$/s],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', /^HTTP\/1.1 204 No Content\r\n(?!.*content-length).*\r\n\r\n$/s],
    [
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: "a"\r\n\r\n',
      /etag: "a"\r\ncontent-length: 500\r\n/,
    ],
    ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', /content-length: 0\r\n/],
  ])('gets no body with %s and %j', async (method, response, expected) => {
    const { port } = use(await startRawServer((socket) => socket.on('data', () => socket.write(response))));
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const raw = `${method} / HTTP/1.1\r\nHost: h\r\n\r\n${method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`;
    const answer = await exchangeRaw(proxy.port, raw);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(2);
    expect(answer.slice(answer.lastIndexOf('HTTP/1.1'))).toMatch(expected);
  });

  it('gets a body that lasts until the close as chunks', async () => {
    const { port } = use(
      await startRawServer((socket) => socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\nall of it'))),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    expect((await ask(proxy.port)).body).toBe('all of it');
    expect(await exchangeRaw(proxy.port, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/connection: close\r\n\r\nall of it$/);
  });
});

describe('a kept connection', () => {
  it('is routed request by request, pipelined ones in order', async () => {
    const one = await backend((_req, res) => void setTimeout(() => res.end('one'), 20));
    const two = await backend((_req, res) => void res.end('two'));
    const hosts = {
      virtualHosts: ['one', 'two'].map((name) => ({
        name,
        hosts: [name],
        routes: [{ name, matches: [], action: forwardTo(clusterOf(name)) }],
      })),
    };
    const proxy = use(await startProxy(hosts, { one: [endpointAt(one)], two: [endpointAt(two)] }));
    const raw = ['one', 'two', 'one', 'nobody'].map(
      (host, i) => `GET /${i} HTTP/1.1\r\nHost: ${host}\r\n${i === 3 ? 'Connection: close\r\n' : ''}\r\n`,
    );
    const answer = await exchangeRaw(proxy.port, raw.join(''));
    expect(answer.match(/\r\n\r\n(one|two)|HTTP\/1.1 404/g)).toEqual([
      '\r\n\r\none',
      '\r\n\r\ntwo',
      '\r\n\r\none',
      'HTTP/1.1 404',
    ]);
  });

  it('is answered in full where the proxy answers a pipeline itself, at once', async () => {
    const action = { kind: 'respond', status: 200, body: 'here' } as const;
    const proxy = use(await startProxy(tableOf({ name: 'all', matches: [], action }), {}));
    const one = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';
    const last = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';
    const answer = await exchangeRaw(proxy.port, one.repeat(3) + last);
    expect(answer.match(/HTTP\/1.1 200/g)).toHaveLength(4);
  });

  it('shares upstream connections and closes after its last request', async () => {
    let connections = 0;
    const server = use(
      await startRawServer((socket) => {
        connections++;
        socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
      }),
    );
    const proxy = use(
      await startProxy(allTo(b), { b: [endpointAt(server.port)] }, { limits: { maxRequestsPerConnection: 3 } }),
    );
    const answer = await exchangeRaw(proxy.port, 'GET / HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(5));
    expect(answer.match(/HTTP\/1.1 200/g)).toHaveLength(3);
    expect(connections).toBe(1);
  });
});

describe('failures', () => {
  it.each([
    ['no route', tableOf(), {}, 404, 'no-route'],
    [
      'no backend',
      tableOf({ name: 'r', matches: [], action: { kind: 'forward', backends: [] } }),
      {},
      500,
      'no-backend',
    ],
    [
      'an unresolved backend',
      tableOf({ name: 'r', matches: [], action: { kind: 'forward', backends: [{ weight: 1, invalidStatus: 503 }] } }),
      {},
      503,
      'no-backend',
    ],
    ['no endpoints', allTo(b), {}, 503, 'no-endpoints'],
    ['nobody listening', allTo(b), { b: [endpointAt(1)] }, 502, 'connect-failed'],
  ] as const)('%s', async (_name, table, endpoints, status, code) => {
    const logged: AccessLogEntry[] = [];
    const proxy = use(await startProxy(table, endpoints, { accessLog: (entry) => logged.push(entry) }));
    const answer = await ask(proxy.port, { path: '/secret?token=1' });
    expect(answer.status).toBe(status);
    expect(answer.body.length).toBeGreaterThan(10);
    expect(logged).toMatchObject([{ status, error: code, path: '/secret' }]);
  });

  it.each([
    ['garbage', 'garbage\r\n\r\n'],
    ['two framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['different lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    ['folded field', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
    ['bare LF', 'HTTP/1.1 200 OK\nX: a\n\n'],
    ['an unasked upgrade', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['endless head', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}`],
    ['a close without an answer', ''],
  ])('an endpoint that answers %s is a 502', async (_name, response) => {
    const { port } = use(await startRawServer((socket) => socket.once('data', () => socket.end(response))));
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    expect((await ask(proxy.port)).status).toBe(502);
  });

  it('breaks a response that breaks, so that nobody takes it for complete', async () => {
    const { port } = use(
      await startRawServer((socket) =>
        socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc')),
      ),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    await expect(ask(proxy.port)).rejects.toThrow();
  });

  it('drops what an endpoint sends beyond its answer', async () => {
    const { port } = use(
      await startRawServer((socket) =>
        socket.on('data', () =>
          socket.write(
            'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
          ),
        ),
      ),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const answers = await exchangeRaw(
      proxy.port,
      'GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n',
    );
    expect(answers).not.toContain('poison');
    expect(answers.match(/\r\n\r\nok/g)).toHaveLength(2);
  });
});

describe('time', () => {
  it('of a route ends in 504 and aborts the work', async () => {
    let aborted: Promise<unknown> | undefined;
    const port = await backend((req) => {
      aborted = new Promise((resolve) => req.socket.once('close', resolve));
    });
    const table = tableOf({ name: 'r', matches: [], action: { ...forwardTo(b), timeoutMs: 50 } });
    const proxy = use(await startProxy(table, { b: [endpointAt(port)] }));
    expect((await ask(proxy.port)).status).toBe(504);
    await aborted;
    await expect.poll(() => proxy.proxy.upstreamConnections).toBe(0);
  });

  it('of a silent endpoint ends in 504 without a route setting', async () => {
    const port = await backend(() => undefined);
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }, { limits: { upstreamIdleMs: 60 } }));
    expect((await ask(proxy.port)).status).toBe(504);
  });

  it('of a route may be longer than silence usually gets', async () => {
    const port = await backend((_req, res) => void setTimeout(() => res.end('late'), 150));
    const table = tableOf({ name: 'r', matches: [], action: { ...forwardTo(b), timeoutMs: 5_000 } });
    const proxy = use(await startProxy(table, { b: [endpointAt(port)] }, { limits: { upstreamIdleMs: 40 } }));
    expect((await ask(proxy.port)).body).toBe('late');
  });

  it('is not wasted on clients that have gone', async () => {
    let aborted: Promise<unknown> | undefined;
    let arrived: () => void = () => undefined;
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const port = await backend((req) => {
      aborted = new Promise((resolve) => req.socket.once('close', resolve));
      arrived();
    });
    const logged: AccessLogEntry[] = [];
    const proxy = use(
      await startProxy(
        allTo(b),
        { b: [endpointAt(port)] },
        { accessLog: (entry) => logged.push(entry), limits: { halfCloseWindowMs: 0 } },
      ),
    );
    const sent = request({ port: proxy.port, host: '127.0.0.1', agent: false });
    sent.on('error', () => sent.destroy());
    sent.end();
    await arrival;
    sent.destroy();
    await aborted;
    expect(logged).toMatchObject([{ error: 'client-gone', status: 0 }]);
    await expect.poll(() => proxy.proxy.activeRequests).toBe(0);
  });

  it('between requests is bounded', async () => {
    const proxy = use(await startProxy(tableOf(), {}, { limits: { keepAliveMs: 50 } }));
    const answer = await exchangeRaw(proxy.port, 'GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 404/);
    expect(answer).not.toContain('connection: close');
  });
});

describe('retries', () => {
  const flaky = async (statuses: readonly number[]) => {
    const seen: string[] = [];
    const port = await backend((req, res) => {
      let body = '';
      req.on('data', (chunk) => {
        body += chunk;
      });
      req.on('end', () => {
        seen.push(body);
        res.writeHead(statuses[Math.min(seen.length, statuses.length) - 1] as number).end(`try ${seen.length}`);
      });
    });
    return { port, seen };
  };
  const retrying = (more: object = {}): Route => ({
    name: 'r',
    matches: [],
    action: {
      ...forwardTo(b),
      retries: { attempts: 2, on: ['5xx', 'reset', 'per-try-timeout'], backoffMs: 1, ...more },
    },
  });

  it('pass over an endpoint that refuses, for any method, body and all', async () => {
    const { port, seen } = await flaky([200]);
    const excluded: string[][] = [];
    const endpoints = [endpointAt(1), endpointAt(port)];
    const proxy = use(
      await startProxy(
        allTo(b),
        {},
        {
          upstreams: {
            pickEndpoint(_cluster, _flow, exclude) {
              excluded.push([...exclude]);
              return endpoints.find((e) => !exclude.has(`|127.0.0.1|${e.port}|TCP`));
            },
          },
        },
      ),
    );
    const answer = await ask(proxy.port, { method: 'POST' }, 'hello');
    expect([answer.status, seen, excluded]).toEqual([200, ['hello'], [[], ['|127.0.0.1|1|TCP']]]);
  });

  it('follow the policy for idempotent methods, with the body sent again', async () => {
    const { port, seen } = await flaky([503, 500, 200]);
    const proxy = use(await startProxy(tableOf(retrying()), { b: [endpointAt(port)] }));
    const answer = await ask(proxy.port, { method: 'PUT' }, 'again');
    expect([answer.body, seen]).toEqual(['try 3', ['again', 'again', 'again']]);
  });

  it('end with the last answer', async () => {
    const { port, seen } = await flaky([503]);
    const proxy = use(await startProxy(tableOf(retrying()), { b: [endpointAt(port)] }));
    expect((await ask(proxy.port)).status).toBe(503);
    expect(seen).toHaveLength(3);
  });

  it.each([
    ['POST', {}, 1],
    ['POST', { nonIdempotent: true }, 3],
    ['GET', { on: ['connect-failure'] }, 1],
    ['GET', { on: [], statuses: [503] }, 3],
  ])('of %s with %j make %i tries', async (method, more, tries) => {
    const { port, seen } = await flaky([503]);
    const proxy = use(await startProxy(tableOf(retrying(more)), { b: [endpointAt(port)] }));
    await ask(proxy.port, { method }, method === 'POST' ? 'x' : undefined);
    expect(seen).toHaveLength(tries);
  });

  it('do not happen when the body is too long to be kept', async () => {
    const { port, seen } = await flaky([503]);
    const proxy = use(
      await startProxy(tableOf(retrying()), { b: [endpointAt(port)] }, { limits: { maxReplayBytes: 10 } }),
    );
    expect((await ask(proxy.port, { method: 'PUT' }, 'longer than ten bytes')).status).toBe(503);
    expect(seen).toHaveLength(1);
  });

  it('stay within their budget', async () => {
    const { port, seen } = await flaky([503]);
    const limits = { minRetries: 0, retryBudgetPercent: 0 };
    const proxy = use(await startProxy(tableOf(retrying()), { b: [endpointAt(port)] }, { limits }));
    expect((await ask(proxy.port)).status).toBe(503);
    expect(seen).toHaveLength(1);
  });

  it('follow a try that takes too long', async () => {
    let tries = 0;
    const port = await backend((_req, res) => {
      if (++tries === 2) res.end('second');
    });
    const proxy = use(await startProxy(tableOf(retrying({ perTryTimeoutMs: 40 })), { b: [endpointAt(port)] }));
    expect((await ask(proxy.port)).body).toBe('second');
  });

  it('replace a kept connection that had gone stale', async () => {
    let connections = 0;
    const server = use(
      await startRawServer((socket) => {
        const number = ++connections;
        let requests = 0;
        socket.on('data', () => {
          // The first connection closes on its second request without an answer.
          if (number === 1 && ++requests === 2) socket.destroy();
          else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        });
      }),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(server.port)] }));
    for (let i = 0; i < 3; i++) expect((await ask(proxy.port)).status).toBe(200);
    expect(connections).toBe(2);
  });
});

describe('overload', () => {
  it('of requests is a 503', async () => {
    const port = await backend(() => undefined);
    const proxy = use(
      await startProxy(allTo(b), { b: [endpointAt(port)] }, { limits: { maxRequests: 1, upstreamIdleMs: 200 } }),
    );
    const first = ask(proxy.port);
    const second = await ask(proxy.port);
    expect(second.status).toBe(503);
    expect((await first).status).toBe(504);
  });

  it('of connections closes them at once', async () => {
    const proxy = use(await startProxy(tableOf(), {}, { limits: { maxConnections: 1 } }));
    const first = connect({ port: proxy.port, host: '127.0.0.1' });
    await once(first, 'connect');
    expect(await exchangeRaw(proxy.port, 'GET / HTTP/1.1\r\nHost: h\r\n\r\n')).toBe('');
    first.destroy();
  });

  it('of one endpoint waits for a connection, and serves in turn', async () => {
    let most = 0;
    let now = 0;
    const port = await backend((_req, res) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        res.end('ok');
      }, 5);
    });
    const proxy = use(
      await startProxy(allTo(b), { b: [endpointAt(port)] }, { limits: { maxConnectionsPerEndpoint: 2 } }),
    );
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(proxy.port, { method: 'POST' }, 'x')));
    expect(answers.map((a) => a.status)).toEqual(new Array(10).fill(200));
    expect(most).toBe(2);
  });

  it('by a slow reader holds the endpoint back instead of filling memory', async () => {
    const chunk = Buffer.alloc(65_536, 'x');
    let sent = 0;
    const port = await backend((_req, res) => {
      const more = () => {
        sent += chunk.length;
        if (sent === 512 * chunk.length) res.end(chunk);
        else if (res.write(chunk)) more();
        else res.once('drain', more);
      };
      more();
    });
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(port)] }));
    const socket = connect({ port: proxy.port, host: '127.0.0.1' });
    socket.write('GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
    socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 150));
    // Kernel buffers of two connections and one window each; far less than the 32 MiB.
    expect(sent).toBeLessThan(16 << 20);
    let received = 0;
    socket.on('data', (data: Buffer) => {
      received += data.length;
    });
    socket.resume();
    await once(socket, 'close');
    expect(received).toBeGreaterThan(512 * chunk.length - 1);
  });
});

describe('draining', () => {
  it('lets the request end, closes its connection, and refuses new ones', async () => {
    let answer: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      answer = resolve;
    });
    let finish: (() => void) | undefined;
    const port = await backend((_req, res) => {
      finish = () => res.end('done');
      answer();
    });
    const proxy = await startProxy(allTo(b), { b: [endpointAt(port)] });
    const agent = new Agent({ keepAlive: true });
    const running = ask(proxy.port, { agent });
    await arrived;
    const disposed = proxy[Symbol.asyncDispose]();
    await expect(ask(proxy.port)).rejects.toThrow();
    finish?.();
    const response = await running;
    expect([response.body, response.headers.connection]).toEqual(['done', 'close']);
    await disposed;
    expect(proxy.proxy.connections).toBe(0);
    agent.destroy();
  });
});

describe('the clock', () => {
  it('is the injected one: no timer is left when nothing is open', async () => {
    const clock = createFakeClock();
    const proxy = await startProxy(tableOf(), {}, { clock });
    const answer = await exchangeRaw(proxy.port, 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 404/);
    await proxy[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
  });
});
