import { RegexError } from '../regex/syntax.ts';
import type { NamedMatch, PathMatch, PathRewrite, Route, RouteMatch, RouteTable, VirtualHost } from '../route-model.ts';
import { createHostIndex } from './host-index.ts';
import { compilePathMatch, compilePathRewrite } from './path-match.ts';
import { queryParameter, type RequestView } from './request-view.ts';
import { compileStringMatch } from './string-match.ts';

/** The route that a request takes. */
export interface RouteHit {
  readonly virtualHost: VirtualHost;
  readonly route: Route;
  /** The path match that held, for rewrites of the prefix. */
  readonly path: PathMatch | undefined;
  /** The action's path rewrite, compiled; absent where it has none. */
  readonly rewritePath?: (path: string, match: PathMatch | undefined) => string;
}

/** A route table made fast. */
export interface RouteMatcher {
  /** The first matching route of the most specific virtual host. */
  match(request: RequestView): RouteHit | undefined;
  /** Parts of the table that can never match, and why (invalid regular expressions). */
  readonly problems: readonly string[];
}

type Test = (request: RequestView) => boolean;

interface CompiledHost {
  readonly fallThrough: boolean;
  readonly routes: readonly CompiledRoute[];
}

interface CompiledRoute {
  readonly matches: readonly { readonly test: Test; readonly hit: RouteHit }[];
}

const compiled = new WeakMap<RouteTable, RouteMatcher>();

/**
 * Compiles a table, once per table. Never throws: a match with an invalid pattern matches nothing and is listed under
 * `problems`; compilers find such patterns themselves with `compileRegex`.
 */
export function routeMatcher(table: RouteTable): RouteMatcher {
  let matcher = compiled.get(table);
  if (matcher === undefined) {
    matcher = compileTable(table);
    compiled.set(table, matcher);
  }
  return matcher;
}

function compileTable(table: RouteTable): RouteMatcher {
  const problems: string[] = [];
  const hosts: [string, CompiledHost][] = [];
  for (const virtualHost of table.virtualHosts) {
    const host: CompiledHost = {
      fallThrough: virtualHost.fallThrough === true,
      routes: virtualHost.routes.map((route) => compileRoute(virtualHost, route, problems)),
    };
    for (const pattern of new Set(virtualHost.hosts)) hosts.push([pattern, host]);
  }
  const index = createHostIndex(mergeSamePattern(hosts));
  return {
    problems,
    match(request) {
      for (const host of index.find(request.host)) {
        const hit = matchRoutes(host.routes, request);
        if (hit !== undefined) return hit;
        if (!host.fallThrough) return undefined;
      }
      return undefined;
    },
  };
}

/** Virtual hosts that share a pattern act as one: their routes in order, and one that falls through lets all of them. */
function mergeSamePattern(hosts: readonly [string, CompiledHost][]): Map<string, CompiledHost> {
  const merged = new Map<string, CompiledHost>();
  for (const [raw, host] of hosts) {
    const pattern = raw.toLowerCase();
    const other = merged.get(pattern);
    merged.set(
      pattern,
      other === undefined
        ? host
        : { fallThrough: other.fallThrough || host.fallThrough, routes: [...other.routes, ...host.routes] },
    );
  }
  return merged;
}

function matchRoutes(routes: readonly CompiledRoute[], request: RequestView): RouteHit | undefined {
  for (const route of routes) {
    for (const match of route.matches) if (match.test(request)) return match.hit;
  }
  return undefined;
}

function compileRoute(virtualHost: VirtualHost, route: Route, problems: string[]): CompiledRoute {
  const orProblem = <T>(compile: () => T): T | undefined => {
    try {
      return compile();
    } catch (error) {
      if (!(error instanceof RegexError)) throw error;
      problems.push(`route ${route.name}: ${error.message}`);
      return undefined;
    }
  };
  const rewrite = pathRewriteOf(route);
  const rewritePath = rewrite && orProblem(() => compilePathRewrite(rewrite));
  if (rewrite !== undefined && rewritePath === undefined) return { matches: [] };
  const hit = (path: PathMatch | undefined): RouteHit => ({
    virtualHost,
    route,
    path,
    ...(rewritePath && { rewritePath }),
  });
  if (route.matches.length === 0) return { matches: [{ test: () => true, hit: hit(undefined) }] };
  const matches = route.matches.flatMap((match) => {
    const test = orProblem(() => compileMatch(match));
    return test === undefined ? [] : [{ test, hit: hit(match.path) }];
  });
  return { matches };
}

function pathRewriteOf(route: Route): PathRewrite | undefined {
  const { action } = route;
  if (action.kind === 'forward') return action.rewrite?.path;
  return action.kind === 'redirect' ? action.path : undefined;
}

/** Cheap and selective tests come first. */
function compileMatch(match: RouteMatch): Test {
  const tests: Test[] = [];
  const { port } = match;
  if (port !== undefined) tests.push((request) => request.port === port);
  if (match.path !== undefined) {
    const test = compilePathMatch(match.path);
    tests.push((request) => test(request.path));
  }
  for (const part of ['method', 'scheme', 'authority'] as const) {
    const wanted = match[part];
    if (wanted === undefined) continue;
    const test = compileStringMatch(wanted);
    tests.push((request) => test(request[part]));
  }
  for (const header of match.headers ?? []) tests.push(headerTest(header));
  for (const header of match.withoutHeaders ?? []) {
    const test = headerTest(header);
    tests.push((request) => !test(request));
  }
  for (const { name, match: wanted } of match.query ?? []) {
    const test = compileStringMatch(wanted);
    tests.push((request) => {
      const value = queryParameter(request.query, name);
      return value !== undefined && test(value);
    });
  }
  const [first, ...rest] = tests;
  if (first === undefined) return () => true;
  return rest.length === 0 ? first : (request) => tests.every((test) => test(request));
}

function headerTest({ name, match }: NamedMatch): Test {
  const test = compileStringMatch(match);
  const lowerName = name.toLowerCase();
  return (request) => {
    const value = request.header(lowerName);
    return value !== undefined && test(value);
  };
}
