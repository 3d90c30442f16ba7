import { type Catalog, type CatalogChange, type CatalogListener, type CatalogView, EMPTY_CATALOG } from './catalog.ts';

/** A {@link CatalogView} together with the hand that changes it. */
export interface CatalogFeed extends CatalogView, Disposable {
  /**
   * Makes this the current catalog and tells every listener, in the order of subscription. Of `changed` only what is not empty
   * need be named. The revision is the caller's affair.
   */
  publish(next: Catalog, changed?: Partial<CatalogChange>): void;
  readonly subscribers: number;
  /** Forgets all listeners: nobody hears of anything that is published later. */
  [Symbol.dispose](): void;
}

const NO_CHANGE: CatalogChange = { services: new Set(), nodes: new Set(), objects: new Set() };

/** Makes a feed whose methods need no `this`, so that a view of one's own can pass `subscribe` on. */
export function createCatalogFeed(initial: Catalog = EMPTY_CATALOG): CatalogFeed {
  let current = initial;
  const listeners = new Set<CatalogListener>();
  return {
    get current() {
      return current;
    },
    get subscribers() {
      return listeners.size;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    publish(next, changed) {
      current = next;
      const change = { ...NO_CHANGE, ...changed };
      for (const listener of listeners) listener(next, change);
    },
    [Symbol.dispose]: () => listeners.clear(),
  };
}
