import { apiVersionOf, type KindRegistry } from '../api/kinds.ts';
import type { ApiObject } from '../api/object.ts';
import { numberParam, type RequestInfo } from '../api/request.ts';
import { fieldMatcher, parseFieldTerms, parseLabelSelector } from '../api/selectors.ts';
import type { EdgeStore, Gvr } from './edge-store.ts';
import { guessKind } from './guess.ts';
import type { OdditySwitches } from './oddities.ts';

/** A list out of the rows of the edge, in KubeEdge's shape. */
export function localList(
  store: EdgeStore,
  info: RequestInfo,
  query: URLSearchParams,
  context: { readonly odd: OdditySwitches; readonly kinds: KindRegistry },
): Record<string, unknown> {
  const { odd, kinds } = context;
  const gvr: Gvr = { group: info.group, version: info.version, resource: info.resource };
  const items = select(store.rows(gvr), info, query, odd);
  const kind = kinds.byResource(gvr.group, gvr.version, gvr.resource)?.kind;
  const named = odd.misspeltListKinds || kind === undefined ? guessKind(gvr.resource) : kind;
  const head = { apiVersion: apiVersionOf(info.group, info.version), items, kind: `${named}List` };
  if (items.length === 0 && odd.emptyListWithoutMetadata) return head;
  const selfLink = `/${info.group || 'core'}/${info.version}/${info.resource}/${info.namespace ?? 'null'}/null`;
  return {
    ...head,
    metadata: { resourceVersion: String(store.highestRevision), ...(odd.localSelfLink && { selfLink }) },
  };
}

function select(rows: ApiObject[], info: RequestInfo, query: URLSearchParams, odd: OdditySwitches): ApiObject[] {
  const labels = parseLabelSelector(query.get('labelSelector') ?? '');
  const terms = parseFieldTerms(query.get('fieldSelector') ?? '');
  const fields = fieldMatcher(
    terms,
    terms.map((term) => term.field),
  );
  const known = terms.every(({ field }) => field === 'metadata.name' || field === 'metadata.namespace');
  if (!known && odd.offlineFieldSelectors) return [];
  const items = rows.filter(
    (row) => (info.namespace === undefined || row.metadata.namespace === info.namespace) && labels(row) && fields(row),
  );
  const limit = odd.offlineLimitIgnored ? 0 : (numberParam(query, 'limit') ?? 0);
  return limit > 0 ? items.slice(0, limit) : items;
}
