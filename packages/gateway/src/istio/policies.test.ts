import type { Route } from '@edgemesh/proxy-http';
import { describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { httpServer, istioGateway, virtualService } from '../testing/istio.ts';

const SERVICES = [
  serviceOf('default/a', 'http:80'),
  serviceOf('default/g', 'grpc-x:80'),
  serviceOf('default/old', 'web:80'),
];
const route = [{ destination: { host: 'a' } }];
const CLUSTER = { key: 'default/a:80?http1', service: 'default/a', port: 80, protocol: 'http1' };

/** The first route of a VirtualService with this HTTPRoute, and what it does not get. */
function compile(http: object, ...objects: unknown[]): { route: Route | undefined; conditions: string[] } {
  const catalog = catalogOf(SERVICES, [
    istioGateway('default/gw', [httpServer(['*'])]),
    virtualService('default/v', { hosts: ['*'], gateways: ['gw'], http: [http] }),
    ...objects,
  ]);
  const rules = catalog.objects.get('DestinationRule.networking.istio.io');
  const plan = compileGateway(catalog, { destinationRule: (service) => rules?.get(service.id) });
  const [port] = plan.ports;
  if (port?.kind !== 'http') throw new Error('no port');
  return {
    route: port.table.virtualHosts[0]?.routes[0],
    conditions: plan.conditions.map(({ path, message }) => `${path}: ${message}`),
  };
}

describe('what an HTTPRoute asks for', () => {
  it.each<[string, object, object]>([
    ['timeout', { timeout: '1m30s' }, { action: { timeoutMs: 90_000 } }],
    ['timeout 0s', { timeout: '0s' }, { action: { backends: [{ weight: 1 }] } }],
    [
      'rewrite of the prefix and host',
      { rewrite: { uri: '/x', authority: 'b' } },
      { action: { rewrite: { path: { kind: 'prefix', value: '/x' }, host: 'b' } } },
    ],
    [
      'rewrite by regex',
      { rewrite: { uriRegexRewrite: { match: '/(\\w+)', rewrite: '/\\1' } } },
      { action: { rewrite: { path: { kind: 'regex', pattern: '/(\\w+)', substitution: '/\\1' } } } },
    ],
    ['Host by headers', { headers: { request: { set: { Host: 'x' } } } }, { action: { rewrite: { host: 'x' } } }],
    [
      'headers both ways',
      { headers: { request: { set: { A: '1' }, add: { b: '2' }, remove: ['C'] }, response: { add: { d: '4' } } } },
      {
        requestHeaders: { set: [['a', '1']], add: [['b', '2']], remove: ['c'] },
        responseHeaders: { add: [['d', '4']] },
      },
    ],
    [
      'retries, default conditions',
      { retries: { attempts: 3, perTryTimeout: '2s' } },
      {
        action: {
          retries: { attempts: 3, on: ['connect-failure', 'refused-stream'], statuses: [503], perTryTimeoutMs: 2000 },
        },
      },
    ],
    [
      'retries, named conditions',
      { retries: { attempts: 1, retryOn: 'gateway-error,429' } },
      {
        action: {
          retries: {
            nonIdempotent: true,
            statuses: [429],
            on: ['gateway-error', 'connect-failure', 'refused-stream', 'reset', 'per-try-timeout'],
          },
        },
      },
    ],
    ['retries 0', { retries: { attempts: 0 } }, { action: { retries: { attempts: 0 } } }],
    [
      'fault',
      { fault: { delay: { percentage: { value: 0.5 }, fixedDelay: '5s' }, abort: { httpStatus: 400 } } },
      { fault: { delay: { percent: 0.5, ms: 5000 }, abort: { percent: 100, status: 400 } } },
    ],
    [
      'fault of gRPC',
      { fault: { abort: { grpcStatus: 'UNAVAILABLE', percentage: { value: 1 } } } },
      { fault: { abort: { percent: 1, status: 503, grpcStatus: 14 } } },
    ],
    [
      'mirror',
      { mirror: { host: 'a' }, mirrorPercentage: { value: 12.5 } },
      { action: { mirrors: [{ percent: 12.5, cluster: CLUSTER }] } },
    ],
    ['mirror of everything', { mirror: { host: 'a' } }, { action: { mirrors: [{ percent: 100 }] } }],
    [
      'CORS',
      {
        corsPolicy: {
          allowOrigins: [{ exact: 'https://x' }, { regex: '.*' }],
          allowMethods: ['GET'],
          maxAge: '24h',
          allowCredentials: true,
        },
      },
      {
        cors: {
          allowOrigins: [
            { kind: 'exact', value: 'https://x' },
            { kind: 'regex', value: '.*' },
          ],
          allowMethods: ['GET'],
          maxAgeSeconds: 86_400,
          allowCredentials: true,
        },
      },
    ],
  ])('%s', (_, more, expected) => {
    const { route: found, conditions } = compile({ route, ...more });
    expect(conditions).toEqual([]);
    expect(found).toMatchObject(expected);
  });

  it.each<[object, object]>([
    [
      { redirect: { uri: '/x', authority: 'b' } },
      { kind: 'redirect', status: 301, path: { kind: 'full', value: '/x' }, host: 'b' },
    ],
    [{ redirect: { scheme: 'https', redirectCode: 308 } }, { kind: 'redirect', status: 308, scheme: 'https' }],
    [{ redirect: { derivePort: 'FROM_PROTOCOL_DEFAULT' } }, { kind: 'redirect', status: 301, port: 'scheme' }],
    [
      { redirect: { uri: '%PREFIX()%/new' } },
      { kind: 'redirect', status: 301, path: { kind: 'prefix', value: '/new' } },
    ],
    [{ directResponse: { status: 503, body: { string: 'closed' } } }, { kind: 'respond', status: 503, body: 'closed' }],
    [{ directResponse: { status: 200, body: { bytes: 'aGk=' } } }, { kind: 'respond', status: 200, body: 'hi' }],
  ])('%j answers at once', (http, expected) => {
    const { route: found, conditions } = compile(http);
    expect([found?.action, conditions]).toEqual([expected, []]);
  });

  it.each<[object, string]>([
    [{ route, websocketUpgrade: true }, 'spec.http[0].websocketUpgrade: is not supported'],
    [{ route, timeout: 'soon' }, 'spec.http[0].timeout: must be a duration such as 30s'],
    [{ route, retries: { attempts: -1 } }, 'spec.http[0].retries.attempts: must be a whole number from 0 to 100'],
    [
      { route, retries: { attempts: 1, retryOn: 'internal' } },
      'spec.http[0].retries.retryOn: internal is not supported: gRPC statuses come too late for another try',
    ],
    [
      { route, headers: { request: { set: { Connection: 'x' } } } },
      'spec.http[0].headers.request.set[Connection]: is no header that can be set',
    ],
    [
      { route, headers: { request: { set: { a: 'b\nc' } } } },
      'spec.http[0].headers.request.set[a]: is no value of a header',
    ],
    [{ redirect: { redirectCode: 305 } }, 'spec.http[0].redirect.redirectCode: must be 301, 302, 303, 307 or 308'],
    [{}, 'spec.http[0]: does nothing: there is no route, redirect or directResponse'],
  ])('%j is told', (http, expected) => {
    expect(compile(http).conditions).toEqual([expected]);
  });
});

describe('how endpoints are spoken to', () => {
  it.each([
    ['a', 'http1'],
    ['g', 'h2'],
    ['old', 'auto'],
  ])('Service %s by %s', (host, protocol) => {
    const { route: found } = compile({ route: [{ destination: { host } }] });
    expect(found?.action).toMatchObject({ backends: [{ cluster: { protocol } }] });
  });

  const rule = (spec: object) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { namespace: 'default', name: 'a' },
    spec: { host: 'a', ...spec },
  });
  it('with TLS where its DestinationRule says so, and not at all where that cannot be', () => {
    const simple = compile({ route }, rule({ trafficPolicy: { tls: { mode: 'SIMPLE', sni: 'in.test' } } }));
    expect(simple.route?.action).toMatchObject({ backends: [{ cluster: { tls: { serverName: 'in.test' } } }] });
    const mutual = compile({ route }, rule({ trafficPolicy: { tls: { mode: 'MUTUAL', credentialName: 'gone' } } }));
    expect(mutual.route?.action).toMatchObject({ backends: [{ invalidStatus: 503 }] });
    expect(mutual.route?.action).not.toHaveProperty('backends.0.cluster');
    expect(mutual.conditions).toEqual([
      'spec.trafficPolicy.tls: MUTUAL needs a client certificate: Secret default/gone is not there',
    ]);
  });

  it('by subset, where there is one and Pods are known', () => {
    const subset = [{ destination: { host: 'a', subset: 'v1' } }];
    const subsets = rule({ subsets: [{ name: 'v1', labels: { version: 'v1' } }] });
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: 'default', name: 'p', labels: { version: 'v1' } },
    };
    expect(compile({ route: subset }).conditions).toEqual([
      'spec.http[0].route[0].destination.subset: no DestinationRule defines subset v1 of default/a',
    ]);
    expect(compile({ route: subset }, subsets).conditions).toEqual([
      expect.stringContaining('needs the labels of Pods'),
    ]);
    const good = compile({ route: subset }, subsets, pod);
    expect([good.conditions, good.route?.action]).toMatchObject([
      [],
      { backends: [{ cluster: { key: 'default/a:80/v1?http1', subset: 'v1' } }] },
    ]);
  });
});

describe('a delegate', () => {
  const delegate = (inner: object) => virtualService('default/inner', { http: [{ route, ...inner }] });
  const outer = (match: object) => ({ match: [match], delegate: { name: 'inner' } });

  it('brings its routes, each within a match of the root', () => {
    const { route: found, conditions } = compile(
      outer({ uri: { prefix: '/shop' }, headers: { a: { exact: '1' } } }),
      delegate({ match: [{ uri: { prefix: '/shop/cart' }, headers: { b: {} } }] }),
    );
    expect(conditions).toEqual([]);
    expect(found?.matches).toEqual([
      {
        path: { kind: 'prefix', value: '/shop/cart' },
        headers: [
          { name: 'a', match: { kind: 'exact', value: '1' } },
          { name: 'b', match: { kind: 'present' } },
        ],
      },
    ]);
  });

  it('inherits the match of the root where it has none', () => {
    expect(compile(outer({ uri: { prefix: '/shop' } }), delegate({})).route?.matches).toEqual([
      { path: { kind: 'prefix', value: '/shop' } },
    ]);
  });

  it('never matches more than the root', () => {
    const { route: found, conditions } = compile(
      outer({ uri: { prefix: '/shop' } }),
      delegate({ match: [{ uri: { prefix: '/' } }] }),
    );
    expect([found, conditions]).toEqual([
      undefined,
      [expect.stringContaining('matches nothing that the delegating route matches')],
    ]);
  });

  it('that does not exist is told', () => {
    expect(compile(outer({})).conditions).toEqual([
      expect.stringContaining('VirtualService default/inner does not exist'),
    ]);
  });
});
