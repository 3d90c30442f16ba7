import { createServer, request } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type KubeObject, noMetrics, type Service, silentLogger } from '@edgemesh/core';
import { saysHttp } from '@edgemesh/gateway';
import { DESTINATION_RULE_KIND } from '@edgemesh/lb';
import { createLocalDialer, createServiceProxy, type ServiceProxy } from '@edgemesh/proxy-l4';
import { createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { testService } from '../testing/catalog.ts';
import { createBalancing } from './balancing.ts';
import { createRequestProxy } from './requests.ts';

const BACKENDS = ['one', 'two', 'three'];

/** Backends that say who they are, by HTTP/1.1 or HTTP/2, behind a Service port on loopback. */
async function setup(port: Partial<Service['ports'][number]>, clusterIP: string) {
  await using stack = new AsyncDisposableStack();
  const seen: string[] = [];
  const endpoints = await Promise.all(
    BACKENDS.map(async (name) => {
      const answer = (headers: object) => {
        seen.push(JSON.stringify(headers));
        return name;
      };
      const server =
        port.name === 'grpc'
          ? createHttp2Server((req, res) => res.end(answer(req.headers)))
          : createServer((req, res) => res.end(answer(req.headers)));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      stack.defer(() => void server.close());
      return makeEndpoint('127.0.0.1', { port: (server.address() as AddressInfo).port, portName: port.name ?? '' });
    }),
  );
  const view = createTestCatalog();
  const [free] = endpoints;
  const service = testService('web', {
    clusterIPs: [clusterIP],
    ports: [{ name: '', protocol: 'TCP', port: free?.port ?? 0, ...port }],
  });
  view.put(service, endpoints);
  const balancing = createBalancing({
    view,
    nodeName: 'me',
    clusterDomain: 'cluster.local',
    readsRequests: (_, p) => saysHttp(p),
  });
  const dialer = createLocalDialer();
  const common = { log: silentLogger, metrics: noMetrics };
  const services: { proxy?: ServiceProxy } = {};
  const requests = stack.use(
    createRequestProxy({ view, balancing, dialer, ...common, upstream: (...key) => services.proxy?.upstream(...key) }),
  );
  const proxy = stack.use(
    await createServiceProxy(
      { listeners: { mode: 'loopback' }, drainMs: 100 },
      { catalog: view, balancing, dialer, takeOver: requests.takeOver },
    ),
  );
  services.proxy = proxy;
  expect(proxy.problems).toEqual([]);
  const rule = (loadBalancer: unknown) =>
    view.objects(DESTINATION_RULE_KIND, {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'web', namespace: 'default' },
      spec: { host: 'web', trafficPolicy: { loadBalancer } },
    } as KubeObject);
  const owned = stack.move();
  return {
    rule,
    requests,
    seen,
    port: free?.port ?? 0,
    host: clusterIP,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function get(
  host: string,
  port: number,
  headers: Record<string, string>,
): Promise<{ body: string; cookie: string | undefined }> {
  return new Promise((resolve, reject) => {
    request({ host, port, headers: { connection: 'close', ...headers } }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += String(chunk);
      });
      response.on('end', () => resolve({ body, cookie: response.headers['set-cookie']?.[0] }));
    })
      .on('error', reject)
      .end();
  });
}

describe('requests to a Service on a node', () => {
  it('are served one by one where the rule hashes by a header, and as connections elsewhere', async () => {
    await using mesh = await setup({ name: 'http' }, '127.77.1.1');
    const ask = (user: string) => get(mesh.host, mesh.port, { 'x-user': user }).then(({ body }) => body);
    // Round robin of connections, and nobody reads them.
    expect(new Set([await ask('jo'), await ask('jo'), await ask('jo')]).size).toBe(3);
    expect(mesh.seen.join()).not.toContain('x-forwarded');
    mesh.rule({ consistentHash: { httpHeaderName: 'x-user' } });
    const users = Array.from({ length: 30 }, (_, i) => `user-${i}`);
    const first = await Promise.all(users.map(ask));
    expect(await Promise.all(users.map(ask))).toEqual(first);
    expect(new Set(first).size).toBe(3);
    expect(mesh.seen.at(-1)).toContain('x-forwarded-for');
  });

  it('get a cookie where the rule hashes by one with a lifetime', async () => {
    await using mesh = await setup({ name: 'http' }, '127.77.1.2');
    mesh.rule({ consistentHash: { httpCookie: { name: 'sticky', ttl: '60s', path: '/' } } });
    const { body, cookie } = await get(mesh.host, mesh.port, {});
    expect(cookie).toMatch(/^sticky=.*Max-Age=60/i);
    const sent = cookie?.split(';')[0] ?? '';
    for (let i = 0; i < 6; i++) expect((await get(mesh.host, mesh.port, { cookie: sent })).body).toBe(body);
  });

  it('of one gRPC connection are spread where a rule binds', async () => {
    await using mesh = await setup({ name: 'grpc' }, '127.77.1.3');
    mesh.rule({ simple: 'ROUND_ROBIN' });
    const session = connectHttp2(`http://${mesh.host}:${mesh.port}`);
    const bodies = new Set<string>();
    for (let i = 0; i < 6; i++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/a.B/C',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      stream.end();
      let body = '';
      for await (const chunk of stream) body += String(chunk);
      bodies.add(body);
    }
    session.close();
    expect([...bodies].sort()).toEqual(['one', 'three', 'two']);
    expect(mesh.requests.status.active).toBe(0);
  });
});
