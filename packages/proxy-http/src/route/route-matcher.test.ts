import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PathMatch, Route, RouteMatch, RouteTable, StringMatch, VirtualHost } from '../route-model.ts';
import { parseAuthority, type RequestView } from './request-view.ts';
import { routeMatcher } from './route-matcher.ts';

interface Wanted {
  readonly method?: string;
  readonly scheme?: 'http' | 'https';
  readonly port?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

function requestOf(authority: string, target = '/', wanted: Wanted = {}): RequestView {
  const mark = target.indexOf('?');
  return {
    method: wanted.method ?? 'GET',
    scheme: wanted.scheme ?? 'http',
    authority,
    host: parseAuthority(authority)?.host ?? '',
    port: wanted.port ?? 80,
    path: mark < 0 ? target : target.slice(0, mark),
    query: mark < 0 ? '' : target.slice(mark + 1),
    header: (name) => wanted.headers?.[name],
  };
}

function routeOf(name: string, ...matches: RouteMatch[]): Route {
  return { name, matches, action: { kind: 'respond', status: 200 } };
}

function tableOf(hosts: Record<string, readonly Route[]>): RouteTable {
  return {
    virtualHosts: Object.entries(hosts).map(([names, routes]) => ({ name: names, hosts: names.split(' '), routes })),
  };
}

const found = (table: RouteTable, request: RequestView) => routeMatcher(table).match(request)?.route.name;
const exact = (value: string): StringMatch => ({ kind: 'exact', value });

describe('virtual hosts', () => {
  const table = tableOf({
    '*': [routeOf('any')],
    '*.example.com': [routeOf('suffix')],
    '*.a.example.com': [routeOf('longer suffix')],
    'x.a.example.com': [routeOf('exact')],
    'shop.*': [routeOf('prefix')],
    'shop.a.*': [routeOf('longer prefix')],
    'fd00::1': [routeOf('v6')],
  });
  it.each([
    ['x.a.example.com', 'exact'],
    ['X.A.Example.COM:8080', 'exact'],
    ['x.a.example.com.', 'exact'],
    ['y.a.example.com', 'longer suffix'],
    ['y.z.a.example.com', 'longer suffix'],
    ['a.example.com', 'suffix'],
    ['example.com', 'any'],
    ['shop.org', 'prefix'],
    ['shop.a.org', 'longer prefix'],
    ['shop.example.com', 'suffix'],
    ['shop.', 'any'],
    ['[fd00::1]:80', 'v6'],
    ['', 'any'],
  ])('%j takes %s', (host, name) => {
    expect(found(table, requestOf(host))).toBe(name);
  });

  it('that share a pattern are merged in order', () => {
    const routes: VirtualHost[] = [
      { name: 'a', hosts: ['h', 'h'], routes: [routeOf('one', { path: { kind: 'exact', value: '/1' } })] },
      { name: 'b', hosts: ['H'], routes: [routeOf('two')] },
    ];
    expect(found({ virtualHosts: routes }, requestOf('h', '/1'))).toBe('one');
    expect(found({ virtualHosts: routes }, requestOf('h', '/2'))).toBe('two');
  });

  it('answer nothing when their routes do not match, unless they fall through', () => {
    const special = { name: 's', hosts: ['a.b'], routes: [routeOf('one', { port: 1 })] };
    const rest = { name: 'r', hosts: ['*'], routes: [routeOf('rest')] };
    expect(found({ virtualHosts: [special, rest] }, requestOf('a.b'))).toBeUndefined();
    expect(found({ virtualHosts: [{ ...special, fallThrough: true }, rest] }, requestOf('a.b'))).toBe('rest');
  });
});

describe('path matches', () => {
  const cases: [PathMatch['kind'], string, string, boolean][] = [
    ['exact', '/a', '/a', true],
    ['exact', '/a', '/a/', false],
    ['prefix', '/', '/anything', true],
    ['prefix', '/api', '/apiary', true],
    ['prefix', '/api', '/ap', false],
    ['segments', '/', '/anything', true],
    ['segments', '/api', '/apiary', false],
    ['segments', '/api', '/api', true],
    ['segments', '/api/', '/api', true],
    ['segments', '/api/', '/api/x', true],
    ['segments', '/api', '/api/x', true],
    ['regex', '/a+', '/aaa', true],
    ['regex', '/a+', '/aaab', false],
    ['regex', 'a', '/a', false],
  ];
  it.each(cases)('%s %s against %s is %s', (kind, value, path, expected) => {
    const table = tableOf({ '*': [routeOf('hit', { path: { kind, value } })] });
    expect(found(table, requestOf('h', path)) === 'hit').toBe(expected);
  });

  it('do not see the query', () => {
    const table = tableOf({ '*': [routeOf('hit', { path: { kind: 'exact', value: '/a' } })] });
    expect(found(table, requestOf('h', '/a?b=c'))).toBe('hit');
  });

  it.each(['exact', 'prefix', 'segments', 'regex'] as const)('%s can ignore case', (kind) => {
    const table = tableOf({ '*': [routeOf('hit', { path: { kind, value: '/Api', ignoreCase: true } })] });
    expect(found(table, requestOf('h', '/aPI'))).toBe('hit');
  });
});

describe('the other matches', () => {
  const json = { headers: { accept: 'application/json', 'x-user': 'jason' } };
  const cases: [string, RouteMatch, RequestView, boolean][] = [
    ['header exact', { headers: [{ name: 'X-User', match: exact('jason') }] }, requestOf('h', '/', json), true],
    ['header missing', { headers: [{ name: 'x-none', match: exact('') }] }, requestOf('h', '/', json), false],
    ['header present', { headers: [{ name: 'accept', match: { kind: 'present' } }] }, requestOf('h', '/', json), true],
    [
      'header prefix',
      { headers: [{ name: 'accept', match: { kind: 'prefix', value: 'application/' } }] },
      requestOf('h', '/', json),
      true,
    ],
    [
      'header regex whole',
      { headers: [{ name: 'accept', match: { kind: 'regex', value: 'json' } }] },
      requestOf('h', '/', json),
      false,
    ],
    [
      'without header, there',
      { withoutHeaders: [{ name: 'x-user', match: exact('jason') }] },
      requestOf('h', '/', json),
      false,
    ],
    [
      'without header, other value',
      { withoutHeaders: [{ name: 'x-user', match: exact('x') }] },
      requestOf('h', '/', json),
      true,
    ],
    [
      'without header, missing',
      { withoutHeaders: [{ name: 'x-y', match: { kind: 'present' } }] },
      requestOf('h', '/', json),
      true,
    ],
    ['method', { method: exact('POST') }, requestOf('h', '/', { method: 'POST' }), true],
    ['method case', { method: exact('POST') }, requestOf('h', '/', { method: 'post' }), false],
    ['query exact', { query: [{ name: 'v', match: exact('a b') }] }, requestOf('h', '/?x=1&v=a%20b'), true],
    ['query first of two', { query: [{ name: 'v', match: exact('2') }] }, requestOf('h', '/?v=1&v=2'), false],
    ['query missing', { query: [{ name: 'v', match: { kind: 'present' } }] }, requestOf('h', '/'), false],
    ['query without value', { query: [{ name: 'v', match: { kind: 'present' } }] }, requestOf('h', '/?v'), true],
    ['authority with port', { authority: exact('h:81') }, requestOf('h:81'), true],
    ['scheme', { scheme: exact('https') }, requestOf('h', '/', { scheme: 'https' }), true],
    ['port', { port: 443 }, requestOf('h', '/', { port: 443 }), true],
    ['other port', { port: 443 }, requestOf('h'), false],
    ['all must hold', { port: 80, method: exact('PUT') }, requestOf('h'), false],
    ['nothing asked', {}, requestOf('h'), true],
  ];
  it.each(cases)('%s', (_, match, request, expected) => {
    expect(found(tableOf({ '*': [routeOf('hit', match)] }), request) === 'hit').toBe(expected);
  });
});

describe('route order', () => {
  it('is precedence: the first that matches wins, by any of its matches', () => {
    const table = tableOf({
      '*': [
        routeOf('first', { path: { kind: 'exact', value: '/x' } }, { path: { kind: 'exact', value: '/y' } }),
        routeOf('second', { path: { kind: 'prefix', value: '/' } }),
        routeOf('never'),
      ],
    });
    expect([found(table, requestOf('h', '/y')), found(table, requestOf('h', '/z'))]).toEqual(['first', 'second']);
  });

  it('passes over routes with an invalid pattern and names them', () => {
    const table = tableOf({ '*': [routeOf('bad', { path: { kind: 'regex', value: '(' } }), routeOf('good')] });
    expect(found(table, requestOf('h'))).toBe('good');
    expect(routeMatcher(table).problems).toEqual([expect.stringContaining('route bad: missing )')]);
  });
});

describe('the matcher', () => {
  const label = fc.constantFrom('a', 'b', 'c');
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
  const pattern = fc.oneof(
    name,
    name.map((n) => `*.${n}`),
    name.map((n) => `${n}.*`),
    fc.constant('*'),
  );
  const path = fc.array(fc.constantFrom('/', 'a', 'b'), { maxLength: 5 }).map((parts) => `/${parts.join('')}`);
  const pathMatch = fc.record({
    kind: fc.constantFrom('exact' as const, 'prefix' as const, 'segments' as const),
    value: path,
  });
  const routes = fc.array(fc.option(pathMatch, { nil: undefined }), { maxLength: 4 });

  it('agrees with a slow reading of the rules', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(pattern, routes), { maxLength: 6 }), name, path, (hosts, host, target) => {
        const virtualHosts = hosts.map(([p, matches], h) => ({
          name: p,
          hosts: [p],
          routes: matches.map((match, r) => routeOf(`${h}.${r}`, match === undefined ? {} : { path: match })),
        }));
        expect(found({ virtualHosts }, requestOf(host, target))).toBe(slowFind(virtualHosts, host, target));
      }),
      { numRuns: 2_000 },
    );
  });
});

function slowFind(virtualHosts: readonly VirtualHost[], host: string, path: string): string | undefined {
  const rank = (pattern: string): number => {
    if (pattern === host) return 1_000;
    if (pattern === '*') return 1;
    if (pattern.startsWith('*') && host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1) {
      return 500 + pattern.length;
    }
    const stem = pattern.slice(0, -1);
    return pattern.endsWith('*') && host.startsWith(stem) && host.length > stem.length ? 100 + pattern.length : 0;
  };
  const best = Math.max(0, ...virtualHosts.map((v) => rank(v.hosts[0] as string)));
  if (best === 0) return undefined;
  const pathHolds = (match: PathMatch | undefined): boolean => {
    if (match === undefined) return true;
    if (match.kind === 'exact') return path === match.value;
    if (match.kind === 'prefix') return path.indexOf(match.value) === 0;
    const segments = (text: string) => text.replace(/\/$/, '').split('/');
    return segments(match.value).every((segment, i) => path.split('/')[i] === segment);
  };
  return virtualHosts
    .filter((v) => rank(v.hosts[0] as string) === best)
    .flatMap((v) => v.routes)
    .find((route) => pathHolds(route.matches[0]?.path))?.name;
}
