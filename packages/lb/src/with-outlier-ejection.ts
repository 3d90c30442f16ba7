import { type Balancer, type Clock, type Endpoint, endpointKey, systemClock } from '@edgemesh/core';
import { keysOf } from './candidates.ts';
import { LB_DEFAULTS } from './options.ts';
import { createOutlierMachine } from './outlier-machine.ts';
import type { OutlierPolicy } from './policy.ts';

/** A balancer that leaves failing endpoints out for a while. */
export interface OutlierBalancer extends Balancer {
  /** True while the endpoint is left out. */
  isEjected(endpoint: Endpoint): boolean;
  /** How many endpoints are left out. */
  readonly ejectedCount: number;
}

/** What outlier ejection takes from outside. */
export interface OutlierDeps {
  readonly clock?: Clock;
  /** Called once for each ejection, for logs and metrics. */
  readonly onEjected?: (endpoint: Endpoint) => void;
}

/**
 * Passive outlier ejection around any balancer. When nothing but ejected endpoints is left, or the healthy share falls below
 * `minHealthPercent`, ejections are ignored: a doubtful endpoint is better than none.
 */
export function withOutlierEjection(inner: Balancer, policy: OutlierPolicy, deps: OutlierDeps = {}): OutlierBalancer {
  const clock = deps.clock ?? systemClock;
  const machine = createOutlierMachine(policy);
  const minHealthPercent = policy.minHealthPercent ?? LB_DEFAULTS.minHealthPercent;
  let size = 0;
  let cache: { all: readonly Endpoint[]; healthy: readonly Endpoint[]; until: number } | undefined;

  const healthyOf = (all: readonly Endpoint[], now: number): readonly Endpoint[] => {
    if (cache !== undefined && cache.all === all && now < cache.until) return cache.healthy;
    const keys = keysOf(all);
    const some = all.filter((_, i) => !machine.isEjected(keys[i] as string, now));
    const enough = some.length > 0 && some.length * 100 >= all.length * minHealthPercent;
    const healthy = enough && some.length < all.length ? some : all;
    cache = { all, healthy, until: machine.nextReturnAt(now) };
    return healthy;
  };

  return {
    pick(candidates, flow, exclude) {
      size = candidates.length;
      const healthy = healthyOf(candidates, clock.now());
      const picked = inner.pick(healthy, flow, exclude);
      return picked === undefined && healthy !== candidates ? inner.pick(candidates, flow, exclude) : picked;
    },
    report(endpoint, outcome) {
      inner.report?.(endpoint, outcome);
      const isEjected = machine.record(endpointKey(endpoint), outcome, size, clock.now());
      if (isEjected || outcome.kind === 'recovered') cache = undefined;
      if (!isEjected) return;
      deps.onEjected?.(endpoint);
    },
    begin: (endpoint) => inner.begin?.(endpoint),
    end: (endpoint) => inner.end?.(endpoint),
    isEjected: (endpoint) => machine.isEjected(endpointKey(endpoint), clock.now()),
    get ejectedCount() {
      return machine.ejectedCount(clock.now());
    },
  };
}
