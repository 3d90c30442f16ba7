import type { WatchHandle } from './watch.ts';

/** Names watches; fields left out match anything. */
export interface WatchMatch {
  readonly resource?: string;
  readonly group?: string;
  readonly namespace?: string;
}

/** The watches that are open, and who waits for one. */
export function createWatchSet() {
  const open = new Set<WatchHandle>();
  const waiting = new Set<{ match: WatchMatch; resolve: (handle: WatchHandle) => void }>();
  const matching = (match: WatchMatch) => [...open].filter((handle) => fits(handle, match));
  return {
    open: () => [...open],
    hooks: {
      opened(handle: WatchHandle) {
        open.add(handle);
        for (const waiter of [...waiting]) {
          if (!fits(handle, waiter.match)) continue;
          waiting.delete(waiter);
          waiter.resolve(handle);
        }
      },
      closed: (handle: WatchHandle) => void open.delete(handle),
    },
    next(match: WatchMatch = {}): Promise<WatchHandle> {
      const found = matching(match)[0];
      return found ? Promise.resolve(found) : new Promise((resolve) => waiting.add({ match, resolve }));
    },
    each(match: WatchMatch = {}, run: (handle: WatchHandle) => void): number {
      const found = matching(match);
      for (const handle of found) run(handle);
      return found.length;
    },
  };
}

function fits(handle: WatchHandle, match: WatchMatch): boolean {
  const { resource, group, namespace } = handle.info;
  return (
    (match.resource === undefined || match.resource === resource) &&
    (match.group === undefined || match.group === group) &&
    (match.namespace === undefined || match.namespace === namespace)
  );
}
