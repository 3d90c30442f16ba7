import type { Counter, Histogram, Labelled, Metrics } from '@edgemesh/core';
import type { HttpProxyErrorCode } from './errors.ts';

/** Everything the package counts. */
export interface HttpMetrics {
  readonly requests: (status: number) => Counter;
  readonly duration: Histogram;
  readonly failures: Labelled<Counter>;
  readonly retries: Labelled<Counter>;
  readonly refusedConnections: Labelled<Counter>;
  readonly mirrors: Labelled<Counter>;
  readonly requestBytes: Counter;
  readonly responseBytes: Counter;
}

/** What is read when metrics are collected. */
export interface HttpMetricSources {
  connections(): number;
  requests(): number;
  upstreamConnections(): number;
}

const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Registers the metrics of one proxy. */
export function httpMetrics(metrics: Metrics, sources: HttpMetricSources): HttpMetrics {
  const requests = metrics.counter({
    name: 'edgemesh_http_requests_total',
    help: 'Requests that are over, by class of the status that the client got.',
    labels: ['class'],
  });
  const classes = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'].map((name) => requests.with(name));
  metrics.observe({ name: 'edgemesh_http_connections', help: 'Client connections now.' }, sources.connections);
  metrics.observe({ name: 'edgemesh_http_requests_active', help: 'Requests in flight now.' }, sources.requests);
  metrics.observe(
    { name: 'edgemesh_http_upstream_connections', help: 'Connections to endpoints now.' },
    sources.upstreamConnections,
  );
  return {
    requests: (status) => classes[Math.floor(status / 100)] ?? (classes[0] as Counter),
    duration: metrics
      .histogram({
        name: 'edgemesh_http_request_duration_seconds',
        help: 'From the request head to the end of the response.',
        buckets: DURATION_BUCKETS,
      })
      .with(),
    failures: metrics.counter({
      name: 'edgemesh_http_failures_total',
      help: 'Requests that were not served by a backend, by error code.',
      labels: ['code'],
    }),
    retries: metrics.counter({
      name: 'edgemesh_http_retries_total',
      help: 'Further tries, by the error code or status of the one before; `budget` and `body` count retries that were not made.',
      labels: ['reason'],
    }),
    refusedConnections: metrics.counter({
      name: 'edgemesh_http_refused_connections_total',
      help: 'Client connections closed by a limit or a failed TLS handshake.',
      labels: ['reason'],
    }),
    mirrors: metrics.counter({
      name: 'edgemesh_http_mirrors_total',
      help: 'Mirrored requests by result.',
      labels: ['result'],
    }),
    requestBytes: metrics
      .counter({ name: 'edgemesh_http_request_bytes_total', help: 'Bytes of request bodies from clients.' })
      .with(),
    responseBytes: metrics
      .counter({ name: 'edgemesh_http_response_bytes_total', help: 'Bytes of response bodies to clients.' })
      .with(),
  };
}

/** Label values of failures that can occur without a request. */
export type RefusalReason = HttpProxyErrorCode | 'max-connections' | 'tls-handshake' | 'tls-client-certificate';
