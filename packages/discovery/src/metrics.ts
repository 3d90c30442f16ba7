import type { Counter, Gauge, Histogram, Labelled, Metrics } from '@edgemesh/core';

/** Every metric of this package. */
export interface DiscoveryMetrics {
  readonly objects: Labelled<Gauge>;
  readonly rejected: Labelled<Counter>;
  readonly relists: Labelled<Counter>;
  readonly watchRestarts: Labelled<Counter>;
  readonly ghosts: Labelled<Counter>;
  readonly secondLooks: Labelled<Counter>;
  readonly sourceAge: Labelled<Gauge>;
  readonly publishes: Counter;
  readonly publishSeconds: Histogram;
  readonly snapshotWrites: Labelled<Counter>;
  readonly snapshotBytes: Gauge;
  readonly statusWrites: Labelled<Counter>;
}

/** Registers the metrics; asking twice gives the same ones. */
export function createDiscoveryMetrics(metrics: Metrics): DiscoveryMetrics {
  const counter = (name: string, help: string, labels: readonly string[] = []) =>
    metrics.counter({ name: `edgemesh_discovery_${name}`, help, labels });
  const gauge = (name: string, help: string, labels: readonly string[] = []) =>
    metrics.gauge({ name: `edgemesh_discovery_${name}`, help, labels });
  return {
    objects: gauge('objects', 'Objects held after merging, by kind', ['kind']),
    rejected: counter('rejected_objects_total', 'Objects or fields of objects that could not be used', ['kind']),
    relists: counter('relists_total', 'Lists that were started, by reason', ['source', 'kind', 'reason']),
    watchRestarts: counter('watch_restarts_total', 'Watches that ended, by reason', ['source', 'kind', 'reason']),
    ghosts: counter('ghosts_dropped_total', 'Outdated watch events that were dropped', ['source', 'kind']),
    secondLooks: counter('second_looks_total', 'Lists that shrank to nothing and were not believed at first', ['kind']),
    sourceAge: gauge('source_age_seconds', 'Time since a source last confirmed its oldest data', ['source']),
    publishes: counter('publishes_total', 'Catalog revisions published').with(),
    publishSeconds: metrics
      .histogram({
        name: 'edgemesh_discovery_publish_seconds',
        help: 'Time to apply collected changes and notify subscribers',
        buckets: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
      })
      .with(),
    snapshotWrites: counter('snapshot_writes_total', 'Snapshots written, by result', ['result']),
    snapshotBytes: gauge('snapshot_bytes', 'Size of the last snapshot').with(),
    statusWrites: counter('status_writes_total', 'Statuses compared with the API server, by result', [
      'kind',
      'result',
    ]),
  };
}
