import { type KubeObject, objectKey } from '@edgemesh/core';
import type { Route, RouteMatch } from '@edgemesh/proxy-http';
import type { CompileContext } from '../common/context.ts';
import { namespaceOf, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readHeaders } from './headers.ts';
import { readAction } from './http-action.ts';
import { readHttpMatch } from './http-match.ts';
import { readCors, readFault } from './http-policies.ts';

const KNOWN = [
  ...['name', 'match', 'route', 'redirect', 'directResponse', 'delegate', 'rewrite', 'timeout', 'retries', 'fault'],
  ...['mirror', 'mirrors', 'mirrorPercentage', 'mirrorPercent', 'mirror_percent', 'corsPolicy', 'headers'],
];

/** The HTTP routes of a VirtualService, for traffic through the gateways that `isOurs` accepts. */
export function readHttpRoutes(
  virtualService: KubeObject,
  isOurs: (gateway: string) => boolean,
  context: CompileContext,
): Route[] {
  const spec = specOf(virtualService, context.conditions);
  const owner = objectKey(virtualService.metadata);
  return spec
    .get('http')
    .items()
    .flatMap((http, i) => {
      if (!http.isObject()) return [];
      http.only(KNOWN);
      const name = `${owner}/${http.get('name').name() ?? i}`;
      const matches = readMatches(http.get('match'), isOurs);
      if (matches === 'none') return [];
      if (!http.get('delegate').absent) return delegated(http, name, matches, virtualService, context);
      const route = readRoute(http, name, matches, namespaceOf(virtualService), context);
      return route === undefined ? [] : [route];
    });
}

/** `none`: there are matches, and none of them can ever hold. Such a route must not match everything. */
function readMatches(field: Field, isOurs: (gateway: string) => boolean): readonly RouteMatch[] | 'none' {
  const items = field.items();
  if (items.length === 0) return field.absent || Array.isArray(field.value) ? [] : 'none';
  const matches = items.flatMap((item) => readHttpMatch(item, isOurs) ?? []);
  return matches.length === 0 ? 'none' : matches;
}

function readRoute(
  http: Field,
  name: string,
  matches: readonly RouteMatch[],
  namespace: string,
  context: CompileContext,
): Route | undefined {
  const headers = readHeaders(http.get('headers'));
  const action = readAction(http, headers, namespace, context);
  if (action === undefined) return undefined;
  const fault = readFault(http.get('fault'));
  const cors = readCors(http.get('corsPolicy'));
  const { requestHeaders, responseHeaders } = headers;
  return {
    name,
    matches,
    action,
    ...(requestHeaders && { requestHeaders }),
    ...(responseHeaders && { responseHeaders }),
    ...(fault && { fault }),
    ...(cors && { cors }),
  };
}

/** Routes of another VirtualService (one level, as in Istio). Each of its matches must hold together with one of ours. */
function delegated(
  http: Field,
  name: string,
  matches: readonly RouteMatch[],
  virtualService: KubeObject,
  context: CompileContext,
): Route[] {
  const delegate = http.get('delegate');
  delegate.only(['name', 'namespace']);
  const namespace = delegate.get('namespace').name() ?? namespaceOf(virtualService);
  const key = `${namespace}/${delegate.get('name').name() ?? ''}`;
  const target = context.catalog.objects.get('VirtualService.networking.istio.io')?.get(key);
  if (target === undefined) {
    delegate.complain(`VirtualService ${key} does not exist`);
    return [];
  }
  const spec = specOf(target, context.conditions);
  if (spec.get('hosts').items().length > 0) {
    delegate.complain(`VirtualService ${key} has hosts: it is no delegate`);
    return [];
  }
  spec.only(['http', 'exportTo']);
  return spec
    .get('http')
    .items()
    .flatMap((inner, i) => {
      if (!inner.isObject()) return [];
      inner.only(KNOWN.filter((field) => field !== 'delegate'));
      const own = readMatches(inner.get('match'), () => true);
      if (own === 'none') return [];
      const both = combine(matches, own, inner.get('match'));
      if (both.length === 0 && (matches.length > 0 || own.length > 0)) return [];
      const route = readRoute(inner, `${name}/${key}/${i}`, both, namespace, context);
      return route === undefined ? [] : [route];
    });
}

/** Every pair of an outer and an inner match as one. Where both speak of one thing the inner one holds (it is the longer path). */
function combine(outer: readonly RouteMatch[], inner: readonly RouteMatch[], field: Field): RouteMatch[] {
  if (outer.length === 0 || inner.length === 0) return [...outer, ...inner];
  const pairs: RouteMatch[] = [];
  for (const a of outer) {
    for (const b of inner) {
      if (conflict(a, b)) field.complain('matches nothing that the delegating route matches');
      else
        pairs.push({
          ...a,
          ...b,
          ...((a.headers || b.headers) && { headers: [...(a.headers ?? []), ...(b.headers ?? [])] }),
          ...((a.withoutHeaders || b.withoutHeaders) && {
            withoutHeaders: [...(a.withoutHeaders ?? []), ...(b.withoutHeaders ?? [])],
          }),
          ...((a.query || b.query) && { query: [...(a.query ?? []), ...(b.query ?? [])] }),
        });
    }
  }
  return pairs;
}

/** Istio's rule: the delegate's path must lie within that of the root; of everything else both must be equal. */
function conflict(a: RouteMatch, b: RouteMatch): boolean {
  if (a.path && b.path) {
    if (a.path.kind === 'prefix') {
      if (b.path.kind === 'regex' || !b.path.value.startsWith(a.path.value)) return true;
    } else if (a.path.kind !== b.path.kind || a.path.value !== b.path.value) return true;
  }
  const same = (x: unknown, y: unknown) =>
    x === undefined || y === undefined || JSON.stringify(x) === JSON.stringify(y);
  return !(
    same(a.method, b.method) &&
    same(a.scheme, b.scheme) &&
    same(a.authority, b.authority) &&
    same(a.port, b.port)
  );
}
