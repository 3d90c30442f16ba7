import { describe, expect, it } from 'vitest';
import { type Catalog, type CatalogChange, EMPTY_CATALOG } from './catalog.ts';
import { createCatalogFeed } from './catalog-feed.ts';

const revision = (number: number): Catalog => ({ ...EMPTY_CATALOG, revision: number });

describe('a catalog feed', () => {
  it('starts with the catalog it is given, or with the empty one', () => {
    const given = revision(7);
    expect(createCatalogFeed(given).current).toBe(given);
    expect(createCatalogFeed().current).toBe(EMPTY_CATALOG);
  });

  it('shows what was published before it tells anybody, in the order of subscription', () => {
    const feed = createCatalogFeed();
    const seen: string[] = [];
    feed.subscribe((catalog) => seen.push(`first ${catalog.revision} of ${feed.current.revision}`));
    feed.subscribe((catalog) => seen.push(`second ${catalog.revision} of ${feed.current.revision}`));
    feed.publish(revision(1));
    feed.publish(revision(2));
    expect(seen).toEqual(['first 1 of 1', 'second 1 of 1', 'first 2 of 2', 'second 2 of 2']);
  });

  it('fills in what has not changed', () => {
    const feed = createCatalogFeed();
    const seen: CatalogChange[] = [];
    feed.subscribe((_, change) => seen.push(change));
    feed.publish(revision(1), { services: new Set(['shop/web']) });
    feed.publish(revision(2));
    const none = { services: new Set(), nodes: new Set(), objects: new Set() };
    expect(seen).toEqual([{ ...none, services: new Set(['shop/web']) }, none]);
  });

  it('tells nobody who has unsubscribed, not even within the same notice', () => {
    const feed = createCatalogFeed();
    const seen: string[] = [];
    feed.subscribe(() => {
      seen.push('first');
      stop();
    });
    const stop = feed.subscribe(() => seen.push('second'));
    expect(feed.subscribers).toBe(2);
    feed.publish(revision(1));
    expect([seen, feed.subscribers]).toEqual([['first'], 1]);
  });

  it('goes on showing what is published when it is disposed of, and tells nobody', () => {
    const feed = createCatalogFeed();
    feed.subscribe(() => expect.unreachable());
    feed[Symbol.dispose]();
    feed.publish(revision(1));
    expect([feed.current.revision, feed.subscribers]).toEqual([1, 0]);
  });
});
