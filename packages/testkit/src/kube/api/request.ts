import { badRequest } from './status.ts';

/** A request, however it came in. Header names are lower case. */
export interface ApiRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: string;
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
  /** Who asks, where that does not come from a bearer token: in-process callers. */
  readonly user?: string;
}

/** An answer: a body, or a stream that a watch writes to. */
export type ApiAnswer =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body: string | Uint8Array }
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly stream: (sink: Sink) => void;
    };

/** The open end of a streamed answer. */
export interface Sink {
  /** Bytes that the client has not taken yet. */
  readonly bufferedBytes: number;
  write(text: string): void;
  /** Ends the answer properly. */
  end(): void;
  /** Breaks the connection; the client sees a cut answer. */
  destroy(): void;
  /** Called once, however the stream ended. */
  onClose(run: () => void): void;
}

/** What a request is about, after the API server's own rules. */
export interface RequestInfo {
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

const VERBS: Record<string, [collection: RequestInfo['verb'], single: RequestInfo['verb']]> = {
  GET: ['list', 'get'],
  HEAD: ['list', 'get'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['deletecollection', 'delete'],
};

/** Splits a resource path; undefined for paths that are not about resources (`/version`, `/apis`, ...). */
export function parseResourcePath(method: string, path: string, query: URLSearchParams): RequestInfo | undefined {
  const parts = decodeParts(path);
  const core = parts[0] === 'api' && parts.length > 2;
  if (!core && !(parts[0] === 'apis' && parts.length > 3)) return undefined;
  const group = core ? '' : (parts[1] as string);
  const version = parts[core ? 1 : 2] as string;
  let rest = parts.slice(core ? 2 : 3);
  const deprecatedWatch = rest[0] === 'watch';
  if (deprecatedWatch) rest = rest.slice(1);
  let namespace: string | undefined;
  if (rest[0] === 'namespaces' && rest.length > 2 && rest[2] !== 'status' && rest[2] !== 'finalize') {
    namespace = rest[1] as string;
    rest = rest.slice(2);
  }
  const [resource, name, subresource] = rest;
  const verbs = VERBS[method];
  if (resource === undefined || verbs === undefined || rest.length > 3) return undefined;
  const verb = deprecatedWatch ? 'watch' : verbs[name === undefined ? 0 : 1];
  return {
    verb: verb === 'list' && isTrue(query.get('watch')) ? 'watch' : verb,
    group,
    version,
    resource,
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
    ...(subresource !== undefined && { subresource }),
  };
}

function decodeParts(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  try {
    return parts.map(decodeURIComponent);
  } catch (cause) {
    throw badRequest(`invalid path ${JSON.stringify(path)}: ${String(cause)}`);
  }
}

/** Booleans of queries, as Go reads them. */
export function isTrue(value: string | null): boolean {
  return value !== null && ['1', 't', 'T', 'true', 'TRUE', 'True', ''].includes(value);
}

/** Path and query of a request's URL. */
export function splitUrl(url: string): { path: string; query: URLSearchParams } {
  const mark = url.indexOf('?');
  return mark < 0
    ? { path: url, query: new URLSearchParams() }
    : { path: url.slice(0, mark), query: new URLSearchParams(url.slice(mark + 1)) };
}

/** A decimal number of a query; undefined when absent. */
export function numberParam(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^\d{1,19}$/.test(text)) {
    throw badRequest(
      `${name}: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
    );
  }
  return Number(text);
}
