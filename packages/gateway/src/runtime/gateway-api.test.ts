import { once } from 'node:events';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Endpoint, Service } from '@edgemesh/core';
import { createLocalDialer } from '@edgemesh/proxy-l4';
import { createTestCatalog } from '@edgemesh/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { catalogOf, endpointOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';
import { GATEWAY_CLASS } from '../testing/gateway-api.ts';
import { fetchOnce, freePort, roundRobin, startHttp, type TestServer } from '../testing/servers.ts';
import { createGateway } from './create-gateway.ts';

/* Traffic of the core profile, named after the tests of the conformance suite. */

const V1 = 'gateway.networking.k8s.io/v1';

let servers: readonly TestServer[];
let exact: Pair;
let wildcard: Pair;
let stack = new AsyncDisposableStack();
beforeAll(async () => {
  servers = await Promise.all(['a', 'b'].map(startHttp));
  [exact, wildcard] = [makeCertificate(['example.org']), makeCertificate(['*.wildcard.org'])];
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
});
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

const listener = (port: number, more: object = {}) => ({ name: `l${port}`, port, protocol: 'HTTP', ...more });
const gateway = (...listeners: readonly object[]) => ({
  apiVersion: V1,
  kind: 'Gateway',
  metadata: { name: 'gw', namespace: 'default' },
  spec: { gatewayClassName: 'edge', listeners },
});
const route = (rules: readonly object[], spec: object = {}, kind = 'HTTPRoute') => ({
  apiVersion: V1,
  kind,
  metadata: { name: 'r', namespace: 'default' },
  spec: { parentRefs: [{ name: 'gw' }], rules, ...spec },
});
const ref = (name: string, weight?: number) => ({ name, port: 80, ...(weight !== undefined && { weight }) });

/** Services a and b with one endpoint each, and what a test changes of them. */
function catalogWith(
  objects: readonly unknown[],
  more: Partial<Service> = {},
  endpoints: Readonly<Record<string, readonly Endpoint[]>> = {},
) {
  const services = ['a', 'b'].map((name) => ({ ...serviceOf(`default/${name}`, 'http:80'), ...more }));
  return catalogOf(services, [GATEWAY_CLASS, ...objects], {
    'default/a': [endpointOf((servers[0] as TestServer).port, 'http')],
    'default/b': [endpointOf((servers[1] as TestServer).port, 'http')],
    ...endpoints,
  });
}

async function start(catalog: ReturnType<typeof catalogWith>) {
  const view = createTestCatalog(catalog);
  const running = await createGateway(
    { limits: { compileDelayMs: 0, drainMs: 100 } },
    {
      view,
      balancing: roundRobin,
      dialer: createLocalDialer(),
      interfaces: () => ({ lo: [{ address: '127.0.0.1' }] }),
    },
  );
  stack.use(running);
  return view;
}
const ask = async (port: number, more: Parameters<typeof fetchOnce>[0] = {}) => {
  const { status, headers } = await fetchOnce({ port, ...more });
  return status === 200 ? String(headers['x-served-by']) : status;
};

describe('HTTPRouteAllBackendsWeightZero, GRPCRouteAllBackendsWeightZero', () => {
  it('answers 500 where every backend weighs nothing', async () => {
    const port = await freePort();
    await start(catalogWith([gateway(listener(port)), route([{ backendRefs: [ref('a', 0), ref('b', 0)] }])]));
    expect(await ask(port)).toBe(500);
  });
});

describe('HTTPRouteWeight, GRPCRouteWeight', () => {
  it.each(['HTTPRoute', 'GRPCRoute'])(
    'shares requests of an %s by weight, and none with what weighs nothing',
    async (kind) => {
      const port = await freePort();
      const backends = await Promise.all(['x', 'y', 'z'].map(startH2));
      const services = ['x', 'y', 'z'].map((name) => serviceOf(`default/${name}`, 'h2:80'));
      const rules = [{ backendRefs: [ref('x', 70), ref('y', 30), ref('z', 0)] }];
      const catalog = catalogWith([gateway(listener(port)), route(rules, {}, kind)]);
      await start({
        ...catalog,
        services: new Map(
          services.map((service) => [
            service.id,
            { ...service, ports: service.ports.map((p) => ({ ...p, appProtocol: 'kubernetes.io/h2c' })) },
          ]),
        ),
        endpoints: new Map(services.map(({ id }, i) => [id, [endpointOf(backends[i] as number, 'h2')]])),
      });
      const counts: Record<string, number> = { x: 0, y: 0, z: 0 };
      for (let i = 0; i < 200; i++) {
        const { headers } = await fetchOnce({ port, method: 'POST', path: '/pkg.Service/Call' });
        const name = String(headers['x-served-by']);
        counts[name] = (counts[name] ?? 0) + 1;
      }
      // 140 expected, standard deviation 6.5
      expect(counts.x).toBeGreaterThan(105);
      expect(counts.x).toBeLessThan(175);
      expect((counts.x ?? 0) + (counts.y ?? 0)).toBe(200);
    },
  );
});

describe('HTTPRouteServiceTypes', () => {
  it.each<[string, Partial<Service>]>([
    ['headless', { headless: true, clusterIPs: [] }],
    ['headless with slices of somebody else', { headless: true, clusterIPs: [], hasSelector: false }],
    ['with slices of somebody else', { hasSelector: false }],
    ['of a node port', { type: 'NodePort' }],
  ])('reaches the endpoints of a Service that is %s', async (_, more) => {
    const port = await freePort();
    await start(catalogWith([gateway(listener(port)), route([{ backendRefs: [ref('a')] }])], more));
    expect(await ask(port)).toBe('a');
  });

  it('answers 503 where a Service has no endpoints', async () => {
    const port = await freePort();
    const objects = [gateway(listener(port)), route([{ backendRefs: [ref('a')] }])];
    await start(catalogWith(objects, {}, { 'default/a': [] }));
    expect(await ask(port)).toBe(503);
  });
});

describe('HTTPRouteHTTPSListener', () => {
  it('serves routes of the hostnames that the listener has a certificate for', async () => {
    const port = await freePort();
    const https = (name: string, hostname: string, certificate: string) =>
      listener(port, {
        name,
        protocol: 'HTTPS',
        hostname,
        tls: { certificateRefs: [{ name: certificate }] },
      });
    const rules = [{ backendRefs: [ref('a')] }];
    await start(
      catalogWith([
        tlsSecret('default/exact', exact),
        tlsSecret('default/wildcard', wildcard),
        gateway(https('exact', 'example.org', 'exact'), https('wildcard', '*.wildcard.org', 'wildcard')),
        route(rules, { hostnames: ['example.org', 'deep.sub.wildcard.org'] }),
      ]),
    );
    const over = (host: string, servername = host) =>
      ask(port, { tls: true, servername, headers: { host }, rejectUnauthorized: false } as never);
    expect(await over('example.org')).toBe('a');
    expect(await over('deep.sub.wildcard.org')).toBe('a');
    expect(await over('other.wildcard.org')).toBe(404);
    // HTTPRouteHTTPSListenerDetectMisdirectedRequests: the host of one listener over a connection with the certificate of another
    expect(await over('example.org', 'deep.sub.wildcard.org')).toBe(421);
    await expect(over('elsewhere.org')).rejects.toMatchObject({ code: expect.stringMatching(/ERR_SSL|EPROTO/) });
  });
});

describe('GatewayModifyListeners', () => {
  it('serves a listener that is added, and no longer one that is taken away', async () => {
    const [first, second] = [await freePort(), await freePort()];
    const rules = route([{ backendRefs: [ref('b')] }]);
    const view = await start(catalogWith([gateway(listener(first)), rules]));
    const seen = (port: number) => ask(port).catch((error: NodeJS.ErrnoException) => error.code);
    expect([await seen(first), await seen(second)]).toEqual(['b', 'ECONNREFUSED']);
    view.set(catalogWith([gateway(listener(first), listener(second)), rules]));
    await expect.poll(() => seen(second)).toBe('b');
    view.set(catalogWith([gateway(listener(second)), rules]));
    await expect.poll(() => seen(first)).toBe('ECONNREFUSED');
    expect(await seen(second)).toBe('b');
  });
});

/** An HTTP/2 server without TLS that says its name. */
async function startH2(name: string): Promise<number> {
  const server = createServer((_request, response) => {
    response.setHeader('x-served-by', name);
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => void server.close());
  return (server.address() as AddressInfo).port;
}
