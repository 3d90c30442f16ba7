import {
  type Catalog,
  type CatalogListener,
  type CatalogView,
  type Clock,
  type GroupKind,
  type Logger,
  messageOf,
  type Timer,
} from '@edgemesh/core';
import type { DiscoveryMetrics } from '../metrics.ts';
import type { Winner } from './backends-index.ts';
import { createBuilder } from './builder.ts';

/** What a publisher reads from and reports to. */
export interface PublisherOptions {
  readonly winner: Winner;
  readonly windowMs: number;
  /** The window of the very first catalog. Default: as all others. */
  readonly firstWindowMs?: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
}

/** Collects changes for one window, then publishes one catalog. */
export interface Publisher extends CatalogView {
  touch(kind: GroupKind, key: string): void;
  /** Publishes now what is collected. */
  flush(): void;
  /** Everything has been read once, be it nothing: publishes it, and what changes from now on after the usual window. */
  synced(): void;
  stop(): void;
}

/** A publisher of the empty catalog. */
export function createPublisher(options: PublisherOptions): Publisher {
  const { winner, windowMs, firstWindowMs = windowMs, clock, log, metrics } = options;
  const builder = createBuilder(winner);
  const listeners = new Set<CatalogListener>();
  let timer: Timer | undefined;
  let stopped = false;
  let published = false;
  const notify = (listener: CatalogListener, ...args: Parameters<CatalogListener>) => {
    try {
      listener(...args);
    } catch (error) {
      // one broken subscriber must not keep the news from the others
      log.error('catalog subscriber failed', { error: messageOf(error) });
    }
  };
  const flush = () => {
    timer?.cancel();
    timer = undefined;
    const started = clock.now();
    const change = builder.flush();
    if (change === undefined) return;
    published = true;
    const catalog: Catalog = builder.current;
    for (const listener of [...listeners]) if (listeners.has(listener)) notify(listener, catalog, change);
    metrics.publishes.add();
    metrics.publishSeconds.observe((clock.now() - started) / 1000);
  };
  return {
    get current() {
      return builder.current;
    },
    subscribe(listener) {
      // a wrapper, so that subscribing the same function twice means two subscriptions
      const own: CatalogListener = (catalog, change) => listener(catalog, change);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    touch(kind, key) {
      builder.touch(kind, key);
      // the window starts with its first change and does not slide: steady churn cannot hold the news back
      if (timer === undefined && !stopped) timer = clock.after(published ? windowMs : firstWindowMs, flush);
    },
    flush,
    synced() {
      published = true;
      flush();
    },
    stop() {
      stopped = true;
      timer?.cancel();
      listeners.clear();
    },
  };
}
