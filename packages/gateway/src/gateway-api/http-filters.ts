import type {
  CorsPolicy,
  HeaderField,
  HeaderOps,
  Mirror,
  PathRewrite,
  RedirectAction,
  Rewrite,
  StringMatch,
} from '@edgemesh/proxy-http';
import { isUsable } from '../istio/headers.ts';
import type { Field } from '../read/field.ts';
import { type BackendWork, readCluster } from './backend.ts';

/** What the filters of a rule or a backend ask for. */
export interface Filters {
  readonly requestHeaders?: HeaderOps;
  readonly responseHeaders?: HeaderOps;
  readonly redirect?: RedirectAction;
  readonly rewrite?: Rewrite;
  readonly mirrors: readonly Mirror[];
  readonly cors?: CorsPolicy;
  /** A filter that must not be skipped is unknown: requests are answered with 500. */
  readonly unsupported?: string;
}

/** The field that holds what a filter of a type needs. */
const FIELD_OF: Readonly<Record<string, string>> = {
  RequestHeaderModifier: 'requestHeaderModifier',
  ResponseHeaderModifier: 'responseHeaderModifier',
  RequestRedirect: 'requestRedirect',
  URLRewrite: 'urlRewrite',
  RequestMirror: 'requestMirror',
  CORS: 'cors',
};

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Reads the filters; an unknown one makes the whole list unsupported, as the specification wants it. */
export function readFilters(field: Field, work: BackendWork): Filters {
  const found: Writable<Filters> & { mirrors: Mirror[] } = { mirrors: [] };
  for (const filter of field.items()) {
    const type = filter.get('type').name() ?? '';
    filter.only(['type', FIELD_OF[type] ?? '', 'extensionRef']);
    switch (type) {
      case 'RequestHeaderModifier':
        found.requestHeaders = readOps(filter.get('requestHeaderModifier'));
        break;
      case 'ResponseHeaderModifier':
        found.responseHeaders = readOps(filter.get('responseHeaderModifier'));
        break;
      case 'RequestRedirect':
        found.redirect = readRedirect(filter.get('requestRedirect'));
        break;
      case 'URLRewrite':
        found.rewrite = readRewrite(filter.get('urlRewrite'));
        break;
      case 'RequestMirror':
        found.mirrors.push(...readMirror(filter.get('requestMirror'), work));
        break;
      case 'CORS':
        found.cors = readCors(filter.get('cors'));
        break;
      default:
        filter.complain(`filter ${type.slice(0, 40)} is not supported: requests are answered with 500`);
        found.unsupported = `filter ${type.slice(0, 40)} is not supported`;
    }
  }
  return found;
}

function readOps(field: Field): HeaderOps {
  field.only(['set', 'add', 'remove']);
  const pairs = (name: 'set' | 'add'): HeaderField[] =>
    field
      .get(name)
      .items()
      .flatMap((item) => {
        item.only(['name', 'value']);
        const header = item.get('name').name()?.toLowerCase();
        const value = item.get('value').text();
        return header !== undefined && value !== undefined && isUsable(header, value, item)
          ? [[header, value] as const]
          : [];
      });
  const remove = field
    .get('remove')
    .texts()
    .map((name) => name.toLowerCase());
  return { set: pairs('set'), add: pairs('add'), remove };
}

function readRedirect(field: Field): RedirectAction {
  field.only(['scheme', 'hostname', 'path', 'port', 'statusCode']);
  const scheme = field.get('scheme').oneOf(['http', 'https']);
  const host = field.get('hostname').name();
  const port = field.get('port').count(1, 65_535);
  const path = readPathModifier(field.get('path'));
  const code = field.get('statusCode').count(300, 399);
  const status = ([301, 302, 303, 307, 308] as const).find((known) => known === code);
  if (status === undefined && code !== undefined) field.get('statusCode').complain('must be 301, 302, 303, 307 or 308');
  return {
    kind: 'redirect',
    status: status ?? 302,
    ...(scheme && { scheme }),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(path && { path }),
  };
}

function readRewrite(field: Field): Rewrite {
  field.only(['hostname', 'path']);
  const host = field.get('hostname').name();
  const path = readPathModifier(field.get('path'));
  return { ...(host !== undefined && { host }), ...(path && { path }) };
}

function readPathModifier(field: Field): PathRewrite | undefined {
  if (!field.isObject()) return undefined;
  field.only(['type', 'replaceFullPath', 'replacePrefixMatch']);
  const type = field.get('type').oneOf(['ReplaceFullPath', 'ReplacePrefixMatch']);
  if (type === 'ReplaceFullPath') return { kind: 'full', value: field.get('replaceFullPath').text() ?? '/' };
  return type && { kind: 'prefix', value: field.get('replacePrefixMatch').text() ?? '/' };
}

function readMirror(field: Field, work: BackendWork): Mirror[] {
  field.only(['backendRef', 'percent', 'fraction']);
  const cluster = readCluster(field.get('backendRef'), work);
  const fraction = field.get('fraction');
  const numerator = fraction.get('numerator').count(0, 2 ** 31 - 1);
  const denominator = fraction.get('denominator').count(1, 2 ** 31 - 1) ?? 100;
  const share = numerator === undefined ? undefined : Math.min(100, (100 * numerator) / denominator);
  const percent = share ?? field.get('percent').number(0, 100) ?? 100;
  return cluster === undefined ? [] : [{ cluster, percent }];
}

function readCors(field: Field): CorsPolicy {
  const lists = ['allowMethods', 'allowHeaders', 'exposeHeaders'] as const;
  field.only(['allowOrigins', ...lists, 'maxAge', 'allowCredentials']);
  const maxAgeSeconds = field.get('maxAge').count(0, 2 ** 31 - 1);
  return {
    allowOrigins: field.get('allowOrigins').texts().map(originMatch),
    ...Object.fromEntries(
      lists.map((name) => [name, field.get(name).texts()] as const).filter(([, list]) => list.length > 0),
    ),
    ...(maxAgeSeconds !== undefined && { maxAgeSeconds }),
    ...(field.get('allowCredentials').flag() && { allowCredentials: true }),
  };
}

/** `*`, `https://a.example`, `https://*.example`. */
function originMatch(origin: string): StringMatch {
  if (origin === '*') return { kind: 'present' };
  if (!origin.includes('*')) return { kind: 'exact', value: origin };
  const escaped = origin.split('*').map((part) => part.replace(/[\\^$.+?()[\]{}|]/g, '\\$&'));
  return { kind: 'regex', value: escaped.join('[^/]+') };
}
