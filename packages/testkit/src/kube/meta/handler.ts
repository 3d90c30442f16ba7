import type { Clock } from '@edgemesh/core';
import { pause } from '../api/faults.ts';
import type { Recorder } from '../api/handler.ts';
import { errorAnswer } from '../api/handler.ts';
import { type ApiObject, isRecord } from '../api/object.ts';
import {
  type ApiAnswer,
  type ApiRequest,
  isTrue,
  numberParam,
  parseResourcePath,
  type RequestInfo,
  splitUrl,
} from '../api/request.ts';
import { fieldMatcher, type Matcher, parseFieldTerms, parseLabelSelector } from '../api/selectors.ts';
import { internalError, notAcceptable, notFound, unavailable } from '../api/status.ts';
import { CLOUDCORE_USER, type Cloudcore } from './cloudcore.ts';
import type { EdgeStore } from './edge-store.ts';
import type { EdgeWatches } from './edge-watches.ts';
import type { Link } from './link.ts';
import { localList } from './local-list.ts';
import type { OdditySwitches } from './oddities.ts';
import { encodeUnknown } from './protobuf.ts';
import { rewriteKubernetesSlice, rewriteSlice } from './slices.ts';

export interface MetaHandlerContext {
  readonly core: Cloudcore;
  readonly store: EdgeStore;
  readonly link: Link;
  readonly watches: EdgeWatches;
  readonly odd: OdditySwitches;
  readonly clock: Clock;
  readonly stallMs: number;
  readonly busyStalls: number;
  readonly wireFactor: number;
  readonly watchTimeoutMs: number;
  /** Bandwidth of the link, bytes per second; undefined = unlimited. */
  readonly bandwidth: () => number | undefined;
}

type BodyAnswer = Extract<ApiAnswer, { body: unknown }>;

/** Answers requests the way the metaServer of edgecore does. Never rejects. */
export function createMetaHandler(
  context: MetaHandlerContext,
  record: Recorder,
): (request: ApiRequest) => Promise<ApiAnswer> {
  const documents = new Map<string, BodyAnswer>();
  return async (request) => {
    let finish: ((status: number) => void) | undefined;
    let answer: ApiAnswer;
    try {
      const plain = { ...request, url: withoutWatchSegment(request.url, context.odd) };
      const { path, query } = splitUrl(plain.url);
      const info = parseResourcePath(request.method, path, query);
      finish = record(request, info);
      answer = await respond(context, documents, plain, { path, query, info });
    } catch (error) {
      answer = errorAnswer(error);
    }
    finish?.(answer.status);
    return answer;
  };
}

/** `/api/v1/watch/services` is read as `/api/v1/services`. */
function withoutWatchSegment(url: string, odd: OdditySwitches): string {
  return odd.deprecatedWatchIsList ? url.replace(/^(\/api\/[^/]+|\/apis\/[^/]+\/[^/]+)\/watch\//, '$1/') : url;
}

interface Parsed {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly info: RequestInfo | undefined;
}

async function respond(
  context: MetaHandlerContext,
  documents: Map<string, BodyAnswer>,
  request: ApiRequest,
  parsed: Parsed,
): Promise<ApiAnswer> {
  const { info, query } = parsed;
  if (!acceptsJson(request.headers.accept)) throw notAcceptable();
  if (!info) return document(context, documents, request, parsed.path);
  switch (info.verb) {
    case 'list':
      return list(context, request, info, query);
    case 'get':
      return get(context, request, info);
    case 'watch':
      return watch(context, request, info, query);
    default:
      return (
        (await ask(context, request)) ?? errorAnswer(internalError('connection lost between EdgeCore and CloudCore'))
      );
  }
}

function acceptsJson(accept: string | undefined): boolean {
  return accept === undefined || accept.trim() === '' || /json|yaml|\*\/\*|application\/\*/.test(accept);
}

/** Asks the cloud; undefined after a failure to reach it, which may have taken its time. */
async function ask(context: MetaHandlerContext, request: ApiRequest): Promise<BodyAnswer | undefined> {
  const { core, link, clock, stallMs } = context;
  if (!link.connected) {
    if (link.takesStall()) await pause(clock, stallMs, request.signal);
    return undefined;
  }
  if (core.frozen || core.busy) {
    await pause(clock, stallMs, request.signal);
    return undefined;
  }
  const began = clock.now();
  const given = new AbortController();
  const signal = AbortSignal.any([request.signal, given.signal]);
  const { accept, 'content-type': type } = request.headers;
  const forwarded = { ...request, headers: { accept, 'content-type': type }, user: CLOUDCORE_USER, signal };
  const answer = await Promise.race([core.cloud.handle(forwarded), pause(clock, stallMs, signal)]);
  given.abort();
  if (!answer || !('body' in answer)) return undefined;
  const bandwidth = context.bandwidth();
  if (bandwidth === undefined) return answer;
  const takes = (Buffer.byteLength(answer.body) * context.wireFactor * 1000) / bandwidth;
  const left = stallMs - (clock.now() - began);
  await pause(clock, Math.min(takes, left), request.signal);
  return takes > left ? undefined : answer;
}

async function list(
  context: MetaHandlerContext,
  request: ApiRequest,
  info: RequestInfo,
  query: URLSearchParams,
): Promise<ApiAnswer> {
  const { odd, core, store } = context;
  parseLabelSelector(query.get('labelSelector') ?? '');
  if (odd.badRevisionBlocksCloudcore && context.link.connected && impossibleRevision(context, query)) {
    core.occupy(context.stallMs * context.busyStalls);
  }
  const answer = await ask(context, request);
  if (answer?.status === 200) return odd.endpointSliceRewrite ? withRewrittenSlices(answer, info) : answer;
  const missing = answer?.status === 404 && !odd.unknownKindsListEmpty;
  if (answer && (missing || !odd.localFallback)) return answer;
  if (!odd.localFallback) return errorAnswer(unavailable('the cloud cannot be reached'));
  const found = localList(store, info, query, { odd, kinds: core.cloud.kinds });
  const body = { status: 200, headers: JSON_TYPE, body: JSON.stringify(found) };
  return odd.endpointSliceRewrite ? withRewrittenSlices(body, info) : body;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** Future revisions, and exact ones that are compacted: cloudcore waits for them in vain. */
function impossibleRevision({ core }: MetaHandlerContext, query: URLSearchParams): boolean {
  const asked = Number(query.get('resourceVersion') ?? 0);
  const { revision, compacted } = core.cloud.store;
  return asked > revision || (query.get('resourceVersionMatch') === 'Exact' && asked < compacted);
}

function withRewrittenSlices(answer: BodyAnswer, info: RequestInfo): BodyAnswer {
  if (info.group !== 'discovery.k8s.io' || info.resource !== 'endpointslices') return answer;
  const body = parseJson(answer);
  if (!body || !Array.isArray(body.items)) return answer;
  return { ...answer, body: JSON.stringify({ ...body, items: body.items.map(rewriteSlice) }) };
}

function parseJson(answer: BodyAnswer): Record<string, unknown> | undefined {
  if (!answer.headers?.['content-type']?.includes('json')) return undefined;
  const value: unknown = JSON.parse(Buffer.from(answer.body as string).toString());
  return isRecord(value) ? value : undefined;
}

async function get(context: MetaHandlerContext, request: ApiRequest, info: RequestInfo): Promise<ApiAnswer> {
  const { odd, store } = context;
  const gvr = { group: info.group, version: info.version, resource: info.resource };
  const answer = await ask(context, request);
  if (answer?.status === 200) {
    const object = parseJson(answer);
    if (!object || object.kind === 'PartialObjectMetadata') return answer;
    store.put(gvr, object as unknown as ApiObject);
    return { ...answer, body: JSON.stringify(rewriteKubernetesSlice(object, odd)) };
  }
  const row =
    answer?.status === 404 && !odd.ghostsAnswerGets ? undefined : store.get(gvr, info.namespace, info.name as string);
  if (row) return { status: 200, headers: JSON_TYPE, body: JSON.stringify(rewriteKubernetesSlice(row, odd)) };
  return answer?.status === 404
    ? answer
    : errorAnswer(notFound({ group: info.group, resource: info.resource, name: info.name as string }));
}

async function watch(
  context: MetaHandlerContext,
  request: ApiRequest,
  info: RequestInfo,
  query: URLSearchParams,
): Promise<ApiAnswer> {
  const { link, core, clock, stallMs, odd } = context;
  const revision = query.get('resourceVersion') ?? '';
  if (revision !== '' && !/^\d+$/.test(revision))
    throw internalError(`strconv.ParseUint: parsing ${JSON.stringify(revision)}: invalid syntax`);
  const matches = selection(info, query);
  const seconds = numberParam(query, 'timeoutSeconds');
  const stalls = link.silentlyLost ? odd.silentLossStallsEveryList : link.connected && (core.frozen || core.busy);
  if (stalls) await pause(clock, stallMs, request.signal);
  const plan = {
    id: request.url,
    url: request.url,
    gvr: { group: info.group, version: info.version, resource: info.resource },
    matches,
    fromRevision: Number(revision),
    bookmarks: isTrue(query.get('allowWatchBookmarks')),
    initialEventsEnd: isTrue(query.get('sendInitialEvents')),
    timeoutMs: seconds ? seconds * 1000 : context.watchTimeoutMs,
  };
  return { status: 200, headers: JSON_TYPE, stream: (sink) => context.watches.run(plan, sink) };
}

function selection(info: RequestInfo, query: URLSearchParams): Matcher {
  const labels = parseLabelSelector(query.get('labelSelector') ?? '');
  const terms = parseFieldTerms(query.get('fieldSelector') ?? '');
  const fields = fieldMatcher(
    terms,
    terms.map((term) => term.field),
  );
  const { namespace, name } = info;
  return (object) => {
    const metadata = object.metadata as { readonly name?: string; readonly namespace?: string };
    return (
      (namespace === undefined || metadata.namespace === namespace) &&
      (name === undefined || metadata.name === name) &&
      labels(object) &&
      fields(object)
    );
  };
}

/** Paths without a resource: from the cloud, else the last answer. */
async function document(
  context: MetaHandlerContext,
  documents: Map<string, BodyAnswer>,
  request: ApiRequest,
  path: string,
): Promise<ApiAnswer> {
  const answer = await ask(context, request);
  if (answer && answer.status < 500) {
    const body = answer.status === 200 ? parseJson(answer) : undefined;
    const discovery = context.odd.protobufDiscovery && body !== undefined && /^\/apis?(\/|$)/.test(path);
    const shown = discovery
      ? { ...answer, body: encodeUnknown('v1', String(body.kind), Buffer.from(answer.body as string).toString()) }
      : answer;
    if (answer.status === 200) documents.set(path, shown);
    return shown;
  }
  const last = documents.get(path);
  if (last) return last;
  if (!context.odd.plainTextErrors) return errorAnswer(unavailable('the cloud cannot be reached'));
  return { status: 500, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: '"" not found' };
}
