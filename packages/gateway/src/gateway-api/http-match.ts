import type { NamedMatch, PathMatch, RouteMatch, StringMatch } from '@edgemesh/proxy-http';
import { isRegex } from '../istio/string-match.ts';
import type { Field } from '../read/field.ts';

const NOTHING = 'is not supported; the match matches nothing';
const ROOT: PathMatch = { kind: 'segments', value: '/' };

/** The matches of a rule; none are one that matches every path. An unusable one matches nothing, and is reported. */
export function readHttpMatches(rule: Field): RouteMatch[] {
  const items = rule.get('matches').items();
  if (items.length === 0)
    return rule.get('matches').absent || Array.isArray(rule.get('matches').value) ? [{ path: ROOT }] : [];
  return items.flatMap((item) => readMatch(item) ?? []);
}

function readMatch(field: Field): RouteMatch | undefined {
  if (!field.isObject() || !field.only(['path', 'headers', 'queryParams', 'method'], NOTHING)) {
    return undefined;
  }
  const path = readPath(field.get('path'));
  const headers = readNamed(field.get('headers'), true);
  const query = readNamed(field.get('queryParams'), false);
  const method = field.get('method').name();
  if (path === undefined || headers === undefined || query === undefined) return undefined;
  return {
    path,
    ...(method !== undefined && { method: { kind: 'exact' as const, value: method } }),
    ...(headers.length > 0 && { headers }),
    ...(query.length > 0 && { query }),
  };
}

function readPath(field: Field): PathMatch | undefined {
  if (!field.isObject()) return field.absent ? ROOT : undefined;
  if (!field.only(['type', 'value'], NOTHING)) return undefined;
  const type = field.get('type').absent
    ? 'PathPrefix'
    : field.get('type').oneOf(['Exact', 'PathPrefix', 'RegularExpression']);
  const value = field.get('value').text() ?? '/';
  if (type === undefined) return undefined;
  if (type === 'RegularExpression') return isRegex(field.get('value'), value) ? { kind: 'regex', value } : undefined;
  if (!value.startsWith('/')) {
    field.get('value').complain('must start with /');
    return undefined;
  }
  return { kind: type === 'Exact' ? 'exact' : 'segments', value };
}

/** HTTPHeaderMatch and HTTPQueryParamMatch: of several with one name the first counts. */
export function readNamed(field: Field, isHeader: boolean): NamedMatch[] | undefined {
  const found = new Map<string, StringMatch>();
  for (const item of field.items()) {
    if (!item.only(['name', 'value', 'type'], NOTHING)) return undefined;
    const written = item.get('name').name();
    const value = item.get('value').text();
    const type = item.get('type').absent ? 'Exact' : item.get('type').oneOf(['Exact', 'RegularExpression']);
    if (written === undefined || value === undefined || type === undefined) {
      item.complain('needs a name and a value; the match matches nothing');
      return undefined;
    }
    if (type === 'RegularExpression' && !isRegex(item.get('value'), value)) return undefined;
    const name = isHeader ? written.toLowerCase() : written;
    if (!found.has(name)) found.set(name, { kind: type === 'Exact' ? 'exact' : 'regex', value });
  }
  return [...found].map(([name, match]) => ({ name, match }));
}

/** GRPCRouteMatch as a match of HTTP: the path is `/service/method`. */
export function readGrpcMatches(rule: Field): RouteMatch[] {
  const items = rule.get('matches').items();
  if (items.length === 0)
    return rule.get('matches').absent || Array.isArray(rule.get('matches').value) ? [{ path: ROOT }] : [];
  return items.flatMap((item) => {
    if (!item.isObject() || !item.only(['method', 'headers'], NOTHING)) return [];
    const path = readGrpcPath(item.get('method'));
    const headers = readNamed(item.get('headers'), true);
    if (path === undefined || headers === undefined) return [];
    return [{ path, ...(headers.length > 0 && { headers }) }];
  });
}

function readGrpcPath(field: Field): PathMatch | undefined {
  if (!field.isObject()) return field.absent ? ROOT : undefined;
  if (!field.only(['type', 'service', 'method'], NOTHING)) return undefined;
  const type = field.get('type').absent ? 'Exact' : field.get('type').oneOf(['Exact', 'RegularExpression']);
  const service = field.get('service').name();
  const method = field.get('method').name();
  if (type === undefined) return undefined;
  if (type === 'Exact') {
    if (service !== undefined && method !== undefined) return { kind: 'exact', value: `/${service}/${method}` };
    if (service !== undefined) return { kind: 'prefix', value: `/${service}/` };
    if (method === undefined) return ROOT;
  }
  const value = `/${service === undefined ? '[^/]+' : `(?:${service})`}/${method === undefined ? '[^/]+' : type === 'Exact' ? escapeRegex(method) : `(?:${method})`}`;
  return isRegex(field, value) ? { kind: 'regex', value } : undefined;
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
