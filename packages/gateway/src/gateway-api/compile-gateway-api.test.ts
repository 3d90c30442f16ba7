import { type RequestView, routeMatcher } from '@edgemesh/proxy-http';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import type { GatewayPlan } from '../model.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';
import { GATEWAY_CLASS } from '../testing/gateway-api.ts';

/* Tests are named after those of the conformance suite (gateway-api/conformance/tests), whose behaviour they hold. */

const V1 = 'gateway.networking.k8s.io/v1';
const INFRA = 'infra';
const SERVICES = ['v1', 'v2', 'v3']
  .map((n) => serviceOf(`${INFRA}/${n}`, 'http:8080'))
  .concat(serviceOf('web-backend/other', 'http:8080'));

let pair: Pair;
beforeAll(() => {
  pair = makeCertificate(['example.org']);
});

const gateway = (listeners: object[], name = 'gw', more: object = {}) => ({
  apiVersion: V1,
  kind: 'Gateway',
  metadata: { name, namespace: INFRA, generation: 3 },
  spec: { gatewayClassName: 'edge', listeners, ...more },
});
const listener = (more: object = {}) => ({
  name: 'http',
  port: 80,
  protocol: 'HTTP',
  allowedRoutes: { namespaces: { from: 'Same' } },
  ...more,
});
let age = 0;
const route = (
  rules: unknown,
  more: { spec?: object; kind?: string; name?: string; namespace?: string; version?: string } = {},
) => ({
  apiVersion: more.version ?? V1,
  kind: more.kind ?? 'HTTPRoute',
  metadata: {
    name: more.name ?? 'route',
    namespace: more.namespace ?? INFRA,
    creationTimestamp: new Date(++age * 1000).toISOString(),
  },
  spec: { parentRefs: [{ name: 'gw', namespace: INFRA }], rules, ...more.spec },
});
const to = (name: string, more: object = {}) => ({ backendRefs: [{ name, port: 8080, ...more }] });
const path = (value: string, type = 'PathPrefix') => ({ path: { type, value } });
const compile = (...objects: unknown[]) => compileGateway(catalogOf(SERVICES, [GATEWAY_CLASS, ...objects]));

function request(url: string, more: Partial<RequestView> & { headers?: Record<string, string> } = {}): RequestView {
  const { host, hostname, pathname, search } = new URL(url);
  const { headers = {}, ...rest } = more;
  return {
    method: 'GET',
    scheme: 'http',
    authority: host,
    host: hostname,
    port: 80,
    path: pathname,
    query: search.slice(1),
    header: (name) => headers[name],
    ...rest,
  };
}

function action(plan: GatewayPlan, url: string, more: Parameters<typeof request>[1] = {}) {
  const [port] = plan.ports;
  if (port?.kind !== 'http') throw new Error(`port is ${port?.kind}`);
  return routeMatcher(port.table).match(request(url, more))?.route.action;
}

/** The Service, the status where the share is invalid, or undefined for 404. */
function found(plan: GatewayPlan, url: string, more: Parameters<typeof request>[1] = {}) {
  const it = action(plan, url, more);
  if (it?.kind !== 'forward') return it?.kind === 'respond' ? it.status : it?.kind;
  const [backend] = it.backends;
  return backend === undefined ? 500 : (backend.cluster?.service.split('/')[1] ?? backend.invalidStatus);
}

interface Conditions {
  conditions: { type: string; status: string; reason: string }[];
}
function statusOf(plan: GatewayPlan, kind: string, name?: string) {
  return plan.statuses.find((s) => s.kind === kind && (name === undefined || s.name === name))?.status as unknown as {
    listeners: (Conditions & { attachedRoutes: number; supportedKinds: { kind: string }[] })[];
    parents: Conditions[];
  } & Conditions;
}
const brief = ({ conditions }: Conditions) =>
  conditions.map(({ type, status, reason }) => `${type} ${status} ${reason}`);

describe('HTTPRouteSimpleSameNamespace', () => {
  it('serves a route of the same namespace and says so', () => {
    const plan = compile(gateway([listener()]), route([to('v1')]));
    expect(found(plan, 'http://any/x')).toBe('v1');
    expect(plan.conditions).toEqual([]);
    expect(brief(statusOf(plan, 'GatewayClass'))).toEqual(['Accepted True Accepted']);
    expect(statusOf(plan, 'Gateway')).toMatchObject({
      conditions: [{ type: 'Accepted', status: 'True', reason: 'Accepted', observedGeneration: 3 }],
    });
    expect(statusOf(plan, 'Gateway').listeners[0]).toMatchObject({
      attachedRoutes: 1,
      supportedKinds: [{ kind: 'HTTPRoute' }, { kind: 'GRPCRoute' }],
    });
    expect(brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)).toEqual([
      'Accepted True Accepted',
      'ResolvedRefs True ResolvedRefs',
    ]);
  });

  it('takes its entries out of the status of a route that has left its Gateways', () => {
    const { spec, ...rest } = route([to('v1')], { spec: { parentRefs: [{ name: 'theirs' }] } });
    const left = (controllerName: string) => ({
      ...rest,
      spec,
      status: { parents: [{ controllerName, conditions: [] }] },
    });
    const statusesOf = (object: object) =>
      compile(gateway([listener()]), object).statuses.filter(({ kind }) => kind === 'HTTPRoute');
    expect(statusesOf(left('edgemesh.kubeedge.io/gateway'))).toMatchObject([
      { name: 'route', status: { parents: [] } },
    ]);
    expect(statusesOf(left('someone.else'))).toEqual([]);
  });

  it('leaves Gateways of other classes alone', () => {
    const plan = compile(
      { ...gateway([listener()]), spec: { gatewayClassName: 'other', listeners: [listener()] } },
      route([to('v1')]),
    );
    expect([plan.ports, plan.statuses.map(({ kind }) => kind)]).toEqual([[], ['GatewayClass']]);
  });
});

describe('HTTPRoutePathMatchOrder, HTTPExactPathMatching, HTTPRouteMatching', () => {
  it.each([
    ['/match', 'v1'],
    ['/match/', 'v2'],
    ['/match/exact', 'v3'],
    ['/match/exactly', 'v2'],
    ['/matching', 404],
    ['/match/prefix/one/any', 'v1'],
    ['/match/prefix/one', 'v1'],
    ['/match/prefix/on', 'v3'],
  ])('%s goes to %s', (target, expected) => {
    const plan = compile(
      gateway([listener()]),
      route([
        { matches: [path('/match')], ...to('v2') },
        { matches: [path('/match/prefix')], ...to('v3') },
        { matches: [path('/match/exact', 'Exact')], ...to('v3') },
        { matches: [path('/match/prefix/one/')], ...to('v1') },
        { matches: [path('/match', 'Exact')], ...to('v1') },
      ]),
    );
    expect(found(plan, `http://any${target}`) ?? 404).toBe(expected);
  });
});

describe('HTTPRouteHeaderMatching, HTTPRouteMethodMatching, HTTPRouteQueryParamMatching', () => {
  const header = (name: string, value: string, type?: string) => ({ name, value, ...(type && { type }) });
  const plan = compile(
    gateway([listener()]),
    route([
      { matches: [{ headers: [header('Version', 'one')] }], ...to('v1') },
      {
        matches: [
          { headers: [header('version', 'two'), header('color', 'orange')] },
          { headers: [header('color', 'blue')] },
        ],
        ...to('v2'),
      },
      { matches: [{ method: 'POST' }], ...to('v3') },
      { matches: [{ queryParams: [header('animal', 'whale')] }], ...to('v2') },
      { matches: [{ headers: [header('re', 'a+', 'RegularExpression')] }], ...to('v3') },
      { matches: [{ headers: [header('first', '1'), header('First', '2')] }], ...to('v1') },
    ]),
  );
  it.each<[string, Parameters<typeof request>[1], unknown]>([
    ['/', { headers: { version: 'one' } }, 'v1'],
    ['/', { headers: { version: 'two' } }, undefined],
    ['/', { headers: { version: 'two', color: 'orange' } }, 'v2'],
    ['/', { headers: { color: 'blue' } }, 'v2'],
    ['/', { method: 'POST' }, 'v3'],
    ['/', { method: 'POST', headers: { version: 'one' } }, 'v3'],
    ['/?animal=whale', {}, 'v2'],
    ['/?animal=Whale', {}, undefined],
    ['/', { headers: { re: 'aaa' } }, 'v3'],
    ['/', { headers: { re: 'aab' } }, undefined],
    ['/', { headers: { first: '1' } }, 'v1'],
  ])('%s with %j goes to %s', (target, more, expected) => {
    expect(found(plan, `http://any${target}`, more)).toBe(expected);
  });
});

describe('HTTPRouteMatchingAcrossRoutes', () => {
  it('orders matches of several routes as one list, the older route first among equals', () => {
    const plan = compile(
      gateway([listener()]),
      route([{ matches: [path('/')], ...to('v1') }], { name: 'old' }),
      route(
        [
          { matches: [path('/v2')], ...to('v2') },
          { matches: [path('/')], ...to('v3') },
        ],
        { name: 'young' },
      ),
    );
    expect([found(plan, 'http://h/'), found(plan, 'http://h/v2/x')]).toEqual(['v1', 'v2']);
  });
});

describe('HTTPRouteListenerHostnameMatching', () => {
  const listeners = [
    listener({ name: '1', hostname: 'bar.com' }),
    listener({ name: '2', hostname: 'foo.bar.com' }),
    listener({ name: '3', hostname: '*.bar.com' }),
    listener({ name: '4', hostname: '*.foo.com' }),
    listener({ name: '5' }),
  ];
  const at = (name: string, service: string) =>
    route([to(service)], { name, spec: { parentRefs: [{ name: 'gw', sectionName: name }] } });
  const plan = compile(gateway(listeners), at('1', 'v1'), at('2', 'v2'), at('3', 'v3'), at('4', 'v3'));
  it.each([
    ['bar.com', 'v1'],
    ['foo.bar.com', 'v2'],
    ['baz.bar.com', 'v3'],
    ['boo.bar.com', 'v3'],
    ['multiple.prefixes.bar.com', 'v3'],
    ['multiple.prefixes.foo.com', 'v3'],
    ['foo.com', undefined],
    ['no.matching.host', undefined],
  ])('%s goes to %s', (host, expected) => {
    expect(found(plan, `http://${host}/`)).toBe(expected);
  });
});

describe('GatewayHTTPListenerIsolation', () => {
  it('gives a request to the listener that names its host best, and to no other', () => {
    const plan = compile(
      gateway([
        listener({ name: 'any' }),
        listener({ name: 'wild', hostname: '*.example.com' }),
        listener({ name: 'exact', hostname: 'abc.example.com' }),
      ]),
      route([{ matches: [path('/any')], ...to('v1') }], {
        name: 'a',
        spec: { parentRefs: [{ name: 'gw', sectionName: 'any' }] },
      }),
      route([{ matches: [path('/any')], ...to('v1') }], {
        name: 'x',
        spec: { parentRefs: [{ name: 'gw', sectionName: 'any' }], hostnames: ['abc.example.com'] },
      }),
      route([{ matches: [path('/wild')], ...to('v2') }], {
        name: 'b',
        spec: { parentRefs: [{ name: 'gw', sectionName: 'wild' }] },
      }),
      route([{ matches: [path('/exact')], ...to('v3') }], {
        name: 'c',
        spec: { parentRefs: [{ name: 'gw', sectionName: 'exact' }] },
      }),
    );
    const table = (host: string) => ['/any', '/wild', '/exact'].map((p) => found(plan, `http://${host}${p}`));
    expect(table('abc.example.com')).toEqual([undefined, undefined, 'v3']);
    expect(table('bar.example.com')).toEqual([undefined, 'v2', undefined]);
    expect(table('other.org')).toEqual(['v1', undefined, undefined]);
  });
});

describe('HTTPRouteHostnameIntersection', () => {
  it.each([
    ['very.specific.com', ['non.matching.com', '*.nonmatchingwildcard.io'], []],
    ['very.specific.com', ['very.specific.com', 'other.com'], ['very.specific.com']],
    ['*.wildcard.io', ['foo.wildcard.io', 'wildcard.io'], ['foo.wildcard.io']],
    ['*.anotherwildcard.io', ['*.anotherwildcard.io'], ['*.anotherwildcard.io']],
    ['very.specific.com', ['*.specific.com'], ['very.specific.com']],
  ])('listener %s and route %j meet in %j', (hostname, hostnames, expected) => {
    const plan = compile(gateway([listener({ hostname })]), route([to('v1')], { spec: { hostnames } }));
    const served = [
      'very.specific.com',
      'foo.wildcard.io',
      'a.anotherwildcard.io',
      'wildcard.io',
      'non.matching.com',
      'other.com',
    ].filter((host) => found(plan, `http://${host}/`) === 'v1');
    expect(served).toEqual(expected.map((host) => host.replace('*', 'a')));
    const accepted = brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)[0];
    expect(accepted).toBe(expected.length > 0 ? 'Accepted True Accepted' : 'Accepted False NoMatchingListenerHostname');
  });

  it('goes on from a more specific hostname to a less specific one where no path matches', () => {
    const plan = compile(
      gateway([listener()]),
      route([{ matches: [path('/x')], ...to('v1') }], { name: 'exact', spec: { hostnames: ['a.example.com'] } }),
      route([{ matches: [path('/y')], ...to('v2') }], { name: 'wild', spec: { hostnames: ['*.example.com'] } }),
    );
    expect([found(plan, 'http://a.example.com/x'), found(plan, 'http://a.example.com/y')]).toEqual(['v1', 'v2']);
  });
});

describe('HTTPRouteCrossNamespace, HTTPRouteInvalidCrossNamespaceParentRef', () => {
  const outside = route([{ backendRefs: [{ name: 'other', port: 8080 }] }], { namespace: 'web-backend' });
  it.each([
    ['All', {}, true],
    ['Same', {}, false],
    ['Selector', { selector: { matchLabels: { 'kubernetes.io/metadata.name': 'web-backend' } } }, true],
    ['Selector', { selector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['web'] }] } }, true],
    ['Selector', { selector: { matchLabels: { team: 'db' } } }, false],
  ])('allowedRoutes from %s %j', (from, more, expected) => {
    const namespace = {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'web-backend', labels: { team: 'web' } },
    };
    const plan = compile(namespace, gateway([listener({ allowedRoutes: { namespaces: { from, ...more } } })]), outside);
    expect(found(plan, 'http://h/')).toBe(expected ? 'other' : undefined);
    expect(brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)[0]).toBe(
      expected ? 'Accepted True Accepted' : 'Accepted False NotAllowedByListeners',
    );
  });
});

describe('HTTPRouteInvalidBackendRefUnknownKind, HTTPRouteInvalidNonExistentBackendRef, HTTPRouteInvalidCrossNamespaceBackendRef, HTTPRouteReferenceGrant', () => {
  const grant = (more: object = {}) => ({
    apiVersion: 'gateway.networking.k8s.io/v1beta1',
    kind: 'ReferenceGrant',
    metadata: { name: 'g', namespace: 'web-backend' },
    spec: {
      from: [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', namespace: INFRA }],
      to: [{ group: '', kind: 'Service', ...more }],
    },
  });
  const across = to('other', { namespace: 'web-backend' });
  it.each<[string, object, object[], unknown, string]>([
    ['an unknown kind', to('v1', { kind: 'Nonexistent', group: 'x' }), [], 500, 'ResolvedRefs False InvalidKind'],
    ['no such Service', to('gone'), [], 500, 'ResolvedRefs False BackendNotFound'],
    ['another namespace', across, [], 500, 'ResolvedRefs False RefNotPermitted'],
    ['another namespace with a grant', across, [grant()], 'other', 'ResolvedRefs True ResolvedRefs'],
    ['a grant for another name', across, [grant({ name: 'x' })], 500, 'ResolvedRefs False RefNotPermitted'],
    ['no backend at all', {}, [], 500, 'ResolvedRefs True ResolvedRefs'],
  ])('%s', (_, rule, grants, expected, status) => {
    const plan = compile(gateway([listener()]), route([rule]), ...grants);
    expect(found(plan, 'http://h/')).toBe(expected);
    expect(brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)).toEqual(['Accepted True Accepted', status]);
  });
});

describe('HTTPRouteInvalidParentRefNotMatchingSectionName', () => {
  it('is NoMatchingParent', () => {
    const plan = compile(
      gateway([listener()]),
      route([to('v1')], { spec: { parentRefs: [{ name: 'gw', sectionName: 'none' }] } }),
    );
    expect(brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)[0]).toBe('Accepted False NoMatchingParent');
  });
});

describe('HTTPRouteWeight', () => {
  it('keeps the weights, default 1', () => {
    const rule = {
      backendRefs: [
        { name: 'v1', port: 8080, weight: 70 },
        { name: 'v2', port: 8080, weight: 0 },
        { name: 'v3', port: 8080 },
      ],
    };
    const it = action(compile(gateway([listener()]), route([rule])), 'http://h/');
    expect(it?.kind === 'forward' && it.backends.map(({ weight }) => weight)).toEqual([70, 0, 1]);
  });
});

describe('HTTPRouteRequestHeaderModifier, HTTPRouteRedirectHostAndStatus, HTTPRouteRewritePath, HTTPRouteRequestMirror, HTTPRouteTimeoutRequest', () => {
  const one = (rule: object) => {
    const plan = compile(gateway([listener()]), route([rule]));
    const [port] = plan.ports;
    if (port?.kind !== 'http') throw new Error('no port');
    return { plan, route: port.table.virtualHosts[0]?.routes[0] };
  };
  it('header modifiers', () => {
    const filters = [
      {
        type: 'RequestHeaderModifier',
        requestHeaderModifier: { set: [{ name: 'X-A', value: '1' }], add: [{ name: 'b', value: '2' }], remove: ['C'] },
      },
      { type: 'ResponseHeaderModifier', responseHeaderModifier: { set: [{ name: 'd', value: '4' }] } },
    ];
    expect(one({ filters, ...to('v1') }).route).toMatchObject({
      requestHeaders: { set: [['x-a', '1']], add: [['b', '2']], remove: ['c'] },
      responseHeaders: { set: [['d', '4']] },
    });
  });
  it('redirects', () => {
    const filters = [
      {
        type: 'RequestRedirect',
        requestRedirect: {
          scheme: 'https',
          hostname: 'x.org',
          statusCode: 301,
          path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/new' },
        },
      },
    ];
    expect(one({ filters }).route?.action).toEqual({
      kind: 'redirect',
      status: 301,
      scheme: 'https',
      host: 'x.org',
      path: { kind: 'prefix', value: '/new' },
    });
    expect(one({ filters: [{ type: 'RequestRedirect', requestRedirect: { port: 8083 } }] }).route?.action).toEqual({
      kind: 'redirect',
      status: 302,
      port: 8083,
    });
  });
  it('rewrites, mirrors, timeouts', () => {
    const filters = [
      {
        type: 'URLRewrite',
        urlRewrite: { hostname: 'in', path: { type: 'ReplaceFullPath', replaceFullPath: '/one' } },
      },
      {
        type: 'RequestMirror',
        requestMirror: { backendRef: { name: 'v2', port: 8080 }, fraction: { numerator: 1, denominator: 4 } },
      },
    ];
    expect(
      one({ filters, ...to('v1'), timeouts: { request: '500ms', backendRequest: '250ms' } }).route?.action,
    ).toMatchObject({
      rewrite: { host: 'in', path: { kind: 'full', value: '/one' } },
      mirrors: [{ percent: 25, cluster: { service: 'infra/v2' } }],
      timeoutMs: 500,
      retries: { attempts: 0, on: [], perTryTimeoutMs: 250 },
    });
  });
  it('an unknown filter answers 500 and is not accepted', () => {
    const { plan } = one({ filters: [{ type: 'ExtensionRef', extensionRef: { name: 'x' } }], ...to('v1') });
    expect(found(plan, 'http://h/')).toBe(500);
    expect(brief(statusOf(plan, 'HTTPRoute').parents[0] as Conditions)[0]).toBe('Accepted False UnsupportedValue');
  });
});

describe('GRPCRouteExactMethodMatching, GRPCRouteHeaderMatching', () => {
  const plan = compile(
    gateway([listener()]),
    route(
      [
        { matches: [{ method: { service: 'pkg.Echo', method: 'Say' } }], ...to('v1') },
        { matches: [{ method: { service: 'pkg.Echo' } }], ...to('v2') },
        { matches: [{ method: { method: 'Ping' } }], ...to('v3') },
      ],
      { kind: 'GRPCRoute' },
    ),
  );
  it.each([
    ['/pkg.Echo/Say', 'v1'],
    ['/pkg.Echo/SayTwice', 'v2'],
    ['/pkg.Other/Ping', 'v3'],
    ['/pkg.Other/Pong', undefined],
  ])('%s goes to %s', (target, expected) => {
    expect(found(plan, `http://h${target}`, { method: 'POST' })).toBe(expected);
  });
  it('speaks HTTP/2 to its backends', () => {
    expect(action(plan, 'http://h/pkg.Echo/Say')).toMatchObject({ backends: [{ cluster: { protocol: 'h2' } }] });
  });
});

describe('GatewayInvalidTLSConfiguration, GatewaySecretReferenceGrant', () => {
  const tls = (ref: object) =>
    gateway([listener({ name: 'https', port: 443, protocol: 'HTTPS', tls: { certificateRefs: [ref] } })]);
  const grant = {
    apiVersion: V1,
    kind: 'ReferenceGrant',
    metadata: { name: 'g', namespace: 'certs' },
    spec: {
      from: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace: INFRA }],
      to: [{ group: '', kind: 'Secret' }],
    },
  };
  it.each<[string, object, (pair: Pair) => unknown[], string]>([
    ['no such Secret', { name: 'gone' }, () => [], 'ResolvedRefs False InvalidCertificateRef'],
    ['a good Secret', { name: 'tls' }, (p) => [tlsSecret(`${INFRA}/tls`, p)], 'ResolvedRefs True ResolvedRefs'],
    [
      'a Secret without a certificate',
      { name: 'tls' },
      (p) => [tlsSecret(`${INFRA}/tls`, { ...p, cert: 'x' })],
      'ResolvedRefs False InvalidCertificateRef',
    ],
    ['another kind', { name: 'tls', kind: 'ConfigMap' }, () => [], 'ResolvedRefs False InvalidCertificateRef'],
    [
      'another namespace',
      { name: 'tls', namespace: 'certs' },
      (p) => [tlsSecret('certs/tls', p)],
      'ResolvedRefs False RefNotPermitted',
    ],
    [
      'another namespace with a grant',
      { name: 'tls', namespace: 'certs' },
      (p) => [tlsSecret('certs/tls', p), grant],
      'ResolvedRefs True ResolvedRefs',
    ],
  ])('%s', (_, ref, objects, expected) => {
    const plan = compile(tls(ref), ...objects(pair));
    expect(brief(statusOf(plan, 'Gateway').listeners[0] as Conditions)[1]).toBe(expected);
    expect(plan.ports[0]?.kind === 'tls' && plan.ports[0].chains[0]?.handler.kind).toBe(
      expected.includes('True') ? 'http' : 'refused',
    );
  });

  it('client validation is refused, not ignored', () => {
    const refs = { certificateRefs: [{ name: 'tls' }], frontendValidation: { caCertificateRefs: [{ name: 'ca' }] } };
    const plan = compile(
      gateway([listener({ port: 443, protocol: 'HTTPS', tls: refs })]),
      tlsSecret(`${INFRA}/tls`, pair),
    );
    expect(brief(statusOf(plan, 'Gateway').listeners[0] as Conditions)[0]).toBe('Accepted False UnsupportedValue');
    expect(plan.ports).toEqual([]);
  });
});

describe('GatewayInvalidRouteKind, listener conflicts, unsupported protocols', () => {
  it.each<[string, object[], number, string]>([
    [
      'a kind that does not fit',
      [listener({ allowedRoutes: { kinds: [{ kind: 'TCPRoute' }] } })],
      0,
      'ResolvedRefs False InvalidRouteKinds',
    ],
    ['an unknown protocol', [listener({ protocol: 'SCTP' })], 0, 'Accepted False UnsupportedProtocol'],
    ['twins', [listener(), listener({ name: 'twin' })], 1, 'Conflicted True HostnameConflict'],
    [
      'two protocols on one port',
      [listener(), listener({ name: 'tcp', protocol: 'TCP' })],
      1,
      'Conflicted True ProtocolConflict',
    ],
  ])('%s', (_, listeners, at, expected) => {
    expect(brief(statusOf(compile(gateway(listeners)), 'Gateway').listeners[at] as Conditions)).toContain(expected);
  });
});

describe('TLSRouteSimpleSameNamespace, TCPRoute', () => {
  it('TLS routes pass connections through by server name', () => {
    const plan = compile(
      gateway([listener({ name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Passthrough' } })]),
      route([to('v1')], {
        kind: 'TLSRoute',
        version: 'gateway.networking.k8s.io/v1alpha2',
        spec: { hostnames: ['abc.example.com'] },
      }),
    );
    expect(plan.ports).toMatchObject([
      {
        kind: 'tls',
        chains: [
          {
            hosts: ['abc.example.com'],
            handler: { kind: 'passthrough', backends: [{ target: { service: 'infra/v1', port: 8080 } }] },
          },
        ],
      },
    ]);
  });

  it('TCP routes take the whole port', () => {
    const plan = compile(
      gateway([listener({ protocol: 'TCP', port: 9000 })]),
      route([to('v2')], { kind: 'TCPRoute', version: 'gateway.networking.k8s.io/v1alpha2' }),
    );
    expect(plan.ports).toMatchObject([
      { kind: 'tcp', port: 9000, backends: [{ weight: 1, target: { service: 'infra/v2' } }] },
    ]);
    expect(statusOf(plan, 'Gateway').listeners[0]?.attachedRoutes).toBe(1);
  });
});
