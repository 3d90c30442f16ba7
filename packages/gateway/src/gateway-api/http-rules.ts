import { type KubeObject, objectKey } from '@edgemesh/core';
import type { RetryPolicy, Route, RouteAction, RouteMatch, WeightedBackend } from '@edgemesh/proxy-http';
import type { Field } from '../read/field.ts';
import { type BackendWork, readCluster } from './backend.ts';
import { type Filters, readFilters } from './http-filters.ts';
import { readGrpcMatches, readHttpMatches } from './http-match.ts';
import type { RankedRoute } from './precedence.ts';

const KNOWN = ['name', 'matches', 'filters', 'backendRefs', 'timeouts', 'retry'];

/** The rules of an HTTPRoute or GRPCRoute: one ranked route per match. Unsupported filters are told to `unsupported`. */
export function readRules(
  owner: KubeObject,
  spec: Field,
  work: BackendWork,
  unsupported: (reason: string) => void,
): RankedRoute[] {
  const rules = spec.get('rules');
  if (rules.absent) return [];
  return rules.items().flatMap((rule, r) => {
    if (!rule.isObject()) return [];
    rule.only(KNOWN);
    const matches: RouteMatch[] = work.kind === 'GRPCRoute' ? readGrpcMatches(rule) : readHttpMatches(rule);
    const filters = readFilters(rule.get('filters'), work);
    if (filters.unsupported !== undefined) unsupported(filters.unsupported);
    const action = actionOf(rule, filters, work);
    const name = `${objectKey(owner.metadata)}/${rule.get('name').name() ?? r}`;
    return matches.map((match, m) => ({
      route: routeOf(name, match, action, filters),
      match,
      owner,
      order: [r, m] as const,
    }));
  });
}

function routeOf(name: string, match: RouteMatch, action: RouteAction, filters: Filters): Route {
  const { requestHeaders, responseHeaders, cors } = filters;
  return {
    name,
    matches: [match],
    action,
    ...(requestHeaders && { requestHeaders }),
    ...(responseHeaders && { responseHeaders }),
    ...(cors && { cors }),
  };
}

function actionOf(rule: Field, filters: Filters, work: BackendWork): RouteAction {
  if (filters.unsupported !== undefined) return { kind: 'respond', status: 500, body: `${filters.unsupported}\n` };
  if (filters.redirect) return filters.redirect;
  const backends = rule
    .get('backendRefs')
    .items()
    .map((ref) => readBackend(ref, work));
  const { timeoutMs, perTryTimeoutMs } = readTimeouts(rule.get('timeouts'));
  const retries = readRetry(rule.get('retry'), perTryTimeoutMs);
  return {
    kind: 'forward',
    backends,
    ...(filters.rewrite && { rewrite: filters.rewrite }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(retries && { retries }),
    ...(filters.mirrors.length > 0 && { mirrors: filters.mirrors }),
  };
}

function readBackend(ref: Field, work: BackendWork): WeightedBackend {
  ref.only(['group', 'kind', 'name', 'namespace', 'port', 'weight', 'filters']);
  const weight = ref.get('weight').count(0, 1_000_000) ?? 1;
  const filters = readFilters(ref.get('filters'), work);
  const beyond = filters.redirect ?? filters.rewrite ?? filters.cors ?? filters.mirrors[0];
  if (beyond !== undefined)
    ref.get('filters').complain('of a backend may change headers only: its share is answered with 500');
  const cluster = readCluster(ref, work);
  if (cluster === undefined || beyond !== undefined || filters.unsupported !== undefined)
    return { weight, invalidStatus: 500 };
  const { requestHeaders, responseHeaders } = filters;
  return { weight, cluster, ...(requestHeaders && { requestHeaders }), ...(responseHeaders && { responseHeaders }) };
}

function readTimeouts(field: Field): { readonly timeoutMs?: number; readonly perTryTimeoutMs?: number } {
  if (!field.isObject()) return {};
  field.only(['request', 'backendRequest']);
  const timeoutMs = field.get('request').durationMs();
  const perTryTimeoutMs = field.get('backendRequest').durationMs();
  return { ...(timeoutMs ? { timeoutMs } : {}), ...(perTryTimeoutMs ? { perTryTimeoutMs } : {}) };
}

/** HTTPRouteRetry (GEP-1731). Without it a backend timeout is one try. */
function readRetry(field: Field, perTryTimeoutMs: number | undefined): RetryPolicy | undefined {
  const perTry = perTryTimeoutMs === undefined ? {} : { perTryTimeoutMs };
  if (!field.isObject()) return perTryTimeoutMs === undefined ? undefined : { attempts: 0, on: [], ...perTry };
  field.only(['codes', 'attempts', 'backoff']);
  const statuses = field
    .get('codes')
    .items()
    .flatMap((item) => item.count(400, 599) ?? []);
  const backoffMs = field.get('backoff').durationMs();
  return {
    attempts: field.get('attempts').count(0, 100) ?? 1,
    on: ['connect-failure', 'refused-stream', 'reset', 'per-try-timeout'],
    ...(statuses.length > 0 && { statuses }),
    ...(backoffMs ? { backoffMs } : {}),
    ...perTry,
  };
}
