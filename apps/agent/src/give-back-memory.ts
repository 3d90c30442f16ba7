import { type CatalogView, type Clock, type Logger, systemClock, type Timer } from '@edgemesh/core';
import { collectGarbage } from '@edgemesh/telemetry';

/** Services that change at once in a load of a catalog rather than in daily life. */
const LOAD_SERVICES = 1_000;
/** Milliseconds after which a load is over: rules are in the kernel, the snapshot is on disk. */
const QUIET_MS = 8_000;

export interface GiveBackOptions {
  readonly view: CatalogView;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Collects all garbage at once. Default: V8's own. */
  readonly collect?: () => void;
}

/**
 * Gives memory back after a large catalog has been read. What that leaves behind is several times the catalog, and V8 collects it when new
 * objects need room, which on a quiet node may be never. Costs one pause of about a millisecond per megabyte in use.
 */
export function giveBackMemory(options: GiveBackOptions): Disposable {
  const { view, log, clock = systemClock, collect = collectGarbage } = options;
  let timer: Timer | undefined;
  const schedule = () => {
    timer?.cancel();
    timer = clock.after(QUIET_MS, () => {
      timer = undefined;
      const started = clock.now();
      collect();
      log.debug('gave memory back after a load', { tookMs: Math.round(clock.now() - started) });
    });
  };
  if (view.current.services.size >= LOAD_SERVICES) schedule();
  const unsubscribe = view.subscribe((_, change) => {
    if (change.services.size >= LOAD_SERVICES) schedule();
  });
  return {
    [Symbol.dispose]() {
      unsubscribe();
      timer?.cancel();
    },
  };
}
