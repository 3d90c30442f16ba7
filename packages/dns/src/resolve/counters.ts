import type { Counter } from '@edgemesh/core';
import type { DnsMetrics } from '../metrics.ts';
import { rcodeName } from '../wire/constants.ts';

/** Where answers come from. */
export const SOURCES = ['zone', 'cache', 'stale', 'upstream', 'error'] as const;
export type Source = (typeof SOURCES)[number];

/** Answer counters with their labels resolved ahead, for the hot path: `counters.zone[rcode]`. */
export type AnswerCounters = Readonly<Record<Source, readonly Counter[]>>;

/** RCODEs 0 to 23 (the last is BADCOOKIE) have a place each; many share the counter `OTHER`. */
const RCODES = 24;

export function createAnswerCounters(metrics: DnsMetrics): AnswerCounters {
  const row = (source: Source) =>
    Array.from({ length: RCODES }, (_, rcode) => metrics.answers.with(source, rcodeName(rcode)));
  return {
    zone: row('zone'),
    cache: row('cache'),
    stale: row('stale'),
    upstream: row('upstream'),
    error: row('error'),
  };
}
