import type { PathMatch, RouteMatch, StringMatch } from '@edgemesh/proxy-http';
import type { Field } from '../read/field.ts';
import { readNamedMatches, readStringMatch } from './string-match.ts';

const KNOWN = [
  ...['name', 'uri', 'scheme', 'method', 'authority', 'headers', 'port', 'gateways', 'queryParams', 'ignoreUriCase'],
  ...['withoutHeaders', 'statPrefix'],
];
const NOWHERE = 'says nothing about traffic from outside; this match matches nothing';

/**
 * HTTPMatchRequest. Undefined: it matches nothing here, because it is bound to other gateways or because a part of it cannot be
 * honoured, which is reported.
 */
export function readHttpMatch(field: Field, isOurs: (gateway: string) => boolean): RouteMatch | undefined {
  if (!field.isObject()) {
    if (field.absent) field.complain('is empty; it matches nothing');
    return undefined;
  }
  const understood = field.only(KNOWN, NOWHERE);
  const gateways = field.get('gateways').texts();
  // A list that cannot be read is still a restriction.
  const bound = !field.get('gateways').absent && !isEmptyList(field.get('gateways').value);
  if (bound && !gateways.some(isOurs)) return undefined;
  const path = readPath(field);
  const strings = readStrings(field);
  const headers = readNamedMatches(field.get('headers'), true);
  const withoutHeaders = readNamedMatches(field.get('withoutHeaders'), true);
  const query = readNamedMatches(field.get('queryParams'), false);
  const port = readPort(field.get('port'));
  if (!understood || path === 'unusable' || strings === 'unusable' || port === 'unusable') return undefined;
  if (headers === 'unusable' || withoutHeaders === 'unusable' || query === 'unusable') return undefined;
  return {
    ...(path && { path }),
    ...strings,
    ...(headers.length > 0 && { headers }),
    ...(withoutHeaders.length > 0 && { withoutHeaders }),
    ...(query.length > 0 && { query }),
    ...(port !== undefined && { port }),
  };
}

function readPath(field: Field): PathMatch | 'unusable' | undefined {
  const match = readStringMatch(field.get('uri'), field.get('ignoreUriCase').flag());
  // Istio: the flag has no effect on regular expressions.
  if (match === undefined || match === 'unusable' || match.kind === 'present' || match.kind === 'suffix')
    return match as undefined;
  return match.kind === 'regex' ? { kind: 'regex', value: match.value } : { ...match, kind: match.kind };
}

function readStrings(field: Field): Pick<RouteMatch, 'scheme' | 'method' | 'authority'> | 'unusable' {
  const found: { [name in 'scheme' | 'method' | 'authority']?: StringMatch } = {};
  for (const name of ['scheme', 'method', 'authority'] as const) {
    const match = readStringMatch(field.get(name));
    if (match === 'unusable') return 'unusable';
    if (match !== undefined) found[name] = match;
  }
  return found;
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function readPort(field: Field): number | 'unusable' | undefined {
  if (field.absent || field.value === 0) return undefined;
  return field.count(1, 65_535) ?? 'unusable';
}

/** True for a match that every request satisfies: such routes stand last when several objects share a host (Istio's rule). */
export function isCatchAll(match: RouteMatch): boolean {
  const others = Object.keys(match).filter((name) => name !== 'path');
  if (others.length > 0) return false;
  const { path } = match;
  if (path === undefined) return true;
  return (
    (path.kind === 'prefix' && path.value === '/') ||
    (path.kind === 'regex' && (path.value === '.*' || path.value === '*'))
  );
}
