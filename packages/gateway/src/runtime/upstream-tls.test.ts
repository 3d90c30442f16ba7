import { once } from 'node:events';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Catalog, KubeObject, Service } from '@edgemesh/core';
import { createLocalDialer } from '@edgemesh/proxy-l4';
import { createTestCatalog } from '@edgemesh/testkit';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { catalogOf, endpointOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';
import { GATEWAY_CLASS } from '../testing/gateway-api.ts';
import { httpServer, istioGateway, to, virtualService } from '../testing/istio.ts';
import { fetchOnce, freePort, roundRobin } from '../testing/servers.ts';
import { createGateway } from './create-gateway.ts';

const API = 'gateway.networking.k8s.io/v1';
const RULE = 'DestinationRule.networking.istio.io';

let ca: Pair;
let otherCa: Pair;
let backend: Pair;
let user: Pair;
let stranger: Pair;
let stack = new AsyncDisposableStack();
beforeAll(() => {
  [ca, otherCa] = [makeCertificate(['ca.test']), makeCertificate(['other.test'])];
  backend = makeCertificate(['backend.svc'], ca);
  user = makeCertificate(['user'], ca);
  stranger = makeCertificate(['stranger'], otherCa);
});
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** Speaks HTTP/2 and HTTP/1.1 over TLS, and answers with what the handshake was like. */
async function startBackend(asksForCertificate = false): Promise<number> {
  const answer = (request: Http2ServerRequest, response: Http2ServerResponse) => {
    const socket = (request.stream?.session?.socket ?? request.socket) as TLSSocket;
    const { servername = '', alpnProtocol } = socket as { servername?: string | false } & TLSSocket;
    const client = asksForCertificate ? socket.getPeerCertificate().subject?.CN : undefined;
    response.end(
      JSON.stringify({ sni: servername || 'none', alpn: alpnProtocol, client, version: request.httpVersion }),
    );
  };
  const mutual = { requestCert: true, rejectUnauthorized: true, ca: ca.cert };
  const server = createSecureServer({ ...backend, allowHTTP1: true, ...(asksForCertificate && mutual) }, answer);
  server.on('tlsClientError', () => undefined);
  server.on('sessionError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** A gateway in front of one Service with one such endpoint. */
async function start(service: Service, backendPort: number, objects: readonly unknown[]) {
  const port = await freePort();
  const portName = service.ports[0]?.name ?? '';
  const gateways = [
    istioGateway('default/gw', [httpServer(['istio.test'], port)]),
    virtualService('default/v', { hosts: ['istio.test'], gateways: ['gw'], http: [to('web')] }),
    GATEWAY_CLASS,
    {
      apiVersion: API,
      kind: 'Gateway',
      metadata: { name: 'k8s', namespace: 'default' },
      spec: { gatewayClassName: 'edge', listeners: [{ name: 'http', port, protocol: 'HTTP', hostname: 'k8s.test' }] },
    },
    {
      apiVersion: API,
      kind: 'HTTPRoute',
      metadata: { name: 'r', namespace: 'default' },
      spec: { parentRefs: [{ name: 'k8s' }], rules: [{ backendRefs: [{ name: 'web', port: 443 }] }] },
    },
  ];
  const catalogWith = (others: readonly unknown[]) =>
    catalogOf([service], [...gateways, ...others], { 'default/web': [endpointOf(backendPort, portName)] });
  const view = createTestCatalog(catalogWith(objects));
  const gateway = stack.use(
    await createGateway(
      { limits: { compileDelayMs: 0, drainMs: 100 } },
      {
        view,
        balancing: roundRobin,
        dialer: createLocalDialer(),
        interfaces: () => ({ lo: [{ address: '127.0.0.1' }] }),
        destinationRule: ({ id }: Service, catalog: Catalog): KubeObject | undefined =>
          catalog.objects.get(RULE)?.get(id),
      },
    ),
  );
  const ask = async (host: string) => {
    const { status, text } = await fetchOnce({ port, headers: { host } });
    return { status, ...(status === 200 && (JSON.parse(text) as Record<string, string>)) };
  };
  return { gateway, ask, set: (...more: unknown[]) => view.set(catalogWith(more)) };
}

const rule = (tls: object) => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name: 'web', namespace: 'default' },
  spec: { host: 'web', trafficPolicy: { tls } },
});
const caSecret = (name: string, pair: Pair) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace: 'default' },
  data: { cacert: Buffer.from(pair.cert).toString('base64') },
});
const h1 = () => serviceOf('default/web', 'http:443');
const h2 = () => serviceOf('default/web', 'http2:443');

describe('a DestinationRule with tls', () => {
  it.each<[string, () => object, unknown]>([
    [
      'the right CA and name',
      () => ({ mode: 'SIMPLE', sni: 'backend.svc', credentialName: 'good' }),
      { status: 200, sni: 'backend.svc' },
    ],
    ['the right CA and no name', () => ({ mode: 'SIMPLE', credentialName: 'good' }), { status: 200, sni: 'none' }],
    ['the wrong name', () => ({ mode: 'SIMPLE', sni: 'other.svc', credentialName: 'good' }), { status: 502 }],
    ['the wrong CA', () => ({ mode: 'SIMPLE', sni: 'backend.svc', credentialName: 'bad' }), { status: 502 }],
    ["no CA, so the system's", () => ({ mode: 'SIMPLE', sni: 'backend.svc' }), { status: 502 }],
    [
      'no verification',
      () => ({ mode: 'SIMPLE', sni: 'other.svc', insecureSkipVerify: true }),
      { status: 200, sni: 'other.svc' },
    ],
    ['tls switched off', () => ({ mode: 'DISABLE' }), { status: 502 }],
    ['a mode that needs sidecars', () => ({ mode: 'ISTIO_MUTUAL' }), { status: 503 }],
    ['a file as certificate', () => ({ mode: 'SIMPLE', caCertificates: '/etc/ca.pem' }), { status: 503 }],
  ])('%s', async (_, tls, expected) => {
    const port = await startBackend();
    const { ask } = await start(h1(), port, [rule(tls()), caSecret('good', ca), caSecret('bad', otherCa)]);
    expect(await ask('istio.test')).toMatchObject(expected as object);
  });

  it.each<[string, () => object, unknown]>([
    ['the right one', () => ({ credentialName: 'user' }), { status: 200, client: 'user', sni: 'backend.svc' }],
    ['one of a stranger', () => ({ credentialName: 'stranger' }), { status: 502 }],
    ['none to be found', () => ({ credentialName: 'missing' }), { status: 503 }],
    ['none named', () => ({}), { status: 503 }],
  ])('MUTUAL shows a client certificate: %s', async (_, credential, expected) => {
    const port = await startBackend(true);
    const tls = { mode: 'MUTUAL', sni: 'backend.svc', ...credential() };
    const secrets = [
      tlsSecret('default/user', user, { 'ca.crt': ca.cert }),
      tlsSecret('default/stranger', stranger, { 'ca.crt': ca.cert }),
    ];
    const { ask } = await start(h1(), port, [rule(tls), ...secrets]);
    expect(await ask('istio.test')).toMatchObject(expected as object);
  });

  it('without a certificate is refused by an endpoint that wants one', async () => {
    const port = await startBackend(true);
    const { ask } = await start(h1(), port, [rule({ mode: 'SIMPLE', credentialName: 'good' }), caSecret('good', ca)]);
    expect((await ask('istio.test')).status).toBe(502);
  });

  it('of a subset stands before that of the rule', async () => {
    const port = await startBackend();
    const spec = {
      host: 'web',
      trafficPolicy: { tls: { mode: 'SIMPLE', sni: 'other.svc', credentialName: 'good' } },
      subsets: [
        {
          name: 'own',
          labels: {},
          trafficPolicy: { tls: { mode: 'SIMPLE', sni: 'backend.svc', credentialName: 'good' } },
        },
        { name: 'none', labels: {} },
      ],
    };
    const routes = (subset: string) => ({
      ...virtualService('default/v', {
        hosts: ['istio.test'],
        gateways: ['gw'],
        http: [{ route: [{ destination: { host: 'web', subset } }] }],
      }),
    });
    const objects = [{ ...rule({}), spec }, caSecret('good', ca)];
    const { ask, set } = await start(h1(), port, [...objects, routes('own')]);
    expect(await ask('istio.test')).toMatchObject({ status: 200, sni: 'backend.svc' });
    set(...objects, routes('none'));
    await expect.poll(() => ask('istio.test')).toMatchObject({ status: 502 });
  });

  it('agrees on the protocol of the port in the handshake', async () => {
    const port = await startBackend();
    const objects = [rule({ mode: 'SIMPLE', sni: 'backend.svc', credentialName: 'good' }), caSecret('good', ca)];
    const one = await start(h1(), port, objects);
    expect(await one.ask('istio.test')).toMatchObject({ status: 200, alpn: 'http/1.1', version: '1.1' });
    const two = await start(h2(), port, objects);
    expect(await two.ask('istio.test')).toMatchObject({ status: 200, alpn: 'h2', version: '2.0' });
  });

  it('uses a changed client certificate for new connections', async () => {
    const port = await startBackend(true);
    const tls = rule({ mode: 'MUTUAL', sni: 'backend.svc', credentialName: 'user' });
    const { ask, set } = await start(h1(), port, [tls, tlsSecret('default/user', user, { 'ca.crt': ca.cert })]);
    expect(await ask('istio.test')).toMatchObject({ client: 'user' });
    const next = makeCertificate(['next'], ca);
    set(tls, tlsSecret('default/user', next, { 'ca.crt': ca.cert }));
    await expect.poll(() => ask('istio.test')).toMatchObject({ client: 'next' });
  });
});

describe('a BackendTLSPolicy', () => {
  const policy = (validation: object) => ({
    apiVersion: API,
    kind: 'BackendTLSPolicy',
    metadata: { name: 'p', namespace: 'default' },
    spec: { targetRefs: [{ group: '', kind: 'Service', name: 'web' }], validation },
  });
  const configMap = (name: string, pair: Pair) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'default' },
    data: { 'ca.crt': pair.cert },
  });
  const caRef = (name: string) => ({ caCertificateRefs: [{ group: '', kind: 'ConfigMap', name }] });

  it.each<[string, object, unknown]>([
    [
      'the right CA and name',
      { hostname: 'backend.svc', ...caRef('good') },
      { status: 200, sni: 'backend.svc', alpn: 'h2' },
    ],
    ['the wrong name', { hostname: 'other.svc', ...caRef('good') }, { status: 502 }],
    ['the wrong CA', { hostname: 'backend.svc', ...caRef('bad') }, { status: 502 }],
    ["the system's CAs", { hostname: 'backend.svc', wellKnownCACertificates: 'System' }, { status: 502 }],
    ['a CA that is not there', { hostname: 'backend.svc', ...caRef('missing') }, { status: 500 }],
    ['no name', caRef('good'), { status: 500 }],
  ])('with %s', async (_, validation, expected) => {
    const port = await startBackend();
    const { ask, gateway } = await start(h2(), port, [
      policy(validation),
      configMap('good', ca),
      configMap('bad', otherCa),
    ]);
    expect(await ask('k8s.test')).toMatchObject(expected as object);
    const { caCertificateRefs: [ref] = [] } = validation as { caCertificateRefs?: { name: string }[] };
    const named = ref === undefined || !('hostname' in validation) ? [] : [`ConfigMap default/${ref.name}`];
    expect(gateway.status().follows).toEqual(named);
  });

  it('for one port stands before one for the whole Service, and the older before the younger', async () => {
    const port = await startBackend();
    const named = (name: string, hostname: string, created: number, sectionName?: string) => ({
      ...policy({ hostname, ...caRef('good') }),
      metadata: { name, namespace: 'default', creationTimestamp: new Date(created * 1000).toISOString() },
      spec: {
        targetRefs: [{ group: '', kind: 'Service', name: 'web', ...(sectionName && { sectionName }) }],
        validation: { hostname, ...caRef('good') },
      },
    });
    const whole = named('whole', 'other.svc', 1);
    const { ask, set } = await start(h2(), port, [
      configMap('good', ca),
      whole,
      named('port', 'backend.svc', 2, 'http2'),
    ]);
    expect(await ask('k8s.test')).toMatchObject({ status: 200, sni: 'backend.svc' });
    set(configMap('good', ca), whole, named('late', 'backend.svc', 2));
    await expect.poll(() => ask('k8s.test')).toMatchObject({ status: 502 });
    set(configMap('good', ca), whole, named('elsewhere', 'backend.svc', 2, 'another'));
    expect((await ask('k8s.test')).status).toBe(502);
  });

  it('counts from the moment its CA is there', async () => {
    const port = await startBackend();
    const tls = policy({ hostname: 'backend.svc', ...caRef('good') });
    const { ask, set } = await start(h2(), port, [tls]);
    expect((await ask('k8s.test')).status).toBe(500);
    set(tls, configMap('good', ca));
    await expect.poll(() => ask('k8s.test')).toMatchObject({ status: 200, sni: 'backend.svc' });
  });
});
