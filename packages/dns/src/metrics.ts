import type { Counter, Gauge, Histogram, Labelled, Metrics } from '@edgemesh/core';

/** Every metric of this package; README lists them. */
export interface DnsMetrics {
  /** By transport. */
  readonly queries: Labelled<Counter>;
  /** By source (`zone`, `cache`, `stale`, `upstream`, `local`, `error`) and RCODE. */
  readonly answers: Labelled<Counter>;
  /** Messages without an answer, by reason. */
  readonly dropped: Labelled<Counter>;
  /** By upstream and outcome. */
  readonly upstreamQueries: Labelled<Counter>;
  readonly upstreamSeconds: Labelled<Histogram>;
  readonly upstreamUp: Labelled<Gauge>;
  /** Work refused because a limit is reached, by limit. */
  readonly limited: Labelled<Counter>;
  readonly listenersUp: Labelled<Gauge>;
  readonly tcpConnections: Labelled<Gauge>;
  observeSizes(read: { zone(): number; cacheEntries(): number; cacheBytes(): number; inflight(): number }): void;
}

/** Registers the metrics. */
export function createDnsMetrics(metrics: Metrics): DnsMetrics {
  const counter = (name: string, help: string, labels: readonly string[]) =>
    metrics.counter({ name: `edgemesh_dns_${name}`, help, labels });
  const gauge = (name: string, help: string, labels: readonly string[]) =>
    metrics.gauge({ name: `edgemesh_dns_${name}`, help, labels });
  return {
    queries: counter('queries_total', 'Queries received.', ['transport']),
    answers: counter('answers_total', 'Answers given.', ['source', 'rcode']),
    dropped: counter('dropped_total', 'Messages that got no answer.', ['reason']),
    upstreamQueries: counter('upstream_queries_total', 'Queries sent to upstreams.', ['upstream', 'outcome']),
    upstreamSeconds: metrics.histogram({
      name: 'edgemesh_dns_upstream_seconds',
      help: 'Time until an upstream answered.',
      labels: ['upstream'],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
    }),
    upstreamUp: gauge('upstream_up', '1 when the upstream is in use, 0 when it is down or loops.', ['upstream']),
    limited: counter('limited_total', 'Work refused because a limit is reached.', ['limit']),
    listenersUp: gauge('listener_up', '1 when the listener is bound.', ['address', 'transport']),
    tcpConnections: gauge('tcp_connections', 'Open TCP connections of clients.', ['address']),
    observeSizes(read) {
      const size = (name: string, help: string, value: () => number) =>
        metrics.observe({ name: `edgemesh_dns_${name}`, help }, value);
      size('zone_answers', 'Encoded cluster answers kept.', read.zone);
      size('cache_entries', 'Upstream answers kept.', read.cacheEntries);
      size('cache_bytes', 'Bytes of upstream answers kept.', read.cacheBytes);
      size('upstream_inflight', 'Questions waiting for upstreams.', read.inflight);
    },
  };
}
