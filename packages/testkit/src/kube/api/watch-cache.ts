import type { Clock } from '@edgemesh/core';
import { pause } from './faults.ts';
import type { Store } from './store.ts';

/** The watch cache: it keeps up with the store unless frozen. */
export function createWatchCache(store: Store) {
  let frozenAt: number | undefined;
  const thawed = new Set<() => void>();
  const revision = () => frozenAt ?? store.revision;
  const onChange = (run: () => void) => {
    const unsubscribe = store.subscribe(run);
    thawed.add(run);
    return () => {
      thawed.delete(run);
      unsubscribe();
    };
  };
  return {
    revision,
    onChange,
    freeze() {
      frozenAt = store.revision;
    },
    thaw() {
      frozenAt = undefined;
      for (const run of [...thawed]) run();
    },
    async reached(wanted: number, clock: Clock, ms: number): Promise<void> {
      const enough = new AbortController();
      const stop = onChange(() => {
        if (revision() >= wanted) enough.abort();
      });
      await pause(clock, ms, enough.signal);
      stop();
    },
  };
}
