import { type RequestView, routeMatcher } from '@edgemesh/proxy-http';
import { describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import type { GatewayPlan, HttpPort } from '../model.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { httpServer, istioGateway, to, virtualService } from '../testing/istio.ts';

const SERVICES = [serviceOf('default/a', 80), serviceOf('default/b', 80), serviceOf('shop/a', 'http:80', 'admin:81')];

function compile(...objects: unknown[]): GatewayPlan {
  return compileGateway(catalogOf(SERVICES, objects));
}

function requestOf(url: string, more: Partial<RequestView> & { headers?: Record<string, string> } = {}): RequestView {
  const { protocol, host, hostname, pathname, search, port } = new URL(url);
  const { headers = {}, ...rest } = more;
  return {
    method: 'GET',
    scheme: protocol === 'https:' ? 'https' : 'http',
    authority: host,
    host: hostname,
    port: Number(port) || 80,
    path: pathname,
    query: search.slice(1),
    header: (name) => headers[name],
    ...rest,
  };
}

function httpPort(plan: GatewayPlan, port = 80): HttpPort {
  const found = plan.ports.find((p) => p.port === port);
  if (found?.kind !== 'http') throw new Error(`port ${port} is ${found?.kind}`);
  return found;
}

/** Where a request goes: the Service, the status of an answer, or nothing. */
function found(
  plan: GatewayPlan,
  url: string,
  more: Parameters<typeof requestOf>[1] = {},
  port = 80,
): string | undefined {
  const action = routeMatcher(httpPort(plan, port).table).match(requestOf(url, more))?.route.action;
  if (action === undefined) return undefined;
  if (action.kind === 'redirect') return `redirect ${action.status} ${action.scheme ?? ''}`;
  if (action.kind === 'respond') return `respond ${action.status}`;
  const cluster = action.backends[0]?.cluster;
  return cluster ? `${cluster.service}:${cluster.port}` : 'none';
}

const messages = (plan: GatewayPlan) => plan.conditions.map((c) => `${c.object} ${c.path}: ${c.message}`);

const gateway = istioGateway('default/gw', [httpServer(['*'])]);
const bound = { hosts: ['*'], gateways: ['gw'] };

describe('every kind of match', () => {
  const matching = (match: unknown) =>
    compile(gateway, virtualService('default/v', { ...bound, http: [{ match: [match], ...to('a') }] }));
  it.each<[string, unknown, string, Parameters<typeof requestOf>[1], boolean]>([
    ['prefix / takes everything', { uri: { prefix: '/' } }, 'http://h/any/thing', {}, true],
    ['prefix is textual', { uri: { prefix: '/api' } }, 'http://h/apiary', {}, true],
    ['prefix with another path', { uri: { prefix: '/api' } }, 'http://h/ap', {}, false],
    ['exact ignores the query', { uri: { exact: '/x' } }, 'http://h/x?y=1', {}, true],
    ['exact is whole', { uri: { exact: '/x' } }, 'http://h/x/', {}, false],
    ['regex is the whole path', { uri: { regex: '/v[0-9]+' } }, 'http://h/v12', {}, true],
    ['regex is anchored', { uri: { regex: '/v[0-9]+' } }, 'http://h/v12/x', {}, false],
    ['ignoreUriCase', { uri: { prefix: '/API' }, ignoreUriCase: true }, 'http://h/api/x', {}, true],
    ['case counts otherwise', { uri: { prefix: '/API' } }, 'http://h/api/x', {}, false],
    ['method', { method: { exact: 'POST' } }, 'http://h/', { method: 'POST' }, true],
    ['another method', { method: { exact: 'POST' } }, 'http://h/', {}, false],
    ['scheme', { scheme: { exact: 'https' } }, 'http://h/', {}, false],
    ['authority as sent', { authority: { prefix: 'h:80' } }, 'http://h:8080/', {}, true],
    ['header exact', { headers: { 'X-User': { exact: 'jo' } } }, 'http://h/', { headers: { 'x-user': 'jo' } }, true],
    ['header regex whole', { headers: { a: { regex: 'b' } } }, 'http://h/', { headers: { a: 'abc' } }, false],
    ['header presence', { headers: { a: {} } }, 'http://h/', { headers: { a: '' } }, true],
    ['header missing', { headers: { a: {} } }, 'http://h/', {}, false],
    ['withoutHeaders, there', { withoutHeaders: { a: { exact: '1' } } }, 'http://h/', { headers: { a: '1' } }, false],
    [
      'withoutHeaders, other value',
      { withoutHeaders: { a: { exact: '1' } } },
      'http://h/',
      { headers: { a: '2' } },
      true,
    ],
    ['query', { queryParams: { v: { exact: '2' } } }, 'http://h/?v=2', {}, true],
    ['query with another value', { queryParams: { v: { exact: '2' } } }, 'http://h/?v=3', {}, false],
    ['port', { port: 80 }, 'http://h/', {}, true],
    ['another port', { port: 81 }, 'http://h/', {}, false],
    ['all parts must hold', { uri: { prefix: '/' }, method: { exact: 'PUT' } }, 'http://h/', {}, false],
    ['gateways of the match', { gateways: ['gw'], uri: { prefix: '/' } }, 'http://h/', {}, true],
    ['another gateway in the match', { gateways: ['other'], uri: { prefix: '/' } }, 'http://h/', {}, false],
  ])('%s', (_, match, url, more, expected) => {
    const plan = matching(match);
    expect(messages(plan)).toEqual([]);
    expect(found(plan, url, more)).toBe(expected ? 'default/a:80' : undefined);
  });

  it.each([
    [{ sourceLabels: { app: 'x' } }, 'sourceLabels'],
    [{ uri: { regex: '(' } }, 'uri.regex'],
    [{ uri: { exact: '/x', prefix: '/' } }, 'uri'],
    [{ uri: '/x' }, 'uri'],
    [{ headers: ['x'] }, 'headers'],
    [{ port: 'http' }, 'port'],
    [null, ''],
  ])('%j can never hold, and is reported', (match, path) => {
    const plan = matching(match);
    expect(found(plan, 'http://h/x')).toBeUndefined();
    expect(messages(plan)[0]).toContain(`VirtualService default/v spec.http[0].match[0]${path && '.'}${path}`);
  });

  it('of several is enough with one', () => {
    const match = [{ uri: { exact: '/x' } }, { uri: { exact: '/y' } }];
    const plan = compile(gateway, virtualService('default/v', { ...bound, http: [{ match, ...to('a') }] }));
    expect([found(plan, 'http://h/x'), found(plan, 'http://h/y'), found(plan, 'http://h/z')]).toEqual([
      'default/a:80',
      'default/a:80',
      undefined,
    ]);
  });
});

describe('destinations', () => {
  const destination = (dest: unknown, namespace = 'default') =>
    compile(
      istioGateway(`${namespace}/gw`, [httpServer(['*'])]),
      virtualService(`${namespace}/v`, { ...bound, http: [{ route: [{ destination: dest }] }] }),
    );
  it.each([
    ['a', 'default', 'default/a:80'],
    ['a', 'shop', undefined],
    ['a.shop', 'default', undefined],
    ['a.default', 'shop', 'default/a:80'],
    ['a.default.svc', 'shop', 'default/a:80'],
    ['a.default.svc.cluster.local', 'shop', 'default/a:80'],
    ['A.Default.SVC.cluster.local.', 'shop', 'default/a:80'],
    ['missing', 'default', undefined],
    ['www.example.com', 'default', undefined],
    ['', 'default', undefined],
  ])('%j in namespace %s is %s', (host, namespace, expected) => {
    const plan = destination({ host }, namespace);
    expect(found(plan, 'http://h/')).toBe(expected ?? 'none');
    expect(plan.conditions.length === 0).toBe(expected !== undefined);
  });

  it('need a port only where the Service has several', () => {
    expect(messages(destination({ host: 'a' }, 'shop'))).toEqual([
      expect.stringContaining('is required: Service shop/a has 2 TCP ports'),
    ]);
    expect(found(destination({ host: 'a', port: { number: 81 } }, 'shop'), 'http://h/')).toBe('shop/a:81');
    expect(found(destination({ host: 'a', port: { number: 82 } }, 'shop'), 'http://h/')).toBe('none');
  });

  it('that do not exist answer 503, and keep their share', () => {
    const route = [
      { destination: { host: 'a' }, weight: 90 },
      { destination: { host: 'gone' }, weight: 10 },
    ];
    const plan = compile(gateway, virtualService('default/v', { ...bound, http: [{ route }] }));
    const action = httpPort(plan).table.virtualHosts[0]?.routes[0]?.action;
    expect(action?.kind === 'forward' && action.backends).toEqual([
      {
        weight: 90,
        invalidStatus: 503,
        cluster: { key: 'default/a:80?auto', service: 'default/a', port: 80, protocol: 'auto' },
      },
      { weight: 10, invalidStatus: 503 },
    ]);
  });
});

describe('binding', () => {
  it.each([
    [['gw'], 'default', true],
    [['gw'], 'shop', false],
    [['default/gw'], 'shop', true],
    [['./gw'], 'default', true],
    [['gw.default.svc.cluster.local'], 'shop', true],
    [['mesh'], 'default', false],
    [['mesh', 'gw'], 'default', true],
    [undefined, 'default', false],
  ])('gateways %j of namespace %s: %s', (gateways, namespace, expected) => {
    const vs = virtualService(`${namespace}/v`, {
      hosts: ['*'],
      ...(gateways && { gateways }),
      http: [to('a.default')],
    });
    expect(found(compile(gateway, vs), 'http://h/')).toBe(expected ? 'default/a:80' : undefined);
  });

  it.each([
    [['shop/*'], 'shop', true],
    [['shop/*'], 'default', false],
    [['./*'], 'default', true],
    [['./*'], 'shop', false],
    [['*/x.example.com'], 'shop', true],
  ])('server hosts %j and a VirtualService of namespace %s: %s', (hosts, namespace, expected) => {
    const gw = istioGateway('default/gw', [httpServer(hosts)]);
    const vs = virtualService(`${namespace}/v`, {
      hosts: ['x.example.com'],
      gateways: ['default/gw'],
      http: [to('a.default')],
    });
    expect(found(compile(gw, vs), 'http://x.example.com/')).toBe(expected ? 'default/a:80' : undefined);
  });

  it('takes only Gateways whose selector fits', () => {
    const plan = (selector: object) => compile(istioGateway('default/gw', [httpServer(['*'])], selector)).ports.length;
    expect([
      plan({}),
      plan({ app: 'edgemesh-gateway' }),
      plan({ istio: 'ingressgateway' }),
      plan({ kubeedge: 'edgemesh-gateway', x: 'y' }),
    ]).toEqual([1, 1, 0, 0]);
  });

  it('respects exportTo', () => {
    const vs = (exportTo: string[]) =>
      virtualService('shop/v', { hosts: ['*'], gateways: ['default/gw'], exportTo, http: [to('a.default')] });
    expect(found(compile(gateway, vs(['.'])), 'http://h/')).toBeUndefined();
    expect(found(compile(gateway, vs(['default'])), 'http://h/')).toBe('default/a:80');
  });

  it('says when a VirtualService has no host of its Gateways', () => {
    const plan = compile(
      istioGateway('default/gw', [httpServer(['a.example.com'])]),
      virtualService('default/v', { hosts: ['b.example.com'], gateways: ['gw'], http: [to('a')] }),
    );
    expect(messages(plan)).toEqual([
      'VirtualService default/v spec.hosts: no server of its Gateways has any of these hosts',
    ]);
  });
});

describe('precedence', () => {
  it('exact hosts before the longest wildcard before *', () => {
    const vs = (name: string, host: string, service: string) =>
      virtualService(`default/${name}`, { hosts: [host], gateways: ['gw'], http: [to(service)] });
    const plan = compile(
      gateway,
      vs('any', '*', 'a'),
      vs('wild', '*.example.com', 'b'),
      vs('exact', 'x.example.com', 'a.default'),
      vs('longer', '*.y.example.com', 'a'),
    );
    expect(found(plan, 'http://z.example.com/')).toBe('default/b:80');
    expect(found(plan, 'http://x.example.com/')).toBe('default/a:80');
    expect(found(plan, 'http://z.y.example.com/')).toBe('default/a:80');
    expect(found(plan, 'http://other/')).toBe('default/a:80');
    expect(httpPort(plan).table.virtualHosts).toHaveLength(4);
  });

  it('of VirtualServices with one host the older, but what matches everything comes last', () => {
    const old = virtualService('default/old', {
      ...bound,
      http: [{ match: [{ uri: { prefix: '/x' } }], ...to('a') }, to('a')],
    });
    const young = virtualService('default/young', {
      ...bound,
      http: [
        { match: [{ uri: { prefix: '/x/y' } }], ...to('b') },
        { match: [{ uri: { prefix: '/z' } }], ...to('b') },
      ],
    });
    const plan = compile(gateway, young, old);
    expect([found(plan, 'http://h/x/y'), found(plan, 'http://h/z'), found(plan, 'http://h/other')]).toEqual([
      'default/a:80',
      'default/b:80',
      'default/a:80',
    ]);
  });

  it('does not depend on the order in which objects are known', () => {
    const objects = [
      gateway,
      virtualService('default/p', { ...bound, http: [to('a')] }),
      virtualService('default/q', { ...bound, http: [to('b')] }),
    ];
    expect(compile(...objects.toReversed())).toEqual(compile(...objects));
  });

  it('several Gateways on one port share its hosts', () => {
    const plan = compile(
      istioGateway('default/one', [httpServer(['one.example.com'])]),
      istioGateway('shop/two', [httpServer(['two.example.com'])]),
      virtualService('default/v1', { hosts: ['one.example.com'], gateways: ['one'], http: [to('a')] }),
      virtualService('shop/v2', { hosts: ['two.example.com'], gateways: ['two'], http: [to('a', 80)] }),
    );
    expect(plan.ports).toHaveLength(1);
    expect(httpPort(plan).owners).toEqual(['Gateway default/one', 'Gateway shop/two']);
    expect([found(plan, 'http://one.example.com/'), found(plan, 'http://two.example.com/')]).toEqual([
      'default/a:80',
      'shop/a:80',
    ]);
  });
});

describe('TCP', () => {
  const tcp = istioGateway('default/gw', [{ port: { number: 9000, protocol: 'TCP', name: 'tcp' }, hosts: ['*'] }]);
  it('goes to the first route that matches the port, by weight', () => {
    const routes = [
      { match: [{ port: 9001 }], route: [{ destination: { host: 'b' } }] },
      {
        route: [
          { destination: { host: 'a' }, weight: 3 },
          { destination: { host: 'b' }, weight: 1 },
        ],
      },
    ];
    const plan = compile(tcp, virtualService('default/v', { ...bound, tcp: routes }));
    expect(plan.ports).toMatchObject([
      {
        kind: 'tcp',
        port: 9000,
        backends: [
          { weight: 3, target: { service: 'default/a', port: 80 } },
          { weight: 1, target: { service: 'default/b' } },
        ],
      },
    ]);
  });

  it('a port cannot be two things: the older Gateway keeps it', () => {
    const plan = compile(tcp, istioGateway('default/young', [httpServer(['*'], 9000)]));
    expect(plan.ports).toMatchObject([{ kind: 'tcp' }]);
    expect(messages(plan)).toEqual([
      expect.stringContaining(
        'Gateway default/young spec.servers[0]: port TCP 9000 serves TCP for Gateway default/gw already',
      ),
    ]);
  });
});
