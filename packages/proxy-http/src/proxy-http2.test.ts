import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp1Server } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import type { AccessLogEntry } from './access-log.ts';
import { frame } from './h2/test-frames.ts';
import { allTo, clusterOf, endpointAt, startProxy, startRawServer, tableOf } from './test-support.ts';

const run = promisify(execFile);
const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

function use<T extends AsyncDisposable>(resource: T): T {
  open.push(async () => resource[Symbol.asyncDispose]());
  return resource;
}

interface Http2Backend {
  readonly port: number;
  readonly sessions: () => number;
}

async function http2Backend(
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  settings = {},
): Promise<Http2Backend> {
  const server = createServer({ settings });
  let sessions = 0;
  server.on('session', () => sessions++);
  server.on('stream', (stream, headers) => {
    stream.on('error', () => stream.destroy());
    onStream(stream, headers);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(
    async () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
      }),
  );
  return { port: (server.address() as AddressInfo).port, sessions: () => sessions };
}

async function http1Backend(listener: Parameters<typeof createHttp1Server>[1]): Promise<number> {
  const server = createHttp1Server(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

function client(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => session.destroy());
  open.push(async () => session.destroy());
  return session;
}

interface Answer {
  readonly headers: IncomingHttpHeaders & { ':status'?: number };
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly body: string;
}

function collect(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let body = '';
    let headers: Answer['headers'] = {};
    let trailers: IncomingHttpHeaders | undefined;
    stream.setEncoding('utf8');
    stream.on('response', (given) => {
      headers = given;
    });
    stream.on('data', (chunk: string) => {
      body += chunk;
    });
    stream.on('trailers', (given) => {
      trailers = given;
    });
    stream.on('error', reject);
    stream.on('close', () => resolve({ headers, trailers, body }));
  });
}

function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders = {}, body?: string): Promise<Answer> {
  const stream = session.request({ ':path': '/', ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return collect(stream);
}

const GRPC = { ':method': 'POST', ':path': '/pkg.Service/Call', 'content-type': 'application/grpc', te: 'trailers' };
const h1 = clusterOf('b');
const h2 = clusterOf('b', 'h2');

describe('HTTP/2 from the client', () => {
  it('reaches an HTTP/1.1 endpoint, cookies joined, trailers and all', async () => {
    const port = await http1Backend((req, res) => {
      let body = '';
      req.on('data', (chunk) => {
        body += chunk;
      });
      req.on('end', () => {
        res.writeHead(200, { trailer: 'x-sum', 'set-cookie': ['a=1', 'b=2'], connection: 'keep-alive' });
        res.write(`${req.method} ${req.url} ${req.headers.host} ${req.headers.cookie} ${body} ${req.trailers['x-t']}`);
        res.addTrailers({ 'x-sum': '1' });
        res.end();
      });
    });
    const proxy = use(await startProxy(allTo(h1), { b: [endpointAt(port)] }));
    const session = client(proxy.port);
    const stream = session.request(
      { ':method': 'PUT', ':path': '/p?q', ':authority': 'shop', cookie: ['a=1', 'b=2'] },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-t': 'trail' }));
    const answer = collect(stream);
    stream.end('body');
    expect(await answer).toMatchObject({
      headers: { ':status': 200, 'set-cookie': ['a=1', 'b=2'] },
      body: 'PUT /p?q shop a=1; b=2 body trail',
      trailers: { 'x-sum': '1' },
    });
    expect((await answer).headers).not.toHaveProperty('connection');
  });

  it('runs many requests at once over few endpoint connections', async () => {
    const backend = await http2Backend((stream, headers) => {
      setTimeout(() => {
        stream.respond({ ':status': 200 });
        stream.end(String(headers[':path']));
      }, 10);
    });
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const session = client(proxy.port);
    const paths = Array.from({ length: 100 }, (_, i) => `/${i}`);
    const answers = await Promise.all(paths.map((path) => ask(session, { ':path': path })));
    expect(answers.map((answer) => answer.body)).toEqual(paths);
    expect(backend.sessions()).toBe(1);
  });

  it('waits where the endpoint allows few streams', async () => {
    let most = 0;
    let now = 0;
    const backend = await http2Backend(
      (stream) => {
        most = Math.max(most, ++now);
        setTimeout(() => {
          now--;
          stream.respond({ ':status': 200 });
          stream.end('ok');
        }, 5);
      },
      { maxConcurrentStreams: 2 },
    );
    const proxy = use(
      await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }, { limits: { maxSessionsPerEndpoint: 1 } }),
    );
    const session = client(proxy.port);
    await ask(session);
    const answers = await Promise.all(Array.from({ length: 12 }, () => ask(session)));
    expect(answers.every((answer) => answer.body === 'ok')).toBe(true);
    expect(most).toBe(2);
  });

  it('is measured by nghttp and curl, too', async () => {
    const backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'content-length': 5 });
      stream.end('hello');
    });
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const url = `http://127.0.0.1:${proxy.port}/`;
    const [nghttp, prior, plain, load] = await Promise.all([
      run('nghttp', [url]),
      run('curl', ['-s', '--http2-prior-knowledge', '-w', ' %{http_version}', url]),
      run('curl', ['-s', '-w', ' %{http_version}', url]),
      run('h2load', ['-n', '200', '-c', '4', '-m', '10', url]),
    ]);
    expect([nghttp.stdout, prior.stdout, plain.stdout]).toEqual(['hello', 'hello 2', 'hello 1.1']);
    expect(load.stdout).toContain('200 succeeded, 0 failed');
  });
});

describe('gRPC', () => {
  it('streams both ways with trailers, through HTTP/2 endpoints of an `auto` cluster', async () => {
    const backend = await http2Backend((stream, headers) => {
      stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', 'x-te': String(headers.te) },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }));
      stream.pipe(stream);
    });
    const proxy = use(await startProxy(allTo(clusterOf('b', 'auto')), { b: [endpointAt(backend.port)] }));
    const stream = client(proxy.port).request(GRPC);
    const answer = collect(stream);
    stream.write('one');
    await once(stream, 'data');
    stream.end('two');
    expect(await answer).toMatchObject({
      headers: { ':status': 200, 'x-te': 'trailers' },
      body: 'onetwo',
      trailers: { 'grpc-status': '0', 'grpc-message': 'fine' },
    });
  });

  it('may be silent in both directions for longer than a body may', async () => {
    const backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.pipe(stream);
    });
    const limits = { bodyIdleMs: 40, writeIdleMs: 40, keepAliveMs: 40, headerTimeoutMs: 40 };
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }, { limits }));
    const stream = client(proxy.port).request(GRPC);
    const answer = collect(stream);
    await new Promise((resolve) => setTimeout(resolve, 150));
    stream.end('at last');
    expect((await answer).body).toBe('at last');
  });

  it('passes a response of trailers only', async () => {
    const backend = await http2Backend((stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true });
    });
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const stream = client(proxy.port).request(GRPC);
    stream.end('x');
    const [headers, flags] = (await once(stream, 'response')) as [IncomingHttpHeaders, number];
    expect(headers).toMatchObject({ ':status': 200, 'grpc-status': '5' });
    expect(headers).not.toHaveProperty('content-length');
    // Without END_STREAM clients take it for metadata at the start, and miss the status.
    expect(flags & constants.NGHTTP2_FLAG_END_STREAM).toBe(constants.NGHTTP2_FLAG_END_STREAM);
    stream.resume();
    await once(stream, 'close');
  });

  it('passes a response without body to HTTP/1 clients with its length', async () => {
    const backend = await http2Backend((stream) => stream.respond({ ':status': 200, 'x-a': 'b' }, { endStream: true }));
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const answer = await fetch(`http://127.0.0.1:${proxy.port}/`);
    expect([answer.status, answer.headers.get('x-a'), answer.headers.get('content-length')]).toEqual([200, 'b', '0']);
    expect(await answer.text()).toBe('');
    expect((await fetch(`http://127.0.0.1:${proxy.port}/`, { method: 'HEAD' })).status).toBe(200);
  });

  it.each([
    ['no route', tableOf(), {}, '12'],
    ['no endpoints', allTo(h2), {}, '14'],
    ['nobody listening', allTo(h2), { b: [endpointAt(1)] }, '14'],
    ['an injected fault', allTo(h2, { fault: { abort: { percent: 100, status: 200, grpcStatus: 9 } } }), {}, '9'],
  ] as const)('learns of %s by grpc-status', async (_name, table, endpoints, status) => {
    const proxy = use(await startProxy(table, endpoints));
    const { headers } = await ask(client(proxy.port), GRPC, 'x');
    expect(headers).toMatchObject({ ':status': 200, 'grpc-status': status, 'content-type': 'application/grpc' });
    expect(String(headers['grpc-message']).length).toBeGreaterThan(5);
  });

  it('gets DEADLINE_EXCEEDED when the time of the route is over, and the endpoint a reset', async () => {
    let reset: Promise<unknown> | undefined;
    const backend = await http2Backend((stream) => {
      reset = once(stream, 'close').then(() => stream.rstCode);
    });
    const table = tableOf({
      name: 'r',
      matches: [],
      action: { kind: 'forward', backends: [{ weight: 1, cluster: h2 }], timeoutMs: 50 },
    });
    const proxy = use(await startProxy(table, { b: [endpointAt(backend.port)] }));
    const { headers } = await ask(client(proxy.port), GRPC, 'x');
    expect(headers['grpc-status']).toBe('4');
    expect(await reset).toBe(constants.NGHTTP2_CANCEL);
  });
});

describe('trouble with HTTP/2 endpoints', () => {
  it('refused streams are tried elsewhere, whatever the method', async () => {
    const refusing = await http2Backend((stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM));
    const good = await http2Backend((stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(refusing.port), endpointAt(good.port)] }));
    expect((await ask(client(proxy.port), { ':method': 'POST' }, 'body')).body).toBe('body');
  });

  it('a reset before the answer is a 502, after its begin a reset of the client stream', async () => {
    const backend = await http2Backend((stream, headers) => {
      if (headers[':path'] === '/late') {
        stream.respond({ ':status': 200 });
        stream.write('half');
        setTimeout(() => stream.destroy(new Error('broken')), 20);
      } else stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
    });
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const session = client(proxy.port);
    expect((await ask(session)).headers[':status']).toBe(502);
    await expect(ask(session, { ':path': '/late' })).rejects.toThrow();
  });

  it('an endpoint that does not speak HTTP/2 is a 502', async () => {
    const server = use(
      await startRawServer((socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))),
    );
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(server.port)] }));
    expect((await ask(client(proxy.port))).headers[':status']).toBe(502);
  });

  it('a client that resets its stream ends the work', async () => {
    let reset: Promise<unknown> | undefined;
    let arrived: () => void = () => undefined;
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const backend = await http2Backend((stream) => {
      reset = once(stream, 'close');
      arrived();
    });
    const logged: AccessLogEntry[] = [];
    const proxy = use(
      await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }, { accessLog: (entry) => logged.push(entry) }),
    );
    const stream = client(proxy.port).request({ ':path': '/' });
    stream.on('error', () => stream.destroy());
    await arrival;
    stream.close(constants.NGHTTP2_CANCEL);
    await reset;
    expect(logged).toMatchObject([{ error: 'client-gone' }]);
  });
});

describe('hostile HTTP/2 clients', () => {
  it.each([
    ['CONNECT', { ':method': 'CONNECT', ':authority': 'h:1', ':path': undefined, ':scheme': undefined }, 501],
    ['another :protocol', { ':method': 'CONNECT', ':protocol': 'foo', ':authority': 'h' }, 501],
    ['path without slash', { ':path': 'x' }, 400],
    ['path with a space', { ':path': '/a b' }, 400],
    ['path with CR', { ':path': '/a\rb' }, 400],
    ['authority with user', { ':authority': 'a@b' }, 400],
    ['authority with a path', { ':authority': 'a/b' }, 400],
    ['other Host', { ':authority': 'a', host: 'b' }, 400],
    ['long path', { ':path': `/${'x'.repeat(9_000)}` }, 414],
    ['many fields', Object.fromEntries(Array.from({ length: 110 }, (_, i) => [`x-${i}`, 'y'])), 431],
    ['expectation', { ':method': 'PUT', expect: 'x' }, 417],
  ] as const)('%s', async (_name, headers, status) => {
    const proxy = use(await startProxy(allTo(h2), {}));
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
    const session = client(proxy.port);
    await once(session, 'remoteSettings');
    const stream = session.request(
      { ...('CONNECT' === (headers as OutgoingHttpHeaders)[':method'] ? {} : { ':path': '/' }), ...given },
      { endStream: true },
    );
    // nghttp2 resets what it finds malformed by itself; the rest is answered.
    const answered = collect(stream).then(
      (answer) => answer.headers[':status'],
      () => status,
    );
    expect(await answered).toBe(status);
  });

  it('cannot open and reset streams without end', async () => {
    const logged: AccessLogEntry[] = [];
    const backend = await http2Backend(() => undefined);
    const proxy = use(
      await startProxy(
        allTo(h2),
        { b: [endpointAt(backend.port)] },
        { limits: { maxStreamResets: 20 }, accessLog: (entry) => logged.push(entry) },
      ),
    );
    const socket = connectTcp({ port: proxy.port, host: '127.0.0.1' });
    socket.on('error', () => socket.destroy());
    socket.resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(frame(4, 0, 0));
    // GET http://h/ and its reset, again and again.
    const head = Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x68]);
    for (let id = 1; id < 2_000; id += 2) {
      socket.write(Buffer.concat([frame(1, 5, id, head), frame(3, 0, id, Buffer.from([0, 0, 0, 8]))]));
    }
    await closed;
    expect(logged.length).toBeLessThan(200);
    await expect.poll(() => proxy.proxy.activeRequests).toBe(0);
  });

  it('are gone when they close their side, and so are their requests', async () => {
    const backend = await http2Backend(() => undefined);
    const proxy = use(await startProxy(allTo(h2), { b: [endpointAt(backend.port)] }));
    const socket = connectTcp({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => socket.destroy());
    socket.resume();
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(frame(4, 0, 0));
    socket.write(frame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x68])));
    await expect.poll(() => proxy.proxy.activeRequests).toBe(1);
    socket.end();
    await expect.poll(() => proxy.proxy.activeRequests).toBe(0);
    await expect.poll(() => proxy.proxy.connections).toBe(0);
    socket.destroy();
  });

  it.each([
    ['SETTINGS', frame(4, 0, 0)],
    ['PING', frame(6, 0, 0, Buffer.alloc(8))],
  ])('cannot flood with %s and never read the acknowledgements', async (_name, one) => {
    const proxy = use(await startProxy(tableOf(), {}));
    const socket = connectTcp({ port: proxy.port, host: '127.0.0.1' });
    socket.on('error', () => socket.destroy());
    socket.pause();
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(frame(4, 0, 0));
    const flood = Buffer.concat(new Array(4_000).fill(one));
    let written = 0;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const more = () => {
      while (!socket.destroyed && written < 300 << 20) {
        written += flood.length;
        if (!socket.write(flood)) {
          socket.once('drain', more);
          return;
        }
      }
    };
    more();
    // Either the session is closed, or the proxy stops reading: both bound the work and the memory.
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 1_500))]);
    expect(written).toBeLessThan(200 << 20);
    socket.destroy();
  });

  it('are closed when they send a preface and nothing more, or half a preface', async () => {
    const proxy = use(await startProxy(tableOf(), {}, { limits: { headerTimeoutMs: 60, lingerMs: 40 } }));
    for (const text of ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'PRI * HT']) {
      const socket = connectTcp({ port: proxy.port, host: '127.0.0.1' });
      // Where bytes were still on their way the close comes as a RST, which `once` would throw.
      socket.on('error', () => undefined);
      socket.write(text, 'latin1');
      socket.resume();
      await new Promise((resolve) => socket.once('close', resolve));
    }
    await expect.poll(() => proxy.proxy.connections).toBe(0);
  });
});

describe('draining', () => {
  it('sends GOAWAY and lets streams end', async () => {
    let finish: (() => void) | undefined;
    let arrived: () => void = () => undefined;
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const backend = await http2Backend((stream) => {
      finish = () => {
        stream.respond({ ':status': 200 });
        stream.end('done');
      };
      arrived();
    });
    const proxy = await startProxy(allTo(h2), { b: [endpointAt(backend.port)] });
    const session = client(proxy.port);
    const answer = ask(session);
    await arrival;
    const goaway = once(session, 'goaway');
    const disposed = proxy[Symbol.asyncDispose]();
    await goaway;
    finish?.();
    expect((await answer).body).toBe('done');
    await disposed;
  });
});
