import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { allTo, clusterOf, endpointAt, exchangeRaw, startProxy, startRawServer } from './test-support.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

function use<T extends AsyncDisposable>(resource: T): T {
  open.push(async () => resource[Symbol.asyncDispose]());
  return resource;
}

async function echoServer(): Promise<number> {
  const server = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    handleProtocols: (names) => [...names][0] ?? false,
  });
  await once(server, 'listening');
  server.on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  );
  open.push(async () => {
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as { port: number }).port;
}

const b = clusterOf('b');

describe('WebSocket over HTTP/1.1', () => {
  it('passes messages of every kind, the subprotocol, and the close code', async () => {
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(await echoServer())] }));
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/chat?x=1`, ['v2.chat']);
    await once(socket, 'open');
    expect(socket.protocol).toBe('v2.chat');
    const big = Buffer.alloc(3_000_000, 7);
    for (const message of ['hello', '', big] as const) {
      socket.send(message);
      const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean];
      expect([Buffer.compare(data, Buffer.from(message)), isBinary]).toEqual([0, typeof message !== 'string']);
    }
    socket.close(4_001, 'bye');
    const [code] = await once(socket, 'close');
    expect(code).toBe(4_001);
    await expect.poll(() => proxy.proxy.activeRequests).toBe(0);
    await expect.poll(() => proxy.proxy.upstreamConnections).toBe(0);
  });

  it('survives being idle for longer than an HTTP exchange may be', async () => {
    const limits = { upstreamIdleMs: 40, bodyIdleMs: 40, keepAliveMs: 40, headerTimeoutMs: 40, writeIdleMs: 40 };
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(await echoServer())] }, { limits }));
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/`);
    await once(socket, 'open');
    await new Promise((resolve) => setTimeout(resolve, 150));
    socket.send('still here');
    expect(String((await once(socket, 'message'))[0])).toBe('still here');
    socket.terminate();
  });

  it('ends the endpoint side when the client vanishes, and the other way round', async () => {
    const server = use(
      await startRawServer((socket) =>
        socket.once('data', () =>
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi'),
        ),
      ),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(server.port)] }));
    const upgrade = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
    const client = connect({ port: proxy.port, host: '127.0.0.1' });
    client.write(upgrade);
    await once(client, 'data');
    const gone = new Promise((resolve) => server.sockets[0]?.once('close', resolve));
    client.resetAndDestroy();
    await gone;
    const second = connect({ port: proxy.port, host: '127.0.0.1' });
    second.on('error', () => second.destroy());
    second.write(upgrade);
    await once(second, 'data');
    const closed = new Promise((resolve) => second.once('close', resolve));
    server.sockets[1]?.resetAndDestroy();
    await closed;
    await expect.poll(() => proxy.proxy.activeRequests).toBe(0);
  });

  it('keeps half-closed directions apart', async () => {
    const server = use(
      await startRawServer((socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n');
          let got = '';
          socket.on('data', (chunk: Buffer) => {
            got += String(chunk);
          });
          socket.on('end', () => socket.end(`you said ${got}`));
        });
      }),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(server.port)] }));
    const client = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    client.write('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly ');
    await once(client, 'data');
    client.end('words');
    let answer = '';
    client.on('data', (chunk: Buffer) => {
      answer += String(chunk);
    });
    await once(client, 'end');
    expect(answer).toBe('you said early words');
  });

  it('passes a refusal on as a normal response', async () => {
    const server = use(
      await startRawServer((socket) =>
        socket.on('data', () => socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')),
      ),
    );
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(server.port)] }));
    const raw = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n';
    expect(await exchangeRaw(proxy.port, raw)).toMatch(/^HTTP\/1\.1 403 .*no$/s);
  });
});

describe('WebSocket over HTTP/2 (RFC 8441)', () => {
  it('becomes an HTTP/1.1 upgrade at the endpoint', async () => {
    const proxy = use(await startProxy(allTo(b), { b: [endpointAt(await echoServer())] }));
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`);
    await once(session, 'remoteSettings');
    expect(session.remoteSettings.enableConnectProtocol).toBe(true);
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':path': '/chat',
      ':authority': 'h',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'v2.chat',
    });
    const [headers] = await once(stream, 'response');
    expect(headers).toMatchObject({ ':status': 200, 'sec-websocket-protocol': 'v2.chat' });
    expect(headers).not.toHaveProperty('sec-websocket-accept');
    // A masked text frame "hi", and its echo, unmasked.
    stream.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
    const [frame] = (await once(stream, 'data')) as [Buffer];
    expect([...frame]).toEqual([0x81, 0x02, 0x68, 0x69]);
    stream.end();
    stream.resume();
    await once(stream, 'close');
    session.close();
  });
});
