import { routeMatcher } from '@edgemesh/proxy-http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CompileOptions } from './common/context.ts';
import { compileGateway } from './compile-gateway.ts';
import { reportOf } from './runtime/node-report.ts';
import { renderStatuses } from './runtime/render-statuses.ts';
import { catalogOf, serviceOf } from './testing/catalog.ts';
import { httpServer, istioGateway, virtualService } from './testing/istio.ts';

const SERVICES = [serviceOf('default/a', 'http:80'), serviceOf('default/b', 'http:80', 'x:81')];
const API = 'gateway.networking.k8s.io/v1';
const destination = { host: 'a', port: { number: 80 }, subset: 'v1' };

/** Objects that use every field there is, so that changes reach every reader. */
const RICH: readonly unknown[] = [
  istioGateway('default/gw', [
    httpServer(['*', 'default/x.test'], 80, { tls: { httpsRedirect: false }, bind: '127.0.0.1' }),
    {
      port: { number: 443, name: 'https', protocol: 'HTTPS' },
      hosts: ['x.test'],
      tls: {
        mode: 'MUTUAL',
        credentialName: 's',
        minProtocolVersion: 'TLSV1_2',
        maxProtocolVersion: 'TLSV1_3',
        cipherSuites: ['ECDHE-RSA-AES128-GCM-SHA256'],
      },
    },
    { port: { number: 444, name: 'tls', protocol: 'TLS' }, hosts: ['*'], tls: { mode: 'PASSTHROUGH' } },
    { port: { number: 445, name: 'tcp', protocol: 'TCP' }, hosts: ['*'] },
  ]),
  virtualService('default/v', {
    hosts: ['*', 'x.test'],
    gateways: ['gw', 'mesh'],
    exportTo: ['*'],
    http: [
      {
        name: 'n',
        match: [
          {
            uri: { prefix: '/a' },
            headers: { h: { exact: 'v' } },
            withoutHeaders: { w: {} },
            queryParams: { q: { regex: '[a-z]+' } },
            method: { exact: 'GET' },
            scheme: { exact: 'http' },
            authority: { prefix: 'x' },
            port: 80,
            ignoreUriCase: true,
            gateways: ['gw'],
          },
        ],
        route: [
          { destination, weight: 3, headers: { request: { set: { a: 'b' } } } },
          { destination: { host: 'b' }, weight: 1 },
        ],
        rewrite: { uri: '/', authority: 'in', uriRegexRewrite: { match: '/(.*)', rewrite: '/\\1' } },
        timeout: '3s',
        retries: { attempts: 2, perTryTimeout: '1s', retryOn: '5xx,503,cancelled', backoff: '10ms' },
        fault: {
          delay: { percentage: { value: 1 }, fixedDelay: '1s' },
          abort: { percentage: { value: 1 }, httpStatus: 500, grpcStatus: 'UNAVAILABLE' },
        },
        mirror: destination,
        mirrorPercentage: { value: 10 },
        mirrors: [{ destination, percentage: { value: 1 } }],
        corsPolicy: {
          allowOrigins: [{ exact: '*' }],
          allowMethods: ['GET'],
          allowHeaders: ['x'],
          exposeHeaders: ['y'],
          maxAge: '1h',
          allowCredentials: true,
          unmatchedPreflights: 'IGNORE',
        },
        headers: { request: { add: { x: 'y' }, remove: ['z'] }, response: { set: { s: 't' } } },
      },
      {
        match: [{ uri: { regex: '/r.*' } }],
        redirect: {
          uri: '/x',
          authority: 'y',
          scheme: 'https',
          port: 1,
          redirectCode: 302,
          derivePort: 'FROM_REQUEST_PORT',
        },
      },
      { match: [{ uri: { exact: '/d' } }], directResponse: { status: 503, body: { string: 'no' } } },
      { match: [{ uri: { prefix: '/del' } }], delegate: { name: 'inner', namespace: 'default' } },
    ],
    tls: [{ match: [{ sniHosts: ['x.test'], port: 444 }], route: [{ destination: { host: 'a' }, weight: 1 }] }],
    tcp: [{ match: [{ port: 445, gateways: ['gw'] }], route: [{ destination: { host: 'a' } }] }],
  }),
  virtualService('default/inner', {
    http: [{ match: [{ uri: { prefix: '/del/x' } }], route: [{ destination: { host: 'b', port: { number: 81 } } }] }],
  }),
  {
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { namespace: 'default', name: 'a' },
    spec: {
      host: 'a',
      subsets: [{ name: 'v1', labels: { v: '1' } }],
      trafficPolicy: {
        tls: { mode: 'SIMPLE', sni: 'x', credentialName: 's' },
        portLevelSettings: [{ port: { number: 80 }, tls: { mode: 'DISABLE' } }],
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace: 'default', name: 's' },
    data: { 'tls.crt': 'eA==', 'tls.key': 'eA==' },
    stringData: { cacert: 'x' },
  },
  {
    apiVersion: API,
    kind: 'GatewayClass',
    metadata: { name: 'c' },
    spec: { controllerName: 'edgemesh.kubeedge.io/gateway' },
  },
  {
    apiVersion: API,
    kind: 'Gateway',
    metadata: { namespace: 'default', name: 'g' },
    spec: {
      gatewayClassName: 'c',
      addresses: [{ type: 'IPAddress', value: '127.0.0.1' }],
      listeners: [
        {
          name: 'h',
          port: 8080,
          protocol: 'HTTP',
          hostname: '*.test',
          allowedRoutes: {
            kinds: [{ kind: 'HTTPRoute' }],
            namespaces: {
              from: 'Selector',
              selector: { matchLabels: {}, matchExpressions: [{ key: 'k', operator: 'NotIn', values: ['v'] }] },
            },
          },
        },
        {
          name: 's',
          port: 8443,
          protocol: 'HTTPS',
          tls: { mode: 'Terminate', certificateRefs: [{ name: 's', kind: 'Secret', group: '' }] },
        },
        { name: 't', port: 8444, protocol: 'TLS', tls: { mode: 'Passthrough' } },
        { name: 'u', port: 53, protocol: 'UDP' },
      ],
    },
  },
  {
    apiVersion: API,
    kind: 'HTTPRoute',
    metadata: { namespace: 'default', name: 'r' },
    spec: {
      parentRefs: [{ name: 'g', sectionName: 'h' }],
      hostnames: ['x.test'],
      rules: [
        {
          matches: [
            {
              path: { type: 'RegularExpression', value: '/x' },
              headers: [{ name: 'a', value: 'b', type: 'Exact' }],
              queryParams: [{ name: 'q', value: 'v' }],
              method: 'GET',
            },
          ],
          filters: [
            { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'x', value: 'y' }] } },
            { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } },
            { type: 'RequestMirror', requestMirror: { backendRef: { name: 'b', port: 80 }, percent: 3 } },
            { type: 'CORS', cors: { allowOrigins: ['https://*.x'], maxAge: 3 } },
          ],
          backendRefs: [
            {
              name: 'a',
              port: 80,
              weight: 1,
              filters: [{ type: 'ResponseHeaderModifier', responseHeaderModifier: { remove: ['x'] } }],
            },
          ],
          timeouts: { request: '1s', backendRequest: '1s' },
          retry: { codes: [503], attempts: 2, backoff: '1ms' },
        },
      ],
    },
  },
  {
    apiVersion: API,
    kind: 'GRPCRoute',
    metadata: { namespace: 'default', name: 'r' },
    spec: {
      parentRefs: [{ name: 'g' }],
      rules: [
        {
          matches: [{ method: { type: 'RegularExpression', service: 'a.*', method: 'b' } }],
          backendRefs: [{ name: 'a', port: 80 }],
        },
      ],
    },
  },
  {
    apiVersion: API,
    kind: 'TLSRoute',
    metadata: { namespace: 'default', name: 'r' },
    spec: { parentRefs: [{ name: 'g' }], hostnames: ['x.test'], rules: [{ backendRefs: [{ name: 'a', port: 80 }] }] },
  },
  {
    apiVersion: API,
    kind: 'BackendTLSPolicy',
    metadata: { namespace: 'default', name: 'p' },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'b' }],
      validation: { hostname: 'b', wellKnownCACertificates: 'System' },
    },
  },
  {
    apiVersion: API,
    kind: 'ReferenceGrant',
    metadata: { namespace: 'default', name: 'rg' },
    spec: { from: [{ group: 'g', kind: 'k', namespace: 'n' }], to: [{ group: '', kind: 'Secret' }] },
  },
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name: 'i' },
    spec: { controller: 'edgemesh.kubeedge.io/ingress' },
  },
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { namespace: 'default', name: 'i' },
    spec: {
      ingressClassName: 'i',
      tls: [{ hosts: ['x.test'], secretName: 's' }],
      defaultBackend: { service: { name: 'a', port: { number: 80 } } },
      rules: [
        {
          host: 'x.test',
          http: {
            paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'b', port: { name: 'http' } } } }],
          },
        },
      ],
    },
  },
];

const destinationRule: NonNullable<CompileOptions['destinationRule']> = (service, catalog) =>
  catalog.objects.get('DestinationRule.networking.istio.io')?.get(service.id);

function compile(objects: readonly unknown[]) {
  const plan = compileGateway(catalogOf(SERVICES, objects), { destinationRule });
  renderStatuses(plan.statuses, [reportOf(plan.statuses, [])]);
  for (const port of plan.ports) {
    const tables =
      port.kind === 'http'
        ? [port.table]
        : port.kind === 'tls'
          ? port.chains.flatMap(({ handler }) => (handler.kind === 'http' ? [handler.table] : []))
          : [];
    // Whatever stands in a table is something that the matcher can use.
    for (const table of tables) expect(routeMatcher(table).problems).toEqual([]);
  }
  return plan;
}

/** Every path to a value below `spec` of an object. */
function pathsOf(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [
    path,
    ...Object.entries(value).flatMap(([key, child]) =>
      pathsOf(child, [...path, Array.isArray(value) ? Number(key) : key]),
    ),
  ];
}

function replaced(value: unknown, path: readonly (string | number)[], by: unknown): unknown {
  const [head, ...rest] = path;
  if (head === undefined) return by;
  if (Array.isArray(value)) return value.map((item, i) => (i === head ? replaced(item, rest, by) : item));
  return { ...(value as object), [head]: replaced((value as Record<string, unknown>)[head], rest, by) };
}

const PLACES = RICH.flatMap((object, i) =>
  pathsOf((object as { spec?: unknown }).spec ?? {}, ['spec']).map((path) => ({ i, path })),
);
const nasty = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(
    null,
    '',
    0,
    -1,
    65_536,
    [],
    {},
    [null],
    [[]],
    '*',
    '/',
    '..',
    '*.',
    '(',
    '(?=x)',
    `${'('.repeat(50)}a`,
    '__proto__',
    'constructor',
    '99999999999999999h',
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ),
  fc.record({ __proto__: fc.constant(null), toString: fc.jsonValue(), length: fc.integer() }),
);

describe('the compilers', () => {
  it('understand the objects that the changes below start from', () => {
    const { ports, conditions } = compile(RICH);
    // Ports 80 and 443 of the Ingress are those of the Gateway; the Secret holds no certificate; no Pod is known.
    expect(conditions.map(({ object, path }) => `${object} ${path}`)).toMatchSnapshot();
    expect(ports.map(({ id, kind }) => `${id} ${kind}`)).toMatchSnapshot();
  });

  it('never throw, whatever stands in place of a value', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...PLACES), nasty), { minLength: 1, maxLength: 4 }), (changes) => {
        let objects: readonly unknown[] = RICH;
        for (const [{ i, path }, by] of changes) {
          try {
            objects = objects.map((object, at) => (at === i ? replaced(object, path, by) : object));
          } catch {
            // an earlier change has removed the place
          }
        }
        compile(objects);
      }),
      { numRuns: 400 },
    );
  });

  it('never throw for objects of nothing but noise', () => {
    const kinds = fc.constantFrom(...RICH.map((o) => o as { apiVersion: string; kind: string }));
    const objects = fc.array(fc.tuple(kinds, fc.jsonValue(), fc.constantFrom('a', 'b', 'gw')), { maxLength: 8 });
    fc.assert(
      fc.property(objects, (list) => {
        compile(
          list.map(([{ apiVersion, kind }, spec, name]) => ({
            apiVersion,
            kind,
            metadata: { name, namespace: 'default' },
            spec,
            data: spec,
          })),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('report an unknown field with its path, in every object that the gateway reads', () => {
    const missed: string[] = [];
    for (const { i, path } of PLACES) {
      const value = path.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], RICH[i]);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) continue;
      const changed = RICH.map((object, at) =>
        at === i ? replaced(object, path, { ...value, notAField: { x: 1 } }) : object,
      );
      const { conditions } = compile(changed);
      if (
        !conditions.some((condition) => condition.path.includes('notAField') || condition.message.includes('notAField'))
      ) {
        missed.push(`${(RICH[i] as { kind: string }).kind} ${path.join('.')}`);
      }
    }
    expect(missed).toMatchSnapshot();
  });

  it('leave a route out rather than let a broken match of it match more', () => {
    const index = RICH.findIndex((o) => (o as { kind: string }).kind === 'VirtualService');
    for (const path of pathsOf(
      ((RICH[index] as { spec: { http: { match: unknown[] }[] } }).spec.http[0] as { match: unknown[] }).match[0],
      ['spec', 'http', 0, 'match', 0],
    )) {
      if (path.length <= 4) continue;
      const plan = compile(RICH.map((object, at) => (at === index ? replaced(object, path, 12_345_678) : object)));
      const port = plan.ports.find((p) => p.id === 'TCP 80 on 127.0.0.1');
      if (port?.kind !== 'http') throw new Error('port 80 is gone');
      const names = port.table.virtualHosts.flatMap((v) => v.routes).map(({ name }) => name);
      const flag = path.at(-1) === 'ignoreUriCase';
      expect([path.join('.'), names.includes('default/v/n')]).toEqual([path.join('.'), flag]);
    }
  });
});
