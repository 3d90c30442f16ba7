import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Endpoint, endpointKey, type Metrics, noMetrics } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describeByteStream, makeEndpoint } from '@edgemesh/testkit/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalDialer } from './local-dialer.ts';
import { createTcpProxy, type TcpConnection, type TcpProxyDeps, type TcpProxyOptions } from './tcp-proxy.ts';
import { proxiedPair } from './testing/proxied-pair.ts';
import { startTcpServer, tcpEcho } from './testing/servers.ts';
import type { Upstream } from './upstream.ts';

let stack = new AsyncDisposableStack();
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

function upstreamOf(...ports: number[]): Upstream {
  const endpoints = ports.map((port) => makeEndpoint('127.0.0.1', { port }));
  return {
    name: 'shop/web:http',
    pick: (_flow, exclude): Endpoint | undefined => endpoints.find((e) => !exclude?.has(endpointKey(e))),
  };
}

async function server(handle?: (socket: Socket) => void) {
  const started = await startTcpServer(handle);
  stack.defer(started.dispose);
  return started;
}

/** A port on which nobody listens. */
async function deadPort() {
  const gone = await startTcpServer();
  await gone.dispose();
  return gone.port;
}

async function proxy(
  route: Upstream | TcpProxyDeps['route'],
  options: Partial<TcpProxyOptions> = {},
  deps: Partial<TcpProxyDeps> = {},
) {
  const dialer = createLocalDialer();
  const started = await createTcpProxy(
    { listen: { host: '127.0.0.1', port: 0 }, drainMs: 50, ...options },
    { dialer, route: typeof route === 'function' ? route : () => route, ...deps },
  );
  stack.defer(async () => {
    await started[Symbol.asyncDispose]();
    for (let i = 0; i < 100 && dialer.openStreams > 0; i++) await new Promise(setImmediate);
    expect([started.active, dialer.openStreams]).toEqual([0, 0]);
  });
  return Object.assign(started, { dialer });
}

function client(port: number) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.setNoDelay(true);
  stack.defer(() => void socket.destroy());
  const chunks: Buffer[] = [];
  let failure: NodeJS.ErrnoException | undefined;
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', (error) => {
    failure = error;
  });
  return {
    socket,
    text: () => Buffer.concat(chunks).toString(),
    bytes: () => Buffer.concat(chunks),
    ended: () => once(socket, 'end'),
    /** The error code that the connection died of, or undefined after an orderly end. */
    closed: async () => {
      if (!socket.closed) await once(socket, 'close').catch(() => undefined);
      return failure?.code;
    },
  };
}

/** Metrics that add up what is added, per name and label values. */
function countingMetrics() {
  const counts: Record<string, number> = {};
  const labelled = (name: string) => ({
    with: (...values: readonly string[]) => ({
      add: (value = 1) => {
        const key = [name, ...values].join(' ');
        counts[key] = (counts[key] ?? 0) + value;
      },
    }),
  });
  const metrics: Metrics = { ...noMetrics, counter: (spec) => labelled(spec.name) };
  return { metrics, counts };
}

describeByteStream('a connection through the TCP proxy', proxiedPair, { bigBytes: 4 << 20 });

describe('the address of a client', () => {
  it.each([
    ['127.0.0.1', '192.0.2.7'],
    ['127.0.0.2', '127.0.0.2'],
  ])('that comes from %s is %s, where the listener is 127.0.0.1 and the node 192.0.2.7', async (localAddress, told) => {
    const clients: string[] = [];
    const route = (connection: TcpConnection) => void clients.push(connection.client.address);
    const { port } = await proxy(route, { ownAddress: () => '192.0.2.7' });
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    socket.on('error', () => undefined); // it is reset: nobody serves it
    await new Promise((resolve) => socket.once('close', resolve));
    expect(clients).toEqual([told]);
  });
});

describe('the TCP proxy', () => {
  it('reaches a server that speaks first while the client stays silent', async () => {
    const target = await server((socket) => socket.write('220 ready\r\n'));
    const { port } = await proxy(upstreamOf(target.port));
    const one = client(port);
    await once(one.socket, 'data');
    expect(one.text()).toBe('220 ready\r\n');
  });

  it('is not held up by silent clients, dead endpoints or slow routes of others', async () => {
    const target = await server(tcpEcho);
    const { port } = await proxy(upstreamOf(await deadPort(), target.port));
    const silent = Array.from({ length: 50 }, () => client(port));
    await Promise.all(silent.map(({ socket }) => once(socket, 'connect')));
    const busy = client(port);
    busy.socket.end('hello');
    await busy.ended();
    expect(busy.text()).toBe('hello');
  });

  it('retries another endpoint without losing what the client has already sent', async () => {
    const target = await server(tcpEcho);
    const { port } = await proxy(upstreamOf(await deadPort(), await deadPort(), target.port));
    const payload = randomBytes(300_000);
    const one = client(port);
    one.socket.end(payload);
    await one.ended();
    expect(createHash('sha256').update(one.bytes()).digest('hex')).toBe(
      createHash('sha256').update(payload).digest('hex'),
    );
  });

  it('lets a client end its side and still read the whole answer', async () => {
    const target = await server((socket) => {
      let request = '';
      socket.on('data', (chunk) => {
        request += chunk;
      });
      socket.on('end', () => setImmediate(() => socket.end(`got ${request}, `.repeat(10_000))));
    });
    const { port } = await proxy(upstreamOf(target.port));
    const one = client(port);
    one.socket.end('all');
    await one.ended();
    expect(one.text()).toBe('got all, '.repeat(10_000));
  });

  it('lets a server end its side and still get the whole request', async () => {
    const target = await server((socket) => {
      socket.end('bye');
      socket.resume();
    });
    const { port } = await proxy(upstreamOf(target.port));
    const one = client(port);
    await one.ended();
    const [accepted] = [...target.sockets] as [Socket];
    let received = 0;
    accepted.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    one.socket.end(Buffer.alloc(500_000));
    await once(accepted, 'end');
    expect(received).toBe(500_000);
  });

  it.each([
    ['there is no endpoint', () => upstreamOf()],
    ['there is no route', () => undefined],
  ])('resets the client at once when %s', async (_, route) => {
    const { port } = await proxy(route);
    expect(await client(port).closed()).toBe('ECONNRESET');
  });

  it('resets the client when every endpoint refuses, and the endpoint when the client resets', async () => {
    const dead = await proxy(upstreamOf(await deadPort()));
    expect(await client(dead.port).closed()).toBe('ECONNRESET');

    const target = await server();
    const { port } = await proxy(upstreamOf(target.port));
    const one = client(port);
    const accepted = await target.accepted();
    accepted.resume();
    one.socket.resetAndDestroy();
    const [error] = (await once(accepted, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
  });

  it('resets what exceeds its limits, and has room again afterwards', async () => {
    const target = await server(tcpEcho);
    const { metrics, counts } = countingMetrics();
    const limited = await proxy(
      upstreamOf(target.port),
      { maxConnections: 3, maxConnectionsPerClient: 2 },
      { metrics },
    );
    const first = client(limited.port);
    const second = client(limited.port);
    await Promise.all([once(first.socket, 'connect'), once(second.socket, 'connect')]);
    expect(await client(limited.port).closed()).toBe('ECONNRESET');
    expect(counts['edgemesh_l4_rejected_total client-limit']).toBe(1);
    first.socket.end();
    await first.ended();
    while (limited.active > 1) await new Promise(setImmediate);
    const again = client(limited.port);
    again.socket.end('ok');
    await again.ended();
    expect(again.text()).toBe('ok');
  });

  it('resets idle connections, and only those', async () => {
    const target = await server(tcpEcho);
    const { port } = await proxy(upstreamOf(target.port), { idleMs: 80 });
    const idle = client(port);
    expect(await idle.closed()).toBe('ECONNRESET');
    const busy = client(port);
    for (let i = 0; i < 8; i++) {
      busy.socket.write('x');
      await once(busy.socket, 'data');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    busy.socket.end();
    await busy.ended();
    expect(busy.text()).toBe('x'.repeat(8));
  });

  it('resets a half-closed connection that stays silent', async () => {
    const target = await server((socket) => void socket.resume());
    const { port } = await proxy(upstreamOf(target.port), { halfClosedIdleMs: 50 });
    const one = client(port);
    one.socket.end('anybody?');
    expect(await one.closed()).toBe('ECONNRESET');
  });

  it('stops accepting, lets connections finish, then resets them', async () => {
    const target = await server(tcpEcho);
    const clock = createFakeClock();
    const stopping = await proxy(upstreamOf(target.port), { drainMs: 1000 }, { clock });
    const [polite, stubborn] = [client(stopping.port), client(stopping.port)];
    await Promise.all([once(polite.socket, 'connect'), once(stubborn.socket, 'connect')]);
    stubborn.socket.write('x');
    await once(stubborn.socket, 'data');
    const disposed = stopping[Symbol.asyncDispose]();
    expect(stopping[Symbol.asyncDispose]()).toBe(disposed);
    polite.socket.end('finish');
    await polite.ended();
    expect(polite.text()).toBe('finish');
    expect(await client(stopping.port).closed()).toBe('ECONNREFUSED');
    clock.advance(1000);
    await disposed;
    expect(await stubborn.closed()).toBe('ECONNRESET');
    expect(stopping.active).toBe(0);
  });

  it('counts bytes and results', async () => {
    const target = await server(tcpEcho);
    const { metrics, counts } = countingMetrics();
    const counted = await proxy(upstreamOf(target.port), {}, { metrics });
    const one = client(counted.port);
    one.socket.end('12345');
    await one.ended();
    await one.closed();
    while (counted.active > 0) await new Promise(setImmediate);
    expect(counts).toMatchObject({
      'edgemesh_l4_bytes_total tcp to-endpoint': 5,
      'edgemesh_l4_bytes_total tcp to-client': 5,
      'edgemesh_l4_connections_total ok': 1,
      'edgemesh_l4_dials_total ok': 1,
    });
  });

  it('rejects with a reason when it cannot listen', async () => {
    const taken = await server();
    const listen = (host: string, port: number) =>
      createTcpProxy({ listen: { host, port } }, { dialer: createLocalDialer(), route: () => undefined });
    await expect(listen('127.0.0.1', taken.port)).rejects.toMatchObject({ name: 'ProxyError', code: 'address-in-use' });
    await expect(listen('192.0.2.1', 0)).rejects.toMatchObject({ code: 'address-not-available' });
  });

  it('leaves nothing behind after many connections that end in every way', async () => {
    const target = await server((socket) => {
      socket.on('data', (chunk) => {
        if (chunk[0] === 0) socket.destroy();
        else if (chunk[0] === 1) socket.resetAndDestroy();
        else socket.end('done');
      });
    });
    const busy = await proxy(upstreamOf(await deadPort(), target.port));
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const one = client(busy.port);
        one.socket.write(Buffer.from([i % 5]));
        if (i % 5 === 3) one.socket.destroy();
        if (i % 5 === 4) one.socket.end();
        one.socket.once('end', () => one.socket.end());
        await one.closed();
      }),
    );
    while (busy.active > 0) await new Promise(setImmediate);
    while (busy.dialer.openStreams > 0) await new Promise(setImmediate);
    expect(busy.active).toBe(0);
  });
});
