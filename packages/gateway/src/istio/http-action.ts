import type {
  ForwardAction,
  Mirror,
  PathRewrite,
  RedirectAction,
  RespondAction,
  Rewrite,
  RouteAction,
  WeightedBackend,
} from '@edgemesh/proxy-http';
import type { CompileContext } from '../common/context.ts';
import type { Field } from '../read/field.ts';
import { readCluster } from './destination.ts';
import { type HeaderChanges, readHeaders } from './headers.ts';
import { readPercentage, readRetries } from './http-policies.ts';
import { isRegex } from './string-match.ts';

/** What an HTTPRoute does. Undefined, and reported, where it does nothing. */
export function readAction(
  http: Field,
  headers: HeaderChanges,
  namespace: string,
  context: CompileContext,
): RouteAction | undefined {
  const kinds = (['redirect', 'directResponse', 'route'] as const).filter((name) => !http.get(name).absent);
  const [kind] = kinds;
  if (kinds.length > 1) http.complain(`only one of ${kinds.join(', ')} can be done; ${kind} is`);
  if (kind === 'redirect') return readRedirect(http.get('redirect'));
  if (kind === 'directResponse') return readDirectResponse(http.get('directResponse'));
  if (kind === 'route') return readForward(http, headers, namespace, context);
  http.complain('does nothing: there is no route, redirect or directResponse');
  return undefined;
}

function readRedirect(field: Field): RedirectAction {
  field.only(['uri', 'authority', 'port', 'derivePort', 'scheme', 'redirectCode']);
  const uri = field.get('uri').name();
  const host = field.get('authority').name();
  const scheme = field.get('scheme').oneOf(['http', 'https']);
  const code = field.get('redirectCode').count(300, 399) ?? 301;
  const status = ([301, 302, 303, 307, 308] as const).find((known) => known === code);
  if (status === undefined) field.get('redirectCode').complain('must be 301, 302, 303, 307 or 308');
  const derived = field.get('derivePort').oneOf(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']);
  const port =
    field.get('port').count(1, 65_535) ??
    (derived === undefined ? undefined : derived === 'FROM_REQUEST_PORT' ? ('request' as const) : ('scheme' as const));
  const prefix = uri?.startsWith('%PREFIX()%') === true;
  return {
    kind: 'redirect',
    status: status ?? 301,
    ...(uri !== undefined && {
      path: prefix ? { kind: 'prefix', value: uri.slice('%PREFIX()%'.length) } : { kind: 'full', value: uri },
    }),
    ...(host !== undefined && { host }),
    ...(scheme && { scheme }),
    ...(port !== undefined && { port }),
  };
}

function readDirectResponse(field: Field): RespondAction | undefined {
  field.only(['status', 'body']);
  const status = field.get('status').count(200, 599);
  if (status === undefined) {
    field.get('status').complain('is required');
    return undefined;
  }
  field.get('body').only(['string', 'bytes']);
  const bytes = field.get('body').get('bytes').text();
  const body = field.get('body').get('string').text() ?? (bytes && Buffer.from(bytes, 'base64').toString('utf8'));
  return { kind: 'respond', status, ...(body !== undefined && { body }) };
}

function readForward(http: Field, headers: HeaderChanges, namespace: string, context: CompileContext): ForwardAction {
  const backends = readBackends(http.get('route'), namespace, context);
  const rewrite = readRewrite(http.get('rewrite'), headers.host);
  const timeoutMs = http.get('timeout').durationMs();
  const retries = readRetries(http.get('retries'));
  const mirrors = readMirrors(http, namespace, context);
  return {
    kind: 'forward',
    backends,
    ...(rewrite && { rewrite }),
    ...(timeoutMs ? { timeoutMs } : {}),
    ...(retries && { retries }),
    ...(mirrors.length > 0 && { mirrors }),
  };
}

/** A Service that is not there answers 503, as in Istio. */
function readBackends(field: Field, namespace: string, context: CompileContext): WeightedBackend[] {
  const items = field.items();
  const unweighted = items.every((item) => item.get('weight').absent);
  if (unweighted && items.length > 1) field.complain('no destination has a weight: they share equally');
  return items.map((item) => {
    item.only(['destination', 'weight', 'headers']);
    const { requestHeaders, responseHeaders, host } = readHeaders(item.get('headers'));
    if (host !== undefined) item.get('headers').complain('Host can be set for the whole route only');
    const cluster = readCluster(item.get('destination'), namespace, context);
    return {
      weight: unweighted ? 1 : (item.get('weight').count(0, 1_000_000) ?? 0),
      invalidStatus: 503,
      ...(cluster && { cluster }),
      ...(requestHeaders && { requestHeaders }),
      ...(responseHeaders && { responseHeaders }),
    };
  });
}

function readRewrite(field: Field, hostOfHeaders: string | undefined): Rewrite | undefined {
  field.isObject();
  field.only(['uri', 'authority', 'uriRegexRewrite']);
  const host = field.get('authority').name() ?? hostOfHeaders;
  const uri = field.get('uri').name();
  const path: PathRewrite | undefined =
    uri === undefined ? readRegexRewrite(field.get('uriRegexRewrite')) : { kind: 'prefix', value: uri };
  if (host === undefined && path === undefined) return undefined;
  return { ...(path && { path }), ...(host !== undefined && { host }) };
}

function readRegexRewrite(field: Field): PathRewrite | undefined {
  if (!field.isObject()) return undefined;
  field.only(['match', 'rewrite']);
  const pattern = field.get('match').name();
  if (pattern === undefined || !isRegex(field.get('match'), pattern)) return undefined;
  return { kind: 'regex', pattern, substitution: field.get('rewrite').text() ?? '' };
}

/** `mirror` with its three spellings of a share, and `mirrors`. */
function readMirrors(http: Field, namespace: string, context: CompileContext): Mirror[] {
  const mirrors: Mirror[] = [];
  const add = (destination: Field, percent: number) => {
    const cluster = readCluster(destination, namespace, context);
    if (cluster !== undefined) mirrors.push({ cluster, percent });
  };
  if (!http.get('mirror').absent) {
    const older = http.get('mirrorPercent').number(0, 100) ?? http.get('mirror_percent').number(0, 100);
    add(http.get('mirror'), readPercentage(http.get('mirrorPercentage')) ?? older ?? 100);
  }
  for (const item of http.get('mirrors').items()) {
    item.only(['destination', 'percentage']);
    add(item.get('destination'), readPercentage(item.get('percentage')) ?? 100);
  }
  return mirrors;
}
