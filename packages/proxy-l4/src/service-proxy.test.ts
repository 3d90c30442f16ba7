import { once } from 'node:events';
import { connect } from 'node:net';
import type { Endpoint, ServicePort } from '@edgemesh/core';
import { createCatalogBalancing } from '@edgemesh/lb';
import { createFakeClock, createTestCatalog, type TestCatalog } from '@edgemesh/testkit';
import { makeEndpoint, recordDatagrams, recordStream } from '@edgemesh/testkit/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalDialer } from './local-dialer.ts';
import {
  createServiceProxy,
  type PortMapping,
  type ServiceProxyDeps,
  type ServiceProxyOptions,
} from './service-proxy.ts';
import type { Balancing } from './service-upstream.ts';
import { makeService } from './testing/catalog.ts';
import { startTcpServer, startUdpServer } from './testing/servers.ts';

let stack = new AsyncDisposableStack();
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const http: ServicePort = { name: 'http', protocol: 'TCP', port: 80 };
const dns: ServicePort = { name: 'dns', protocol: 'UDP', port: 53 };
const sticky = { sessionAffinity: { type: 'ClientIP', timeoutSeconds: 60 } } as const;

const balancing: Balancing = createCatalogBalancing({ catalog: createTestCatalog(), nodeName: 'me' });

/** A server that says its name, and its endpoint. */
async function named(name: string): Promise<Endpoint> {
  const server = await startTcpServer((socket) => socket.end(name));
  stack.defer(server.dispose);
  return makeEndpoint('127.0.0.1', { port: server.port });
}

async function proxy(catalog: TestCatalog, options: ServiceProxyOptions = {}, deps: Partial<ServiceProxyDeps> = {}) {
  const dialer = createLocalDialer();
  const started = await createServiceProxy({ drainMs: 20, ...options }, { catalog, balancing, dialer, ...deps });
  stack.defer(async () => {
    await started[Symbol.asyncDispose]();
    for (let i = 0; i < 100 && dialer.openStreams + dialer.openChannels > 0; i++) await new Promise(setImmediate);
    expect([dialer.openStreams, dialer.openChannels, started.mappings.length]).toEqual([0, 0, 0]);
  });
  return started;
}

/** What a server sends before it ends, or the code of the error. */
async function read(port: number, host = '127.0.0.1'): Promise<string> {
  const socket = connect({ port, host });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  return await new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.on('end', () => resolve(text));
  });
}

const mapped = { listeners: { mode: 'mapped', address: '127.0.0.1' } } as const;

describe('the upstreams of the service proxy', () => {
  it('follow the catalog without being asked for again', async () => {
    const catalog = createTestCatalog();
    const [a, b] = [await named('a'), await named('b')];
    catalog.put(makeService('web', [http]), [a]);
    const services = await proxy(catalog);
    const web = services.upstream('shop/web', 'http', 'TCP');
    if (web === undefined) throw new Error('no upstream');
    const ask = async () => {
      const stream = recordStream(services.dial(web, { sourceIp: '10.0.0.1' }));
      await stream.until((s) => s.ended || s.closed, 'the end');
      stream.end();
      await stream.untilClosed();
      return stream.error?.code ?? stream.text();
    };
    expect(await ask()).toBe('a');
    catalog.put(makeService('web', [http]), [b]);
    expect(await ask()).toBe('b');
    catalog.put(makeService('web', [http]), [{ ...b, ready: false, serving: false }]);
    expect(await ask()).toBe('no-endpoints');
    catalog.remove('shop/web');
    expect(await ask()).toBe('no-endpoints');
    expect(services.upstream('shop/web', 'http', 'TCP')).toBeUndefined();
    catalog.put(makeService('web', [http]), [a]);
    expect(await ask()).toBe('a');
  });

  it('keep affinity while other things change, and start anew with another policy', async () => {
    const catalog = createTestCatalog();
    const endpoints = Array.from({ length: 50 }, (_, i) => makeEndpoint(`10.0.0.${i}`));
    catalog.put(makeService('web', [http], sticky), endpoints);
    const created: string[] = [];
    const counting: Balancing = {
      ...balancing,
      createBalancer(service, port) {
        created.push(service.name);
        return balancing.createBalancer(service, port);
      },
    };
    const services = await proxy(catalog, {}, { balancing: counting });
    const web = services.upstream('shop/web', 'http', 'TCP');
    const own = web?.pick({ sourceIp: '10.9.9.9' });
    for (let i = 0; i < 20; i++) {
      catalog.put(makeService('web', [http], { ...sticky, labels: { round: String(i) } }), [
        ...endpoints.filter((e) => e === own || Number(e.address.split('.')[3]) > i),
      ]);
      expect(web?.pick({ sourceIp: '10.9.9.9' })).toBe(own);
    }
    expect(created).toEqual(['web']);
    catalog.put(makeService('web', [http]));
    web?.pick({});
    expect(created).toEqual(['web', 'web']);
  });

  it('give the balancer the same array while the endpoints stay the same', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('web', [http]), [makeEndpoint('10.0.0.1'), makeEndpoint('10.0.0.2')]);
    const arrays = new Set<readonly Endpoint[]>();
    const services = await proxy(
      catalog,
      {},
      {
        balancing: {
          ...balancing,
          createBalancer: () => ({
            pick(candidates) {
              arrays.add(candidates);
              return candidates[0];
            },
          }),
        },
      },
    );
    const web = services.upstream('shop/web', 'http', 'TCP');
    for (let i = 0; i < 5; i++) {
      web?.pick({});
      catalog.touch();
    }
    expect(arrays.size).toBe(1);
  });

  it('are found by ClusterIP and port', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('web', [http, dns], { clusterIPs: ['10.96.0.7', 'fd00::7'] }), []);
    const services = await proxy(catalog);
    expect(services.upstreamAt('fd00::7', 53, 'UDP')?.name).toBe('shop/web:dns');
    expect(services.upstreamAt('10.96.0.7', 53, 'TCP')).toBeUndefined();
    expect(services.upstreamAt('10.96.0.8', 80, 'TCP')).toBeUndefined();
  });
});

describe('mapped listeners', () => {
  it('stand for each Service port, come and go with it, and tell about it', async () => {
    const catalog = createTestCatalog();
    const udp = await startUdpServer();
    stack.defer(udp.dispose);
    const web = await named('web');
    catalog.put(makeService('web', [http]), [web]);
    const services = await proxy(catalog, mapped);
    const seen: string[] = [];
    services.onMappings((service) => seen.push(service));
    const until = async (test: () => boolean) => {
      while (!test()) await new Promise(setImmediate);
    };
    expect(services.mappings).toMatchObject([
      { serviceId: 'shop/web', portName: 'http', protocol: 'TCP', servicePort: 80, listenAddress: '127.0.0.1' },
    ]);
    const [first] = services.mappings as [PortMapping];
    expect(await read(first.listenPort)).toBe('web');

    catalog.put(makeService('names', [dns]), [
      makeEndpoint('127.0.0.1', { port: udp.port, protocol: 'UDP', portName: 'dns' }),
    ]);
    await until(() => services.mappings.length === 2);
    const names = services.mappings.find((m) => m.serviceId === 'shop/names') as PortMapping;
    const channel = recordDatagrams(
      createLocalDialer().openDatagrams({ address: '127.0.0.1', port: names.listenPort }),
    );
    channel.send('question');
    await channel.until((c) => c.messages.length === 1, 'an answer');
    channel.close();

    catalog.touch();
    expect(services.mappings.find((m) => m.serviceId === 'shop/web')).toEqual(first);
    catalog.remove('shop/web');
    expect(services.mappings.map((m) => m.serviceId)).toEqual(['shop/names']);
    expect(seen).toEqual(['shop/names', 'shop/web']);
    expect(services.listenPortOf('shop/names', 'dns', 'UDP', 4)).toBe(names.listenPort);
    expect(services.listenPortOf('shop/names', 'dns', 'UDP', 6)).toBeUndefined();
    expect(services.listenPortOf('shop/web', 'http', 'TCP', 4)).toBeUndefined();
    expect(await read(first.listenPort)).toBe('ECONNREFUSED');
  });

  it('reset at once while a Service has no endpoint', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('web', [http]), []);
    const services = await proxy(catalog, mapped);
    expect(await read((services.mappings[0] as PortMapping).listenPort)).toBe('ECONNRESET');
  });

  it('leave out what is not proxied, what is filtered, and what exceeds the limit, and say so', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('headless', [http], { headless: true, clusterIPs: [] }), []);
    catalog.put(makeService('outside', [http], { type: 'ExternalName', clusterIPs: [] }), []);
    catalog.put(makeService('odd', [{ ...http, protocol: 'SCTP' }]), []);
    catalog.put(makeService('hidden', [http], { labels: { hidden: '' } }), []);
    for (let i = 0; i < 5; i++) catalog.put(makeService(`web-${i}`, [http]), []);
    const services = await proxy(catalog, {
      ...mapped,
      maxListeners: 3,
      include: (service) => !('hidden' in service.labels),
    });
    expect(services.mappings.map((m) => m.serviceId)).toEqual(['shop/web-0', 'shop/web-1', 'shop/web-2']);
    expect(services.problems).toEqual(['2 listeners exceed the limit of 3']);
    catalog.remove('shop/web-1');
    while (services.mappings.length < 3) await new Promise(setImmediate);
    expect(services.mappings.map((m) => m.serviceId)).toEqual(['shop/web-0', 'shop/web-2', 'shop/web-3']);
  });

  it('survive a storm of changes and end up right', async () => {
    const catalog = createTestCatalog();
    const services = await proxy(catalog, mapped);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 5; i++) catalog.put(makeService(`web-${i}`, round % 2 ? [http] : [http, dns]), []);
      if (round % 3 === 0) catalog.remove('shop/web-2');
      if (round % 5 === 0) await new Promise(setImmediate);
    }
    while (services.mappings.length < 5) await new Promise(setImmediate);
    expect(services.mappings.map((m) => `${m.serviceId} ${m.portName}`).sort()).toEqual(
      [0, 1, 2, 3, 4].map((i) => `shop/web-${i} http`),
    );
  });
});

describe('loopback listeners', () => {
  it('listen on the ClusterIP itself, and only on loopback addresses', async () => {
    const catalog = createTestCatalog();
    const probe = await startTcpServer(undefined, '127.77.0.1');
    const { port } = probe;
    await probe.dispose();
    catalog.put(makeService('web', [{ ...http, port }], { clusterIPs: ['127.77.0.1', '10.96.0.1'] }), [
      await named('web'),
    ]);
    const services = await proxy(catalog, { listeners: { mode: 'loopback' } });
    expect(services.mappings).toHaveLength(1);
    expect(await read(port, '127.77.0.1')).toBe('web');
  });

  it('pass from one Service to another with the ClusterIP', async () => {
    const catalog = createTestCatalog();
    const probe = await startTcpServer(undefined, '127.77.0.3');
    await probe.dispose();
    const ports = [{ ...http, port: probe.port }];
    catalog.put(makeService('old', ports, { clusterIPs: ['127.77.0.3'] }), [await named('old')]);
    const services = await proxy(catalog, { listeners: { mode: 'loopback' } });
    expect(await read(probe.port, '127.77.0.3')).toBe('old');
    catalog.put(makeService('new', ports, { clusterIPs: ['127.77.0.3'] }), [await named('new')]);
    while (services.problems.length === 0) await new Promise(setImmediate);
    catalog.remove('shop/old');
    while (services.mappings[0]?.serviceId !== 'shop/new') await new Promise(setImmediate);
    expect(await read(probe.port, '127.77.0.3')).toBe('new');
  });

  it('are opened later when the port is taken now', async () => {
    const catalog = createTestCatalog();
    const clock = createFakeClock();
    const squatter = await startTcpServer(undefined, '127.77.0.2');
    catalog.put(makeService('web', [{ ...http, port: squatter.port }], { clusterIPs: ['127.77.0.2'] }), [
      await named('web'),
    ]);
    const services = await proxy(catalog, { listeners: { mode: 'loopback' } }, { clock });
    expect(services.mappings).toHaveLength(0);
    expect(services.problems[0]).toMatch(/shop\/web .*EADDRINUSE/);
    await squatter.dispose();
    clock.advance(10_000);
    while (services.mappings.length === 0) await new Promise(setImmediate);
    expect(services.problems).toEqual([]);
    expect(await read(squatter.port, '127.77.0.2')).toBe('web');
  });
});

describe('disposing the service proxy', () => {
  it('closes listeners, resets what does not end, and leaves the catalog alone', async () => {
    const catalog = createTestCatalog();
    const target = await startTcpServer((socket) => void socket.resume());
    stack.defer(target.dispose);
    catalog.put(makeService('web', [http]), [makeEndpoint('127.0.0.1', { port: target.port })]);
    const services = await proxy(catalog, mapped);
    const { listenPort } = services.mappings[0] as PortMapping;
    const client = connect({ port: listenPort, host: '127.0.0.1' });
    await once(client, 'connect');
    const failed = once(client, 'error');
    await services[Symbol.asyncDispose]();
    expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET');
    catalog.put(makeService('late', [http]), []);
    expect(services.mappings).toEqual([]);
  });

  it('let connections of a deleted Service go on, and take no more', async () => {
    const server = await startTcpServer((socket) => socket.pipe(socket));
    stack.defer(server.dispose);
    const catalog = createTestCatalog();
    catalog.put(makeService('web', [http]), [makeEndpoint('127.0.0.1', { port: server.port })]);
    const services = await proxy(catalog, mapped);
    const port = services.mappings[0]?.listenPort as number;
    const client = connect({ port, host: '127.0.0.1' });
    const say = async (text: string) => {
      client.write(text);
      return String((await once(client, 'data'))[0]);
    };
    expect(await say('before')).toBe('before');
    catalog.remove('shop/web');
    while ((await read(port)) !== 'ECONNREFUSED') await new Promise(setImmediate);
    // Longer than a listener that is disposed would drain.
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect([await say('after'), services.active.tcp, services.mappings.length]).toEqual(['after', 1, 0]);
    client.destroy();
  });

  it('move a UDP client that goes on sending when its endpoint leaves', async () => {
    const answers = async (name: string) => {
      const server = await startUdpServer((message, _, reply) => reply(Buffer.from(`${name} ${message}`)));
      stack.defer(server.dispose);
      return makeEndpoint('127.0.0.1', { port: server.port, protocol: 'UDP', portName: 'dns' });
    };
    const [a, b] = [await answers('a'), await answers('b')];
    const catalog = createTestCatalog();
    catalog.put(makeService('names', [dns]), [a]);
    const services = await proxy(catalog, mapped);
    const { listenPort } = services.mappings[0] as PortMapping;
    const dialer = createLocalDialer();
    const client = recordDatagrams(dialer.openDatagrams({ address: '127.0.0.1', port: listenPort }));
    const say = async (text: string) => {
      const count = client.messages.length;
      client.send(Buffer.from(text));
      await client.until((c) => c.messages.length > count, 'an answer');
      return String(client.messages.at(-1));
    };
    expect(await say('one')).toBe('a one');
    catalog.put(makeService('names', [dns]), [a, b]);
    expect(await say('two')).toBe('a two');
    catalog.put(makeService('names', [dns]), [b]);
    expect(await say('three')).toBe('b three');
    client.close();
  });

  it('fall back to the reserve when none of their own endpoints is left', async () => {
    const catalog = createTestCatalog();
    const dead = makeEndpoint('127.0.0.1', { port: 1 });
    const alive = await named('alive');
    catalog.put(makeService('web', [http]), [dead, alive]);
    const split: Balancing = {
      ...balancing,
      eligible: (_service, endpoints) => endpoints.filter((e) => e === dead),
      reserve: (_service, endpoints) => endpoints,
    };
    const services = await proxy(catalog, mapped, { balancing: split });
    expect(await read(services.mappings[0]?.listenPort as number)).toBe('alive');
  });

  it('ask again which Services want listeners when told to', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('web', [http]));
    let wanted = false;
    const services = await proxy(catalog, { ...mapped, include: () => wanted });
    expect(services.mappings).toEqual([]);
    wanted = true;
    const opened = new Promise((resolve) => services.onMappings(resolve));
    services.reconsider();
    expect(await opened).toBe('shop/web');
    expect(services.mappings).toHaveLength(1);
  });

  it('listen on the twin address for Services of the other family', async () => {
    const catalog = createTestCatalog();
    catalog.put(makeService('both', [http], { clusterIPs: ['10.96.0.1', 'fd00::1'] }));
    catalog.put(makeService('six', [http], { clusterIPs: ['fd00::2'] }));
    const listeners = { mode: 'mapped', address: '127.0.0.1', otherAddress: '::1' } as const;
    const services = await proxy(catalog, { listeners });
    const seen = services.mappings.map(({ serviceId, listenAddress }) => `${serviceId} ${listenAddress}`).sort();
    expect(seen).toEqual(['shop/both 127.0.0.1', 'shop/both ::1', 'shop/six ::1']);
  });
});
