import type { KindSpec } from './kinds.ts';
import type { ApiObject } from './object.ts';
import type { ListMetadata } from './render.ts';
import { isTrue, numberParam, type RequestInfo } from './request.ts';
import { fieldMatcher, type Matcher, parseFieldTerms, parseLabelSelector } from './selectors.ts';
import { badRequest, expired, invalid, type StatusCause, tooLargeRevision } from './status.ts';
import type { Store } from './store.ts';

/** What selects objects: namespace, labels, fields. */
export function selectionOf(info: RequestInfo, kind: KindSpec, query: URLSearchParams): Matcher {
  const labels = parseLabelSelector(query.get('labelSelector') ?? '');
  const fields = fieldMatcher(parseFieldTerms(query.get('fieldSelector') ?? ''), kind.fieldSelectors);
  const { namespace, name } = info;
  return (object) => {
    const metadata = object.metadata as { readonly name?: string; readonly namespace?: string };
    if (namespace !== undefined && metadata.namespace !== namespace) return false;
    if (name !== undefined && metadata.name !== name) return false;
    return labels(object) && fields(object);
  };
}

/** How lists behave beyond the request: revisions to wait for, and the cache that `resourceVersion=0` reads. */
export interface ListContext {
  readonly store: Store;
  /** The revision of the watch cache; behind the store's while the cache is frozen. */
  cacheRevision(): number;
  /** Resolves when the cache has reached a revision, or after the time it may take. */
  waitForRevision(revision: number): Promise<void>;
  /** Counts up when continue tokens are expired by hand. */
  tokenEpoch(): number;
}

/** Where a walk of pages stands. */
interface ContinueToken {
  /** Revision of the whole walk; -1 continues with whatever is now (an inconsistent walk). */
  readonly rv: number;
  /** `namespace/name` of the last object handed out. */
  readonly start: string;
  readonly epoch: number;
}

/** One page of objects and its metadata. */
export interface Page {
  readonly items: readonly ApiObject[];
  readonly metadata: ListMetadata;
}

/** Lists a kind after `resourceVersion`, `resourceVersionMatch`, `limit` and `continue`, as the API server's table has it. */
export async function listPage(
  context: ListContext,
  kind: KindSpec,
  matches: Matcher,
  query: URLSearchParams,
): Promise<Page> {
  checkListOptions(query);
  const limit = numberParam(query, 'limit') ?? 0;
  const token = query.get('continue');
  if (token) return continuedPage(context, kind, matches, limit, decodeToken(token));
  const plan = await revisionOfList(context, query, limit);
  const objects = context.store.list(kind, plan.revision).filter(matches);
  return cut(objects, plan.ignoreLimit ? 0 : limit, plan.revision ?? context.store.revision, context.tokenEpoch());
}

interface RevisionPlan {
  /** State to list; undefined = the latest. */
  readonly revision: number | undefined;
  /** A list out of the cache is never paged. */
  readonly ignoreLimit: boolean;
}

async function revisionOfList(context: ListContext, query: URLSearchParams, limit: number): Promise<RevisionPlan> {
  const asked = numberParam(query, 'resourceVersion');
  if (asked === undefined) return { revision: undefined, ignoreLimit: false };
  const match = query.get('resourceVersionMatch') ?? '';
  const cached = () => {
    const revision = context.cacheRevision();
    return revision === context.store.revision ? undefined : revision;
  };
  if (asked === 0) return { revision: cached(), ignoreLimit: true };
  const exact = match === 'Exact' || (match === '' && limit > 0);
  if (exact) {
    if (asked > context.store.revision) throw tooLargeRevision(asked, context.store.revision);
    if (asked < context.store.compacted)
      throw expired(`The provided resource version is too old: ${asked} (${context.store.compacted})`);
    return { revision: asked, ignoreLimit: false };
  }
  if (asked > context.cacheRevision()) await context.waitForRevision(asked);
  if (asked > context.cacheRevision()) throw tooLargeRevision(asked, context.cacheRevision());
  return { revision: cached(), ignoreLimit: limit === 0 };
}

function checkListOptions(query: URLSearchParams): void {
  const causes: StatusCause[] = [];
  const match = query.get('resourceVersionMatch') ?? '';
  const version = query.get('resourceVersion') ?? '';
  const refuse = (field: string, message: string) =>
    causes.push({ reason: 'FieldValueForbidden', field, message: `Forbidden: ${message}` });
  if (match !== '') {
    if (version === '')
      refuse('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided');
    if (query.get('continue'))
      refuse('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided');
    if (match !== 'Exact' && match !== 'NotOlderThan') {
      causes.push({
        reason: 'FieldValueNotSupported',
        field: 'resourceVersionMatch',
        message: `Unsupported value: "${match}": supported values: "Exact", "NotOlderThan", ""`,
      });
    }
    if (match === 'Exact' && version === '0')
      refuse('resourceVersionMatch', 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
  if (isTrue(query.get('sendInitialEvents'))) refuse('sendInitialEvents', 'sendInitialEvents is forbidden for list');
  if (causes.length > 0) throw invalid({ group: 'meta.k8s.io', resource: 'ListOptions' }, causes);
  if (query.get('continue') && version !== '' && version !== '0') {
    throw badRequest('specifying resource version is not allowed when using continue');
  }
}

function continuedPage(
  context: ListContext,
  kind: KindSpec,
  matches: Matcher,
  limit: number,
  token: ContinueToken,
): Page {
  const { store } = context;
  const epoch = context.tokenEpoch();
  const inconsistent = token.rv === -1;
  if (!inconsistent && (token.rv < store.compacted || token.epoch !== epoch)) throw expiredToken(token, epoch);
  const revision = inconsistent ? store.revision : token.rv;
  const rest = store.list(kind, revision).filter((object) => positionOf(object) > token.start && matches(object));
  return cut(rest, limit, revision, epoch);
}

function expiredToken(token: ContinueToken, epoch: number) {
  const message =
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, ' +
    'or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - ' +
    'objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';
  return expired(message, { continue: encodeToken({ rv: -1, start: token.start, epoch }) });
}

function cut(objects: ApiObject[], limit: number, revision: number, epoch: number): Page {
  const resourceVersion = String(revision);
  if (limit === 0 || objects.length <= limit) return { items: objects, metadata: { resourceVersion } };
  const items = objects.slice(0, limit);
  const token = encodeToken({ rv: revision, start: positionOf(items.at(-1) as ApiObject), epoch });
  return { items, metadata: { resourceVersion, continue: token, remainingItemCount: objects.length - limit } };
}

const positionOf = (object: ApiObject) => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;

function encodeToken(token: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', ...token })).toString('base64url');
}

function decodeToken(text: string): ContinueToken {
  const refuse = (why: string) => badRequest(`continue key is not valid: ${why}`);
  let token: Partial<ContinueToken>;
  try {
    token = JSON.parse(Buffer.from(text, 'base64url').toString()) as Partial<ContinueToken>;
  } catch {
    throw refuse('illegal base64 data or JSON');
  }
  if (typeof token?.rv !== 'number' || typeof token.start !== 'string')
    throw refuse('incorrect encoded start of token');
  return { rv: token.rv, start: token.start, epoch: typeof token.epoch === 'number' ? token.epoch : 0 };
}
