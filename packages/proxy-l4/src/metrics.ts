import type { Metrics } from '@edgemesh/core';

/** Every metric of the package, resolved once so that the hot path only adds. */
export function createProxyMetrics(metrics: Metrics) {
  const results = metrics.counter({
    name: 'edgemesh_l4_connections_total',
    help: 'TCP connections that have ended, by how',
    labels: ['result'],
  });
  const bytes = metrics.counter({
    name: 'edgemesh_l4_bytes_total',
    help: 'Bytes forwarded for TCP and UDP',
    labels: ['protocol', 'direction'],
  });
  const dials = metrics.counter({
    name: 'edgemesh_l4_dials_total',
    help: 'Attempts to reach an endpoint, by result',
    labels: ['result'],
  });
  const rejected = metrics.counter({
    name: 'edgemesh_l4_rejected_total',
    help: 'Connections, flows and requests turned away before an endpoint was tried, by reason',
    labels: ['reason'],
  });
  const flows = metrics.counter({
    name: 'edgemesh_l4_udp_flows_total',
    help: 'UDP flows that have ended, by how',
    labels: ['result'],
  });
  const datagrams = metrics.counter({
    name: 'edgemesh_l4_datagrams_total',
    help: 'Datagrams forwarded',
    labels: ['direction'],
  });
  const dropped = metrics.counter({
    name: 'edgemesh_l4_datagrams_dropped_total',
    help: 'Datagrams not forwarded, by reason',
    labels: ['reason'],
  });
  const socks = metrics.counter({
    name: 'edgemesh_l4_socks_requests_total',
    help: 'SOCKS5 requests, by result',
    labels: ['result'],
  });
  return {
    activeConnections: metrics
      .gauge({ name: 'edgemesh_l4_connections', help: 'TCP connections being forwarded' })
      .with(),
    activeFlows: metrics.gauge({ name: 'edgemesh_l4_udp_flows', help: 'UDP flows being forwarded' }).with(),
    listeners: metrics
      .gauge({ name: 'edgemesh_l4_listeners', help: 'Listeners of Service ports that are open' })
      .with(),
    dialSeconds: metrics
      .histogram({
        name: 'edgemesh_l4_dial_seconds',
        help: 'Time until an endpoint accepted',
        buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
      })
      .with(),
    bytesToEndpoint: bytes.with('tcp', 'to-endpoint'),
    bytesToClient: bytes.with('tcp', 'to-client'),
    udpBytesToEndpoint: bytes.with('udp', 'to-endpoint'),
    udpBytesToClient: bytes.with('udp', 'to-client'),
    datagramsToEndpoint: datagrams.with('to-endpoint'),
    datagramsToClient: datagrams.with('to-client'),
    connectionEnded: (result: string) => results.with(result).add(),
    flowEnded: (result: string) => flows.with(result).add(),
    dialed: (result: string) => dials.with(result).add(),
    rejected: (reason: string) => rejected.with(reason).add(),
    datagramDropped: (reason: string) => dropped.with(reason).add(),
    socksRequest: (result: string) => socks.with(result).add(),
  };
}

/** The metrics of one registry. */
export type ProxyMetrics = ReturnType<typeof createProxyMetrics>;
