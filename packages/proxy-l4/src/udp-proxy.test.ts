import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type Datagrams, type Endpoint, endpointKey } from '@edgemesh/core';
import { createFakeClock, type FakeClock } from '@edgemesh/testkit';
import { describeDatagrams, makeEndpoint, recordDatagrams } from '@edgemesh/testkit/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConnectionBudget, createConnectionBudget } from './connection-budget.ts';
import { createLocalDialer } from './local-dialer.ts';
import { startUdpServer } from './testing/servers.ts';
import { createUdpProxy, type UdpProxyOptions } from './udp-proxy.ts';
import type { Upstream } from './upstream.ts';

let stack = new AsyncDisposableStack();
let inUse = 0;
beforeEach(() => {
  stack = new AsyncDisposableStack();
  inUse = 0;
});
afterEach(() => stack.disposeAsync());

const at = (port: number) => ({ address: '127.0.0.1', port });

function upstreamOf(...ports: number[]): Upstream {
  const endpoints = ports.map((port) => makeEndpoint('127.0.0.1', { port, protocol: 'UDP' }));
  return {
    name: 'shop/dns:dns',
    pick: (_flow, exclude): Endpoint | undefined => endpoints.find((e) => !exclude?.has(endpointKey(e))),
    begin: () => void inUse++,
    end: () => void inUse--,
  };
}

async function server(answer?: Parameters<typeof startUdpServer>[0]) {
  const started = await startUdpServer(answer);
  stack.defer(started.dispose);
  return started;
}

async function deadPort() {
  const gone = await startUdpServer();
  await gone.dispose();
  return gone.port;
}

async function proxy(
  upstream: Upstream | undefined,
  options: Partial<UdpProxyOptions> = {},
  clock?: FakeClock,
  budget?: ConnectionBudget,
) {
  const dialer = createLocalDialer();
  const started = await createUdpProxy(
    { listen: { host: '127.0.0.1', port: 0 }, ...options },
    { dialer, route: () => upstream, ...(clock && { clock }), ...(budget && { budget }) },
  );
  stack.defer(async () => {
    await started[Symbol.asyncDispose]();
    while (dialer.openChannels > 0) await new Promise(setImmediate);
    expect([started.active, inUse, clock?.pendingTimers ?? 0]).toEqual([0, 0, 0]);
  });
  return Object.assign(started, { dialer });
}

/** A client with a socket of its own, so a flow of its own. */
function client(port: number) {
  const dialer = createLocalDialer();
  const made = recordDatagrams(dialer.openDatagrams(at(port)));
  stack.defer(() => made.close());
  return made;
}

async function ask(one: ReturnType<typeof client>, text: string): Promise<string> {
  const before = one.messages.length;
  one.send(text);
  await one.until((c) => c.messages.length > before, `an answer to ${text}`);
  return Buffer.from(one.messages.at(-1) as Uint8Array).toString();
}

describeDatagrams(
  'a flow through the UDP proxy',
  async () => {
    // The far end is a UDP socket that talks to whoever spoke last.
    const target = createSocket('udp4');
    target.bind(0, '127.0.0.1');
    await once(target, 'listening');
    target.setRecvBufferSize(1 << 20);
    const dialer = createLocalDialer();
    const between = await createUdpProxy(
      { listen: { host: '127.0.0.1', port: 0 } },
      { dialer, route: () => upstreamOf(target.address().port) },
    );
    let peer: number | undefined;
    let done = false;
    const b: Datagrams = {
      attach(sink) {
        target.on('message', (payload, from) => {
          peer = from.port;
          if (!done) sink.message(payload);
        });
        target.once('close', () => sink.closed());
      },
      send(payload) {
        if (peer === undefined || done) return false;
        target.send(payload, peer, '127.0.0.1');
        return true;
      },
      close() {
        if (!done) target.close();
        done = true;
      },
    };
    return {
      a: dialer.openDatagrams(at(between.port)),
      b,
      async dispose() {
        await between[Symbol.asyncDispose]();
        while (dialer.openChannels > 0) await new Promise(setImmediate);
        expect([between.active, inUse]).toEqual([0, 0]);
      },
    };
  },
  { closeReachesPeer: false },
);

describe('the UDP proxy', () => {
  it('keeps clients apart and each on one channel', async () => {
    const target = await server((payload, from, reply) => reply(Buffer.from(`${payload} from ${from.port}`)));
    const between = await proxy(upstreamOf(target.port));
    const clients = Array.from({ length: 20 }, () => client(between.port));
    const ports = new Set<string>();
    for (const round of [1, 2, 3]) {
      const answers = await Promise.all(clients.map((one, i) => ask(one, `${i}.${round}`)));
      for (const [i, answer] of answers.entries()) {
        expect(answer).toMatch(new RegExp(`^${i}\\.${round} from`));
        ports.add(answer.split(' ').at(-1) as string);
      }
    }
    expect([between.active, target.clients.size, ports.size]).toEqual([20, 20, 20]);
  });

  it('answers from the address it listens on', async () => {
    const target = await server();
    const between = await proxy(upstreamOf(target.port));
    const socket = createSocket('udp4');
    stack.defer(() => void socket.close());
    socket.send('x', between.port, '127.0.0.1');
    const [, from] = (await once(socket, 'message')) as [Buffer, { address: string; port: number }];
    expect([from.address, from.port]).toEqual(['127.0.0.1', between.port]);
  });

  it('passes answers that are many, late or unasked', async () => {
    const target = await server((payload, _from, reply) => {
      for (let i = 0; i < 3; i++) reply(payload);
      setTimeout(() => reply(Buffer.from('late')), 400);
    });
    const between = await proxy(upstreamOf(target.port));
    const one = client(between.port);
    one.send('x');
    await one.until((c) => c.messages.length === 4, '4 answers');
    expect(Buffer.from(one.messages[3] as Uint8Array).toString()).toBe('late');
  });

  it('forgets flows that are idle in both directions, and only those', async () => {
    const target = await server();
    const clock = createFakeClock();
    const between = await proxy(upstreamOf(target.port), {}, clock);
    const [busy, idle] = [client(between.port), client(between.port)];
    await Promise.all([ask(busy, 'a'), ask(idle, 'a')]);
    for (let i = 0; i < 6; i++) {
      clock.advance(15_000);
      await ask(busy, 'b');
    }
    expect(between.active).toBe(1);
    expect(await ask(idle, 'again')).toBe('again');
    clock.advance(90_000);
    expect([between.active, clock.pendingTimers, inUse]).toEqual([0, 0, 0]);
  });

  it('makes room for a new flow by dropping the one idle longest', async () => {
    const target = await server();
    const clock = createFakeClock();
    const between = await proxy(upstreamOf(target.port), { maxFlows: 2, idleMs: 1000 }, clock);
    const [first, second, third] = [client(between.port), client(between.port), client(between.port)];
    await ask(first, '1');
    clock.advance(300);
    await ask(second, '2');
    clock.advance(300);
    await ask(first, '1');
    await ask(third, '3');
    expect(between.active).toBe(2);
    const before = target.clients.size;
    await ask(first, 'still known');
    expect(target.clients.size).toBe(before);
    await ask(second, 'new flow');
    expect(target.clients.size).toBe(before + 1);
  });

  it('shares a budget with other listeners: makes room among its own flows, else turns new ones away', async () => {
    const target = await server();
    const budget = createConnectionBudget({ maxConnections: 2 });
    const [left, right] = [
      await proxy(upstreamOf(target.port), {}, undefined, budget),
      await proxy(upstreamOf(target.port), {}, undefined, budget),
    ];
    await ask(client(left.port), '1');
    await ask(client(left.port), '2');
    client(right.port).send('no room');
    await ask(client(left.port), '3');
    expect([left.active, right.active, budget.active]).toEqual([2, 0, 2]);
    await left[Symbol.asyncDispose]();
    await ask(client(right.port), 'room again');
    expect(budget.active).toBe(1);
  });

  it('gives the first datagrams to another endpoint when the first refuses', async () => {
    const target = await server();
    const between = await proxy(upstreamOf(await deadPort(), await deadPort(), target.port));
    expect(await ask(client(between.port), 'question')).toBe('question');
  });

  it('drops the flow when every endpoint refuses, and tries anew with the next datagram', async () => {
    const between = await proxy(upstreamOf(await deadPort()));
    const one = client(between.port);
    one.send('x');
    while (between.active === 0) await new Promise(setImmediate);
    while (between.active > 0) await new Promise(setImmediate);
    one.send('x');
    while (between.active === 0) await new Promise(setImmediate);
  });

  it.each([
    ['route', undefined],
    ['endpoint', upstreamOf()],
  ])('keeps nothing for a client without a %s', async (_, upstream) => {
    const between = await proxy(upstream);
    const one = client(between.port);
    const target = await server();
    one.send('x');
    await ask(client(target.port), 'a later round trip');
    expect(between.active).toBe(0);
  });

  it('works over IPv6', async () => {
    const target = await server();
    const dialer = createLocalDialer();
    const between = await createUdpProxy(
      { listen: { host: '::1', port: 0 } },
      { dialer, route: () => upstreamOf(target.port) },
    );
    stack.use(between);
    const one = recordDatagrams(dialer.openDatagrams({ address: '::1', port: between.port }));
    stack.defer(() => one.close());
    one.send('six');
    await one.until((c) => c.messages.length === 1, 'an answer');
  });

  it('rejects with a reason when it cannot bind', async () => {
    const target = await server();
    const listen = (host: string, port: number) =>
      createUdpProxy({ listen: { host, port } }, { dialer: createLocalDialer(), route: () => undefined });
    await expect(listen('127.0.0.1', target.port)).rejects.toMatchObject({ code: 'address-in-use' });
    await expect(listen('192.0.2.1', 0)).rejects.toMatchObject({ code: 'address-not-available' });
  });
});
