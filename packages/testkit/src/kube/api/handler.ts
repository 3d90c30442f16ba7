import { parse as parseYaml, stringify as stringifyYaml } from 'yaml';
import type { Access } from './access.ts';
import { discoveryDocument } from './discovery-documents.ts';
import type { FaultInjector } from './faults.ts';
import type { KindRegistry, KindSpec } from './kinds.ts';
import { type ListContext, listPage, selectionOf } from './list.ts';
import { isRecord, type Manifest } from './object.ts';
import { renderList, renderObject } from './render.ts';
import { type ApiAnswer, type ApiRequest, parseResourcePath, type RequestInfo, splitUrl } from './request.ts';
import {
  ApiError,
  badRequest,
  deletedStatus,
  internalError,
  methodNotAllowed,
  notAcceptable,
  notFound,
  tooLargeRevision,
  unknownResource,
  unsupportedMediaType,
} from './status.ts';
import { planWatch, runWatch, type WatchContext } from './watch.ts';
import type { WritePart, Writer } from './write.ts';

/** Everything a request may touch. */
export interface HandlerContext {
  readonly kinds: KindRegistry;
  readonly list: ListContext;
  readonly watch: WatchContext;
  readonly writer: Writer;
  readonly access: Access;
  readonly faults: FaultInjector;
  readonly gitVersion: string;
}

/** What was asked and how it went, told once the headers are decided. */
export type Recorder = (request: ApiRequest, info: RequestInfo | undefined) => (status: number) => void;

/** Answers requests the way the API server does. Never rejects. */
export function createHandler(context: HandlerContext, record: Recorder): (request: ApiRequest) => Promise<ApiAnswer> {
  return async (request) => {
    let finish: ((status: number) => void) | undefined;
    let answer: ApiAnswer;
    try {
      const { path, query } = splitUrl(request.url);
      const info = parseResourcePath(request.method, path, query);
      finish = record(request, info);
      answer = (await context.faults.apply(request, info)) ?? (await respond(context, request, { path, query, info }));
    } catch (error) {
      answer = errorAnswer(error);
    }
    finish?.(answer.status);
    return answer;
  };
}

interface Parsed {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly info: RequestInfo | undefined;
}

async function respond(context: HandlerContext, request: ApiRequest, parsed: Parsed): Promise<ApiAnswer> {
  const { path, query, info } = parsed;
  if (path === '/healthz' || path === '/readyz' || path === '/livez')
    return { status: 200, headers: { 'content-type': 'text/plain' }, body: 'ok' };
  const user = request.user ?? context.access.authenticate(request.headers.authorization);
  const format = negotiate(request.headers.accept);
  if (!info) {
    if (path === '/version')
      return encode(200, { major: '1', minor: '36', gitVersion: context.gitVersion, platform: 'linux/amd64' }, format);
    const document = discoveryDocument(path, context.kinds.all);
    if (document) return encode(200, document, format);
    throw unknownResource();
  }
  context.access.authorize(user, info);
  const kind = context.kinds.byResource(info.group, info.version, info.resource);
  if (!kind) throw unknownResource();
  if (kind.namespaced && info.name !== undefined && info.namespace === undefined && info.verb !== 'watch')
    throw unknownResource();
  if (!kind.namespaced && info.namespace !== undefined) throw unknownResource();
  if (info.subresource !== undefined && !(info.subresource === 'status' && kind.status)) throw unknownResource();
  return isRead(info) ? read(context, kind, info, query, format) : write(context, kind, info, request, format);
}

const isRead = (info: RequestInfo) => info.verb === 'get' || info.verb === 'list' || info.verb === 'watch';

async function read(
  context: HandlerContext,
  kind: KindSpec,
  info: RequestInfo,
  query: URLSearchParams,
  format: Format,
): Promise<ApiAnswer> {
  if (info.verb === 'get') {
    const object = context.list.store.get(kind, info.namespace, info.name as string);
    if (!object) throw notFound({ group: kind.group, resource: kind.plural, name: info.name as string });
    return encode(200, renderObject(object, kind, info.version), format);
  }
  const matches = selectionOf(info, kind, query);
  if (info.verb === 'list') {
    const page = await listPage(context.list, kind, matches, query);
    return encode(200, renderList(page.items, kind, info.version, page.metadata), format);
  }
  const plan = planWatch(info, kind, query, matches);
  const { list, watch } = context;
  if (plan.sendInitialEvents && plan.notOlderThan > list.cacheRevision()) {
    await list.waitForRevision(plan.notOlderThan);
    if (plan.notOlderThan > list.cacheRevision()) throw tooLargeRevision(plan.notOlderThan, list.cacheRevision());
  }
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    stream: (sink) => runWatch(watch, plan, sink),
  };
}

function write(
  context: HandlerContext,
  kind: KindSpec,
  info: RequestInfo,
  request: ApiRequest,
  format: Format,
): ApiAnswer {
  const { writer } = context;
  const part: WritePart = info.subresource === 'status' ? 'status' : 'main';
  const key = { namespace: info.namespace, name: info.name as string };
  switch (info.verb) {
    case 'create': {
      if (info.name !== undefined) throw methodNotAllowed();
      const created = writer.create(kind, info.namespace, bodyManifest(request, kind, info));
      return encode(201, renderObject(created, kind, info.version), format);
    }
    case 'update':
      if (info.name === undefined) throw methodNotAllowed();
      return encode(
        200,
        renderObject(writer.update(kind, key, bodyManifest(request, kind, info), part), kind, info.version),
        format,
      );
    case 'patch':
      if (info.name === undefined) throw methodNotAllowed();
      return encode(200, renderObject(writer.patch(kind, key, bodyPatch(request), part), kind, info.version), format);
    case 'delete': {
      const removed = writer.remove(kind, key);
      const subject = { group: kind.group, resource: kind.plural, name: key.name };
      return encode(200, deletedStatus(subject, removed.metadata.uid), format);
    }
    default: {
      const matches = selectionOf(info, kind, splitUrl(request.url).query);
      const doomed = context.list.store.list(kind).filter(matches);
      for (const object of doomed)
        writer.remove(kind, { namespace: object.metadata.namespace, name: object.metadata.name });
      const metadata = { resourceVersion: String(context.list.store.revision) };
      return encode(200, renderList(doomed, kind, info.version, metadata), format);
    }
  }
}

function bodyManifest(request: ApiRequest, kind: KindSpec, info: RequestInfo): Manifest {
  const body = parseBody(request, ['application/json', 'application/yaml']);
  if (!isRecord(body)) throw badRequest('the object provided is unrecognized: must be an object');
  const { apiVersion, kind: name, metadata } = body;
  if (name !== undefined && (name !== kind.kind || apiVersion !== renderedVersion(info))) {
    throw badRequest(
      `the API version in the data (${String(apiVersion)}, kind ${String(name)}) does not match the expected API version (${renderedVersion(info)}, kind ${kind.kind})`,
    );
  }
  return { ...body, apiVersion: renderedVersion(info), kind: kind.kind, metadata: isRecord(metadata) ? metadata : {} };
}

const renderedVersion = (info: RequestInfo) => (info.group === '' ? info.version : `${info.group}/${info.version}`);

const PATCH_TYPES = ['application/merge-patch+json', 'application/strategic-merge-patch+json'];

function bodyPatch(request: ApiRequest): Record<string, unknown> {
  const body = parseBody(request, PATCH_TYPES);
  if (!isRecord(body)) throw badRequest('a merge patch must be an object');
  return body;
}

function parseBody(request: ApiRequest, types: readonly string[]): unknown {
  const type = (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim() ?? '';
  if (!types.includes(type)) throw unsupportedMediaType(types.join(', '));
  try {
    return type === 'application/yaml' ? parseYaml(request.body ?? '') : JSON.parse(request.body ?? '');
  } catch (cause) {
    throw badRequest(
      `couldn't get version/kind; json parse error: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
}

/** How answers are written: JSON or YAML, whole or metadata only. */
type Format = 'json' | 'yaml' | 'metadata';

function negotiate(accept: string | undefined): Format {
  if (accept === undefined || accept.trim() === '') return 'json';
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const as = parameters.find((parameter) => parameter.startsWith('as='))?.slice(3);
    const json = type === 'application/json' || type === '*/*' || type === 'application/*';
    if (json && as === undefined) return 'json';
    if (json && as?.startsWith('PartialObjectMetadata')) return 'metadata';
    if (type === 'application/yaml' && as === undefined) return 'yaml';
  }
  throw notAcceptable();
}

function encode(status: number, body: object, format: Format): ApiAnswer {
  if (format === 'yaml') return { status, headers: { 'content-type': 'application/yaml' }, body: stringifyYaml(body) };
  const shown = format === 'metadata' ? metadataOnly(body as Record<string, unknown>) : body;
  return { status, headers: { 'content-type': 'application/json' }, body: `${JSON.stringify(shown)}\n` };
}

function metadataOnly(body: Record<string, unknown>): Record<string, unknown> {
  const apiVersion = 'meta.k8s.io/v1';
  const partial = (object: Record<string, unknown>) => ({
    kind: 'PartialObjectMetadata',
    apiVersion,
    metadata: object.metadata,
  });
  const { items, metadata } = body;
  if (!Array.isArray(items)) return partial(body);
  return {
    kind: 'PartialObjectMetadataList',
    apiVersion,
    metadata,
    items: items.map((item: Record<string, unknown>) => partial(item)),
  };
}

/** The answer of anything thrown. */
export function errorAnswer(error: unknown): ApiAnswer {
  const { status } =
    error instanceof ApiError ? error : internalError(error instanceof Error ? error.message : String(error));
  return {
    status: status.code ?? 500,
    headers: { 'content-type': 'application/json' },
    body: `${JSON.stringify(status)}\n`,
  };
}
