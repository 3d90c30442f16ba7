import { once } from 'node:events';
import { connect } from 'node:net';
import { type CatalogView, EMPTY_CATALOG, type NodeInfo } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalDialer } from '../local-dialer.ts';
import { startTcpServer, tcpEcho } from '../testing/servers.ts';
import { createSocksResolver, fixedUpstream } from './resolve.ts';
import {
  createSocks5Server,
  type Socks5Resolution,
  type Socks5ServerDeps,
  type Socks5ServerOptions,
} from './server.ts';

let stack = new AsyncDisposableStack();
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

async function echoServer(handle = tcpEcho) {
  const started = await startTcpServer(handle);
  stack.defer(started.dispose);
  return started;
}

const to = (port: number): Socks5Resolution => ({
  kind: 'upstream',
  upstream: fixedUpstream('test', { address: '127.0.0.1', port }),
});

async function socks(
  resolve: Socks5ServerDeps['resolve'],
  deps: Partial<Socks5ServerDeps> = {},
  options: Partial<Socks5ServerOptions> = {},
) {
  const dialer = createLocalDialer();
  const started = await createSocks5Server(
    { listen: { host: '127.0.0.1', port: 0 }, drainMs: 20, ...options },
    { dialer, resolve, ...deps },
  );
  stack.defer(async () => {
    await started[Symbol.asyncDispose]();
    for (let i = 0; i < 100 && dialer.openStreams > 0; i++) await new Promise(setImmediate);
    expect([started.active, dialer.openStreams]).toEqual([0, 0]);
  });
  return started;
}

function client(port: number) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  stack.defer(() => void socket.destroy());
  let received = Buffer.alloc(0);
  let over = false;
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
  });
  for (const event of ['end', 'close', 'error']) {
    socket.on(event, () => {
      over = true;
    });
  }
  return {
    socket,
    send: (...parts: (number | string)[]) =>
      socket.write(Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.of(p))))),
    /** The next `count` bytes, or fewer when the server ends first. */
    async take(count: number): Promise<Buffer> {
      while (received.length < count && !over) await Promise.race([once(socket, 'data'), once(socket, 'end')]);
      const taken = received.subarray(0, count);
      received = received.subarray(count);
      return taken;
    },
  };
}

const request = (name: string, port: number): (number | string)[] => [
  5,
  1,
  0,
  3,
  name.length,
  name,
  port >> 8,
  port & 255,
];
const SUCCESS = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

async function open(port: number, name: string, targetPort = 22) {
  const one = client(port);
  one.send(5, 1, 0);
  expect([...(await one.take(2))]).toEqual([5, 0]);
  one.send(...request(name, targetPort));
  return { ...one, reply: [...(await one.take(10))] };
}

describe('the SOCKS5 server', () => {
  it('connects and carries bytes both ways, half-close included', async () => {
    const target = await echoServer();
    const { port } = await socks(() => to(target.port));
    const one = await open(port, 'edge-1');
    expect(one.reply).toEqual(SUCCESS);
    one.socket.end('hello');
    expect((await one.take(5)).toString()).toBe('hello');
    await one.take(1);
  });

  it('serves clients that send byte by byte, and clients that do not wait for answers', async () => {
    const target = await echoServer();
    const { port } = await socks(() => to(target.port));
    const slow = client(port);
    for (const byte of Buffer.from([5, 1, 0, 5, 1, 0, 3, 1, 0x61, 0, 22])) {
      slow.send(byte);
      await new Promise(setImmediate);
    }
    expect([...(await slow.take(12))]).toEqual([5, 0, ...SUCCESS]);
    const hasty = client(port);
    hasty.send(5, 1, 0, ...request('a', 22), 'early');
    expect([...(await hasty.take(12))]).toEqual([5, 0, ...SUCCESS]);
    expect((await hasty.take(5)).toString()).toBe('early');
  });

  it('never crosses the connections of many users', async () => {
    const targets = await Promise.all(
      Array.from({ length: 10 }, (_, i) => echoServer((socket) => void socket.end(`server ${i}`))),
    );
    const { port } = await socks(({ host }) => to(targets[Number(host.slice(5))]?.port as number));
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const one = await open(port, `node-${i % 10}`);
        return (await one.take(8)).toString();
      }),
    );
    expect(answers).toEqual(answers.map((_, i) => `server ${i % 10}`));
  });

  it('gives the reply that fits a failure and closes', async () => {
    const gone = await startTcpServer();
    await gone.dispose();
    const { port } = await socks(({ host }) => {
      if (host === 'dead') return to(gone.port);
      return host === 'secret' ? { kind: 'forbidden' } : { kind: 'unknown' };
    });
    expect((await open(port, 'dead')).reply[1]).toBe(5);
    expect((await open(port, 'secret')).reply[1]).toBe(2);
    const nobody = await open(port, 'nobody');
    expect(nobody.reply[1]).toBe(4);
    expect(await nobody.take(1)).toHaveLength(0);
  });

  it('refuses UDP ASSOCIATE and BIND with a reply', async () => {
    const { port } = await socks(() => ({ kind: 'unknown' }));
    for (const command of [2, 3]) {
      const one = client(port);
      one.send(5, 1, 0, 5, command, 0, 1, 127, 0, 0, 1, 0, 80);
      expect([...(await one.take(4))]).toEqual([5, 0, 5, 7]);
    }
  });

  it('asks for credentials where it is told to', async () => {
    const target = await echoServer();
    const users: (string | undefined)[] = [];
    const { port } = await socks(
      ({ username }) => {
        users.push(username);
        return to(target.port);
      },
      { checkCredentials: (user, password) => user === 'ann' && password === 'pw' },
    );
    const good = client(port);
    good.send(5, 1, 2, 1, 3, 'ann', 2, 'pw', ...request('x', 22));
    expect([...(await good.take(5))]).toEqual([5, 2, 1, 0, 5]);
    const bad = client(port);
    bad.send(5, 1, 2, 1, 3, 'ann', 2, 'no', ...request('x', 22));
    expect([...(await bad.take(9))]).toEqual([5, 2, 1, 1]);
    expect(users).toEqual(['ann']);
  });

  it('drops clients that do not say what they want in time', async () => {
    const clock = createFakeClock();
    const { port } = await socks(() => ({ kind: 'unknown' }), { clock });
    const silent = client(port);
    silent.send(5, 1, 0);
    await silent.take(2);
    silent.socket.on('error', () => undefined);
    const closed = once(silent.socket, 'close').catch(() => undefined);
    clock.advance(10_000);
    await closed;
  });

  it('aborts the dial when its user goes away', async () => {
    const target = await echoServer((socket) => void socket.resume());
    const server = await socks(() => to(target.port));
    const one = await open(server.port, 'x');
    one.socket.resetAndDestroy();
    while (server.active > 0) await new Promise(setImmediate);
  });
});

describe('createSocksResolver', () => {
  const node: NodeInfo = { name: 'edge-1', labels: {}, internalIPs: ['10.1.0.5'], podCIDRs: [] };
  const service = { id: 'shop/web', clusterIPs: ['10.96.0.1'], ports: [{ name: 'http', protocol: 'TCP', port: 80 }] };
  const pod = makeEndpoint('172.17.0.2', { hostname: 'db-0', nodeName: 'edge-2', port: 5432, ready: false });
  const catalog = {
    current: {
      ...EMPTY_CATALOG,
      nodes: new Map([['edge-1', node]]),
      services: new Map([['shop/web', service]]),
      endpoints: new Map([['shop/db', [pod]]]),
    },
    subscribe: () => () => undefined,
  } as unknown as CatalogView;
  const resolve = createSocksResolver({
    catalog,
    serviceUpstream: (id, port) => fixedUpstream(`${id}:${port.name}`, { address: '1.1.1.1', port: 1 }),
    allowAddress: (address, port) => (address === '10.9.9.9' ? { address, port } : undefined),
    allowNodePort: (port) => port === 22,
  });
  const ask = (host: string, port: number, isName = true) => {
    const answer = resolve({ host, port, isName });
    return answer.kind === 'upstream' ? answer.upstream.name : answer.kind;
  };

  it('finds nodes by name and dials them where they are', () => {
    const answer = resolve({ host: 'edge-1', isName: true, port: 22 });
    expect(answer.kind === 'upstream' && answer.upstream.pick({})).toMatchObject({
      address: '10.1.0.5',
      port: 22,
      nodeName: 'edge-1',
    });
  });

  it('forbids other ports of nodes than those that are allowed', () => {
    expect(ask('edge-1', 10_551)).toBe('forbidden');
  });

  it('finds one pod by its hostname, ready or not, and dials it where it is', () => {
    const answer = resolve({ host: 'db-0.db.shop.svc.cluster.local', isName: true, port: 5432 });
    expect(answer.kind === 'upstream' && answer.upstream.pick({})).toMatchObject({
      address: '172.17.0.2',
      nodeName: 'edge-2',
    });
    expect([ask('db-1.db.shop.svc', 5432), ask('db-0.db.shop.svc', 5433), ask('db-0.db.shop', 5432)]).toEqual([
      'unknown',
      'unknown',
      'unknown',
    ]);
  });

  it.each(['web.shop', 'web.shop.svc', 'web.shop.svc.cluster.local', 'web.shop.svc.cluster.local.'])(
    'finds %s',
    (host) => {
      expect(ask(host, 80)).toBe('shop/web:http');
      expect(ask(host, 81)).toBe('unknown');
    },
  );

  it.each(['web', 'edge-2', 'web.shop.pod', 'a.b.svc.c', '', '.'])('does not know %j', (host) =>
    expect(ask(host, 80)).toBe('unknown'),
  );

  it('finds ClusterIPs, and other addresses only where allowed', () => {
    expect(ask('10.96.0.1', 80, false)).toBe('shop/web:http');
    expect(ask('10.9.9.9', 5, false)).toBe('10.9.9.9 port 5');
    expect(ask('8.8.8.8', 53, false)).toBe('forbidden');
  });
});
