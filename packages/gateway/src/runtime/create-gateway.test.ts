import { createSocket } from 'node:dgram';
import { connect as connectHttp2 } from 'node:http2';
import { Agent as HttpsAgent } from 'node:https';
import { createServer as createNetServer } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { createLocalDialer } from '@edgemesh/proxy-l4';
import { createTestCatalog } from '@edgemesh/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogOf, endpointOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';
import { GATEWAY_CLASS } from '../testing/gateway-api.ts';
import { httpServer, istioGateway, to, virtualService } from '../testing/istio.ts';
import {
  fetchOnce,
  freePort,
  roundRobin,
  startHttp,
  startTcp,
  type TestServer,
  tcpExchange,
} from '../testing/servers.ts';
import type { Interfaces } from './addresses.ts';
import { createGateway } from './create-gateway.ts';
import type { GatewayDeps, GatewayOptions } from './gateway-options.ts';

const LOOPBACK: Interfaces = { lo: [{ address: '127.0.0.1' }] };
const SERVICES = [
  serviceOf('default/a', 'http:80'),
  serviceOf('default/b', 'http:80'),
  serviceOf('default/tcp', 'tcp:7'),
];

let a: TestServer;
let b: TestServer;
let tcp: TestServer;
let ca: Pair;
let first: Pair;
let second: Pair;

beforeAll(async () => {
  [a, b, tcp] = await Promise.all([startHttp('a'), startHttp('b'), startTcp('tcp')]);
  ca = makeCertificate(['ca.test']);
  first = makeCertificate(['one.test', 'two.test']);
  second = makeCertificate(['one.test']);
});
afterAll(async () => {
  await Promise.all([a, b, tcp].map((server) => server[Symbol.asyncDispose]()));
});

function catalog(...objects: unknown[]) {
  return catalogOf(SERVICES, objects, {
    'default/a': [endpointOf(a.port, 'http')],
    'default/b': [endpointOf(b.port, 'http')],
    'default/tcp': [endpointOf(tcp.port, 'tcp')],
  });
}

async function start(objects: readonly unknown[], options: GatewayOptions = {}, deps: Partial<GatewayDeps> = {}) {
  const view = createTestCatalog(catalog(...objects));
  const gateway = await createGateway(
    {
      ...options,
      limits: { compileDelayMs: 0, addressPollMs: 20, listenRetryMs: 20, drainMs: 500, ...options.limits },
    },
    { view, balancing: roundRobin, dialer: createLocalDialer(), interfaces: () => LOOPBACK, ...deps },
  );
  return { gateway, view };
}

const https = (port: number, credentialName: string, hosts: string[], more: object = {}) => ({
  port: { number: port, name: `https-${hosts[0]}`, protocol: 'HTTPS' },
  hosts,
  tls: { mode: 'SIMPLE', credentialName, ...more },
});
const route = (name: string, host: string, service: string) =>
  virtualService(`default/${name}`, { hosts: [host], gateways: ['gw'], http: [to(service)] });
const nameOf = (text: string) => (JSON.parse(text) as { name: string }).name;

describe('plain HTTP', () => {
  it('routes every request of a keep-alive connection by itself, for two Gateways on one port', async () => {
    const port = await freePort();
    const { gateway } = await start([
      istioGateway('default/gw', [httpServer(['one.test'], port)]),
      istioGateway('default/other', [httpServer(['two.test'], port)]),
      route('v1', 'one.test', 'a'),
      virtualService('default/v2', { hosts: ['two.test'], gateways: ['other'], http: [to('b')] }),
    ]);
    await using _ = gateway;
    const answers = await tcpExchange(
      port,
      ['one.test', 'two.test', 'none.test']
        .map((host) => `GET /x HTTP/1.1\r\nHost: ${host}\r\n${host === 'none.test' ? 'Connection: close\r\n' : ''}\r\n`)
        .join(''),
      { halfClose: false },
    );
    const statuses = [...answers.matchAll(/HTTP\/1.1 (\d+)|x-served-by: (\w)/g)].map((m) => m[1] ?? m[2]);
    expect(statuses).toEqual(['200', 'a', '200', 'b', '404']);
  });

  it('speaks HTTP/2 by prior knowledge on the same port', async () => {
    const port = await freePort();
    const { gateway } = await start([istioGateway('default/gw', [httpServer(['*'], port)]), route('v', '*', 'a')]);
    await using _ = gateway;
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    const stream = session.request({ ':path': '/h2' });
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    session.close();
    expect(JSON.parse(text)).toMatchObject({ name: 'a', url: '/h2' });
  });

  it('follows the catalog without a new listener', async () => {
    const port = await freePort();
    const objects = [istioGateway('default/gw', [httpServer(['*'], port)])];
    const { gateway, view } = await start(objects);
    await using _ = gateway;
    expect((await fetchOnce({ port })).status).toBe(404);
    view.set(catalog(...objects, route('v', '*', 'b')));
    await expect.poll(async () => (await fetchOnce({ port })).status).toBe(200);
    view.set(catalog());
    await expect
      .poll(() =>
        fetchOnce({ port }).then(
          () => 'open',
          (error: NodeJS.ErrnoException) => error.code,
        ),
      )
      .toBe('ECONNREFUSED');
  });
});

describe('TLS', () => {
  const secret = () => tlsSecret('default/first', first);

  it('terminates by server name, offers HTTP/2 and redirects plain HTTP', async () => {
    const [port, plain] = [await freePort(), await freePort()];
    const { gateway } = await start([
      secret(),
      tlsSecret('default/second', second),
      istioGateway('default/gw', [
        https(port, 'first', ['two.test']),
        https(port, 'second', ['one.test']),
        httpServer(['one.test'], plain, { tls: { httpsRedirect: true } }),
      ]),
      route('v1', 'one.test', 'a'),
      route('v2', 'two.test', 'b'),
    ]);
    await using _ = gateway;
    expect(gateway.plan.conditions).toEqual([]);
    const one = await fetchOnce({
      tls: true,
      port,
      servername: 'one.test',
      ca: second.cert,
      headers: { host: 'one.test' },
    });
    const two = await fetchOnce({
      tls: true,
      port,
      servername: 'two.test',
      ca: first.cert,
      headers: { host: 'two.test' },
    });
    expect([nameOf(one.text), nameOf(two.text)]).toEqual(['a', 'b']);
    const session = connectHttp2(`https://127.0.0.1:${port}`, { servername: 'one.test', ca: second.cert });
    const stream = session.request({ ':path': '/', ':authority': 'one.test' });
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    session.close();
    expect(nameOf(text)).toBe('a');
    const redirect = await fetchOnce({ port: plain, path: '/x?y=1', headers: { host: `one.test:${plain}` } });
    expect([redirect.status, redirect.headers.location]).toEqual([301, 'https://one.test/x?y=1']);
  });

  it('answers 421 for a host of another certificate, 404 for one of nobody', async () => {
    const port = await freePort();
    const { gateway } = await start([
      secret(),
      tlsSecret('default/second', second),
      istioGateway('default/gw', [https(port, 'first', ['two.test']), https(port, 'second', ['one.test'])]),
      route('v2', 'two.test', 'b'),
    ]);
    await using _ = gateway;
    const ask = (host: string) =>
      fetchOnce({ tls: true, port, servername: 'two.test', ca: first.cert, headers: { host } });
    expect([(await ask('one.test')).status, (await ask('nobody.test')).status, (await ask('two.test')).status]).toEqual(
      [421, 404, 200],
    );
  });

  it('closes a handshake for an unknown name with an alert, and a client that speaks no TLS', async () => {
    const port = await freePort();
    const { gateway } = await start([
      secret(),
      istioGateway('default/gw', [https(port, 'first', ['two.test']), https(port, 'first', ['x.test'])]),
      route('v', 'two.test', 'b'),
    ]);
    await using _ = gateway;
    await expect(fetchOnce({ tls: true, port, servername: 'unknown.test' })).rejects.toThrow(/unrecognized name/i);
    await expect(fetchOnce({ port })).rejects.toThrow();
  });

  it('asks for client certificates in MUTUAL mode, and refuses the server without a CA', async () => {
    const [port, broken] = [await freePort(), await freePort()];
    const { gateway } = await start([
      secret(),
      tlsSecret('default/mtls', first, { 'ca.crt': ca.cert }),
      istioGateway('default/gw', [
        https(port, 'mtls', ['two.test'], { mode: 'MUTUAL' }),
        https(broken, 'first', ['two.test'], { mode: 'MUTUAL' }),
      ]),
      route('v', 'two.test', 'b'),
    ]);
    await using _ = gateway;
    const ask = (pair?: Pair, to = port) =>
      fetchOnce({
        tls: true,
        port: to,
        servername: 'two.test',
        ca: first.cert,
        headers: { host: 'two.test' },
        ...(pair && { cert: pair.cert, key: pair.key }),
      });
    expect((await ask(makeCertificate(['client'], ca))).status).toBe(200);
    await expect(ask()).rejects.toThrow();
    await expect(ask(makeCertificate(['stranger']))).rejects.toThrow();
    await expect(ask(makeCertificate(['client'], ca), broken)).rejects.toThrow(/unrecognized name/i);
    expect(gateway.plan.conditions).toMatchObject([
      { path: 'spec.servers[1].tls.credentialName', message: expect.stringContaining('mode MUTUAL needs a CA') },
    ]);
  });

  it('takes TLS 1.2 and up unless told otherwise', async () => {
    const [port, only13] = [await freePort(), await freePort()];
    const { gateway } = await start([
      secret(),
      istioGateway('default/gw', [
        https(port, 'first', ['two.test']),
        https(only13, 'first', ['two.test'], { minProtocolVersion: 'TLSV1_3' }),
      ]),
      route('v', 'two.test', 'b'),
    ]);
    await using _ = gateway;
    const ask = (to: number, version: 'TLSv1.1' | 'TLSv1.2') =>
      fetchOnce({
        tls: true,
        port: to,
        servername: 'two.test',
        ca: first.cert,
        minVersion: version,
        maxVersion: version,
        ciphers: 'DEFAULT:@SECLEVEL=0',
        headers: { host: 'two.test' },
      }).then(
        ({ status }) => status,
        () => 'refused',
      );
    expect([await ask(port, 'TLSv1.2'), await ask(port, 'TLSv1.1'), await ask(only13, 'TLSv1.2')]).toEqual([
      200,
      'refused',
      'refused',
    ]);
  });

  it('rotates a certificate without dropping connections', async () => {
    const port = await freePort();
    const objects = [istioGateway('default/gw', [https(port, 'first', ['one.test'])]), route('v', 'one.test', 'a')];
    const { gateway, view } = await start([secret(), ...objects]);
    await using _ = gateway;
    using agent = new DisposableAgent({ keepAlive: true, maxSockets: 1 });
    const ask = (more: object) =>
      fetchOnce({
        tls: true,
        port,
        servername: 'one.test',
        ca: [first.cert, second.cert],
        headers: { host: 'one.test' },
        ...more,
      });
    const before = await ask({ agent });
    expect(before.status).toBe(200);
    view.set(catalog(tlsSecret('default/first', second), ...objects));
    await expect
      .poll(() =>
        ask({ ca: second.cert }).then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(200);
    expect(await ask({ agent })).toMatchObject({ status: 200, peer: before.peer });
    await expect(ask({ ca: first.cert })).rejects.toThrow();
  });

  it('passes bytes through by server name, and to TCP after it has terminated', async () => {
    const [port, end] = [await freePort(), await freePort()];
    const { gateway } = await start([
      secret(),
      istioGateway('default/gw', [
        { port: { number: port, name: 'tls', protocol: 'TLS' }, hosts: ['*'], tls: { mode: 'PASSTHROUGH' } },
        {
          port: { number: end, name: 'end', protocol: 'TLS' },
          hosts: ['*'],
          tls: { mode: 'SIMPLE', credentialName: 'first' },
        },
      ]),
      virtualService('default/v', {
        hosts: ['one.test'],
        gateways: ['gw'],
        tls: [{ match: [{ sniHosts: ['one.test'], port }], route: [{ destination: { host: 'tcp' } }] }],
        tcp: [{ match: [{ port: end }], route: [{ destination: { host: 'tcp' } }] }],
      }),
    ]);
    await using _ = gateway;
    expect(gateway.plan.conditions).toEqual([]);
    const hello = await clientHello('one.test');
    // The backend speaks no TLS: what it sees are the client's bytes, untouched.
    const seen = Buffer.from(await tcpExchange(port, hello), 'utf8');
    expect(seen.subarray(0, 4).toString()).toBe('tcp:');
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connectTls(
        {
          port: end,
          host: '127.0.0.1',
          servername: 'one.test',
          ca: first.cert,
          allowHalfOpen: true,
        } as ConnectionOptions,
        () => socket.end('quiet'),
      );
      let got = '';
      socket.on('data', (chunk) => {
        got += chunk.toString();
      });
      socket.on('end', () => resolve(got));
      socket.on('error', reject);
    });
    expect(text).toBe('tcp:QUIET');
  });
});

describe('TCP and UDP', () => {
  it('forwards bytes', async () => {
    const port = await freePort();
    const { gateway } = await start([
      istioGateway('default/gw', [{ port: { number: port, name: 'tcp', protocol: 'TCP' }, hosts: ['*'] }]),
      virtualService('default/v', {
        hosts: ['*'],
        gateways: ['gw'],
        tcp: [{ route: [{ destination: { host: 'tcp' } }] }],
      }),
    ]);
    await using _ = gateway;
    expect(await tcpExchange(port, 'hello')).toBe('tcp:HELLO');
  });

  it('forwards datagrams', async () => {
    const backend = createSocket('udp4');
    backend.on('message', (message, from) => backend.send(`echo ${message}`, from.port, from.address));
    await new Promise<void>((resolve) => backend.bind(0, '127.0.0.1', resolve));
    const port = await freePort();
    const objects = [
      GATEWAY_CLASS,
      {
        apiVersion: 'gateway.networking.k8s.io/v1',
        kind: 'Gateway',
        metadata: { name: 'gw', namespace: 'default' },
        spec: { gatewayClassName: 'edge', listeners: [{ name: 'udp', port, protocol: 'UDP' }] },
      },
      {
        apiVersion: 'gateway.networking.k8s.io/v1alpha2',
        kind: 'UDPRoute',
        metadata: { name: 'r', namespace: 'default' },
        spec: { parentRefs: [{ name: 'gw' }], rules: [{ backendRefs: [{ name: 'udp', port: 9 }] }] },
      },
    ];
    const view = createTestCatalog(
      catalogOf([serviceOf('default/udp', 'udp:9:udp')], objects, {
        'default/udp': [endpointOf(backend.address().port, 'udp', { protocol: 'UDP' })],
      }),
    );
    let written: unknown;
    await using gateway = await createGateway(
      {},
      {
        view,
        balancing: roundRobin,
        dialer: createLocalDialer(),
        interfaces: () => LOOPBACK,
        statusWriter: { publish: (statuses) => (written = statuses?.render([statuses.report])) },
      },
    );
    expect(gateway.plan.conditions).toEqual([]);
    const client = createSocket('udp4');
    const answer = new Promise<string>((resolve) => client.once('message', (message) => resolve(message.toString())));
    client.send('x', port, '127.0.0.1');
    expect(await answer).toBe('echo x');
    client.close();
    backend.close();
    const programmed = { type: 'Programmed', status: 'True' };
    expect(written).toMatchObject([
      { kind: 'GatewayClass' },
      {
        kind: 'Gateway',
        status: {
          addresses: [{ type: 'IPAddress', value: '127.0.0.1' }],
          conditions: [{ type: 'Accepted', status: 'True' }, programmed],
          listeners: [{ attachedRoutes: 1, conditions: [{}, {}, {}, programmed] }],
        },
      },
      { kind: 'UDPRoute' },
    ]);
  });
});

describe('addresses', () => {
  it('get their listener when they appear, and lose it when they vanish', async () => {
    const port = await freePort();
    let interfaces: Interfaces = LOOPBACK;
    const { gateway } = await start(
      [istioGateway('default/gw', [httpServer(['*'], port)]), route('v', '*', 'a')],
      { excludeIPs: ['127.0.0.8/30'] },
      { interfaces: () => interfaces },
    );
    await using _ = gateway;
    const reach = (host: string) =>
      fetchOnce({ host, port }).then(
        ({ status }) => status,
        (error: NodeJS.ErrnoException) => error.code,
      );
    expect([await reach('127.0.0.1'), await reach('127.0.0.2')]).toEqual([200, 'ECONNREFUSED']);
    interfaces = { lo: [{ address: '127.0.0.2' }, { address: '127.0.0.9' }] };
    await expect.poll(() => reach('127.0.0.2')).toBe(200);
    await expect.poll(() => reach('127.0.0.1')).toBe('ECONNREFUSED');
    expect(await reach('127.0.0.9')).toBe('ECONNREFUSED');
  });

  it('that are busy degrade one listener alone, which opens when they are free', async () => {
    const [busy, port] = [await freePort(), await freePort()];
    const blocker = createNetServer();
    await new Promise<void>((resolve) => blocker.listen(busy, '127.0.0.1', resolve));
    const { gateway } = await start([
      istioGateway('default/gw', [httpServer(['*'], busy), httpServer(['*'], port)]),
      route('v', '*', 'a'),
    ]);
    await using _ = gateway;
    expect((await fetchOnce({ port })).status).toBe(200);
    expect(gateway.status().ports).toMatchObject([
      { id: `TCP ${busy}`, listeners: [{ state: 'failed', reason: expect.stringContaining('EADDRINUSE') }] },
      { listeners: [{ state: 'open' }] },
    ]);
    await new Promise((resolve) => blocker.close(resolve));
    await expect.poll(() => gateway.status().ports[0]?.listeners[0]?.state).toBe('open');
  });
});

/** The first message that a TLS client sends. */
function clientHello(servername: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const server = createNetServer((socket) =>
      socket.once('data', (bytes) => {
        resolve(bytes);
        socket.destroy();
        server.close();
      }),
    ).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      connectTls({ port, host: '127.0.0.1', servername }).on('error', () => undefined);
    });
  });
}

class DisposableAgent extends HttpsAgent {
  [Symbol.dispose](): void {
    this.destroy();
  }
}
