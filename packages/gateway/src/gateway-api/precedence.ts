import type { KubeObject } from '@edgemesh/core';
import type { PathMatch, Route, RouteMatch } from '@edgemesh/proxy-http';
import { byAge } from '../read/conditions.ts';

/** One match of one rule, with what decides about its place. */
export interface RankedRoute {
  readonly route: Route;
  readonly match: RouteMatch;
  readonly owner: KubeObject;
  /** Position of the rule in its route, and of the match in its rule. */
  readonly order: readonly [rule: number, match: number];
}

/**
 * The order of HTTPRouteMatch: exact paths, then (our choice for what implementations decide) regular expressions, then the
 * longest prefix; a method; the most headers; the most query parameters; the oldest route; its name; its order.
 */
export function byPrecedence(a: RankedRoute, b: RankedRoute): number {
  return (
    kindRank(b.match.path) - kindRank(a.match.path) ||
    length(b.match.path) - length(a.match.path) ||
    Number(b.match.method !== undefined) - Number(a.match.method !== undefined) ||
    (b.match.headers?.length ?? 0) - (a.match.headers?.length ?? 0) ||
    (b.match.query?.length ?? 0) - (a.match.query?.length ?? 0) ||
    byAge(a.owner, b.owner) ||
    a.order[0] - b.order[0] ||
    a.order[1] - b.order[1]
  );
}

function kindRank(path: PathMatch | undefined): number {
  if (path?.kind === 'exact') return 2;
  return path?.kind === 'regex' ? 1 : 0;
}

function length(path: PathMatch | undefined): number {
  return path?.value.length ?? 0;
}
