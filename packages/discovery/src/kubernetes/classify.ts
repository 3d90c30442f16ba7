import type { ListPage } from './machine.ts';

/**
 * Where a metaServer's list comes from (METASERVER.md 2): the cloud's has a resourceVersion and no selfLink; one from the
 * edge's own store has a selfLink, or no metadata at all when it is empty. Anything in doubt counts as local.
 */
export function classifyList(page: Pick<ListPage, 'resourceVersion' | 'selfLink'>): 'cloud' | 'local' {
  return page.resourceVersion !== undefined && page.resourceVersion !== '' && page.selfLink === undefined
    ? 'cloud'
    : 'local';
}
