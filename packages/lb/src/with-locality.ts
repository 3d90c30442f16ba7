import { type Balancer, type Endpoint, endpointKey } from '@edgemesh/core';
import { LB_DEFAULTS } from './options.ts';

/** How near endpoints are, and when that changes. */
export interface LocalityOptions {
  /** How near an endpoint is: 0 is best (this node), then for example 1 LAN, 2 direct, 3 relayed. Any integers. */
  readonly tierOf: (endpoint: Endpoint) => number;
  /** Changes whenever `tierOf` may answer differently (a session moved from relayed to direct). Default: never. */
  readonly version?: () => number;
  /** Default: everything is healthy. Combine with {@link withOutlierEjection} inside. */
  readonly isHealthy?: (endpoint: Endpoint) => boolean;
  /** A tier with fewer healthy endpoints than this percentage shares its traffic with the next. Default 70. */
  readonly minHealthyPercent?: number;
}

interface Grouping {
  readonly candidates: readonly Endpoint[];
  readonly version: number;
  /** Best tier first; none is empty. */
  readonly tiers: readonly (readonly Endpoint[])[];
  /** Tiers `from` to `to` as one array, made once, so that inner balancers see the same array again. */
  readonly merged: Map<number, readonly Endpoint[]>;
}

/**
 * Prefers near endpoints. Traffic goes to the best tier that has something to offer, and spills over into the next when all
 * of a tier is excluded or unhealthy, or shares with the next while too few of it are healthy.
 */
export function withLocality(inner: Balancer, options: LocalityOptions): Balancer {
  const minHealthyPercent = options.minHealthyPercent ?? LB_DEFAULTS.minHealthyTierPercent;
  let grouping: Grouping | undefined;

  const groupingOf = (candidates: readonly Endpoint[]): Grouping => {
    const version = options.version?.() ?? 0;
    if (grouping !== undefined && grouping.candidates === candidates && grouping.version === version) return grouping;
    grouping = { candidates, version, tiers: groupByTier(candidates, options.tierOf), merged: new Map() };
    return grouping;
  };

  const isUsable = (endpoint: Endpoint, exclude: ReadonlySet<string> | undefined) =>
    !(exclude !== undefined && exclude.size > 0 && exclude.has(endpointKey(endpoint))) &&
    (options.isHealthy?.(endpoint) ?? true);

  /** The tiers to choose from now: the first usable one, and those it has to share with. */
  const choose = (tiers: Grouping['tiers'], exclude: ReadonlySet<string> | undefined) => {
    let from = -1;
    for (const [i, tier] of tiers.entries()) {
      const usable = tier.reduce((count, endpoint) => count + (isUsable(endpoint, exclude) ? 1 : 0), 0);
      if (usable === 0) continue;
      if (from < 0) from = i;
      if (usable * 100 >= tier.length * minHealthyPercent) return { from, to: i };
    }
    return from < 0 ? undefined : { from, to: tiers.length - 1 };
  };

  return {
    pick(candidates, flow, exclude) {
      const group = groupingOf(candidates);
      if (group.tiers.length < 2) return inner.pick(candidates, flow, exclude);
      const range = choose(group.tiers, exclude);
      if (range === undefined) return inner.pick(candidates, flow, exclude);
      const picked = inner.pick(merge(group, range.from, range.to), flow, exclude);
      return picked ?? inner.pick(candidates, flow, exclude);
    },
    report: (endpoint, outcome) => inner.report?.(endpoint, outcome),
    begin: (endpoint) => inner.begin?.(endpoint),
    end: (endpoint) => inner.end?.(endpoint),
  };
}

function groupByTier(
  candidates: readonly Endpoint[],
  tierOf: (endpoint: Endpoint) => number,
): readonly (readonly Endpoint[])[] {
  const tiers = new Map<number, Endpoint[]>();
  for (const endpoint of candidates) {
    const tier = tierOf(endpoint);
    const members = tiers.get(tier);
    if (members === undefined) tiers.set(tier, [endpoint]);
    else members.push(endpoint);
  }
  return [...tiers].sort(([a], [b]) => a - b).map(([, members]) => members);
}

function merge(group: Grouping, from: number, to: number): readonly Endpoint[] {
  if (from === to) return group.tiers[from] as readonly Endpoint[];
  const key = from * group.tiers.length + to;
  let merged = group.merged.get(key);
  if (merged === undefined) {
    const members = new Set(group.tiers.slice(from, to + 1).flat());
    // In the order of the candidates, so that round robin and the like see one canonical order.
    merged = group.candidates.filter((endpoint) => members.has(endpoint));
    group.merged.set(key, merged);
  }
  return merged;
}
