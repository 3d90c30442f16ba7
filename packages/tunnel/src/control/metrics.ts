import type { Counter, Gauge, Labelled, Metrics } from '@edgemesh/core';

/** Metrics of the control plane, resolved once. */
export interface ControlMetrics {
  /** Accepted sockets by what they were: `control`, `data`, or why they were dropped. */
  readonly accepted: Labelled<Counter>;
  readonly handshakeFailures: Labelled<Counter>;
  readonly rpcRequests: Labelled<Counter>;
  readonly rpcFailures: Labelled<Counter>;
  readonly records: Labelled<Counter>;
  readonly pinConflicts: Labelled<Counter>;
  readonly relaysConnected: Gauge;
  readonly relayChanges: Labelled<Counter>;
  readonly mdnsPackets: Labelled<Counter>;
  /** What a server of the DHT did not keep or had to drop. */
  readonly dhtDropped: Labelled<Counter>;
  /** The same as below, of the DHT's records that we keep for others. */
  observeDht(sizes: { readonly records: () => number; readonly bytes: () => number }): void;
  /** Registers the gauges that are read when metrics are collected. */
  observeSizes(sizes: { readonly records: () => number; readonly peers: () => number }): void;
}

/** Registers the metrics; names and labels are listed in docs/control-plane.md. */
export function createControlMetrics(metrics: Metrics): ControlMetrics {
  const counter = (name: string, help: string, ...labels: string[]) =>
    metrics.counter({ name: `edgemesh_control_${name}`, help, labels });
  return {
    accepted: counter('accepted_sockets_total', 'Sockets accepted on the shared port by what they were', 'kind'),
    handshakeFailures: counter(
      'handshake_failures_total',
      'Control connections that failed before they were usable',
      'direction',
      'code',
    ),
    rpcRequests: counter('rpc_requests_total', 'Control requests by method', 'direction', 'method'),
    rpcFailures: counter('rpc_failures_total', 'Control requests that failed', 'direction', 'code'),
    records: counter('records_total', 'Node records received, by outcome', 'outcome'),
    pinConflicts: counter('pin_conflicts_total', 'Node names claimed by a second key', 'source'),
    relaysConnected: metrics
      .gauge({ name: 'edgemesh_control_relays_connected', help: 'Relays with a live control connection' })
      .with(),
    relayChanges: counter('relay_changes_total', 'Relay connections gained and lost', 'change'),
    mdnsPackets: counter('mdns_packets_total', 'mDNS packets by outcome', 'outcome'),
    dhtDropped: counter('dht_dropped_total', 'DHT entries that were not kept or had to go', 'reason'),
    observeDht({ records, bytes }) {
      metrics.observe({ name: 'edgemesh_control_dht_records', help: 'Records kept for the DHT' }, records);
      metrics.observe({ name: 'edgemesh_control_dht_bytes', help: 'Memory of these records' }, bytes);
    },
    observeSizes({ records, peers }) {
      metrics.observe({ name: 'edgemesh_control_records', help: 'Node records in memory' }, records);
      metrics.observe({ name: 'edgemesh_control_peers', help: 'Members with a control connection' }, peers);
    },
  };
}
