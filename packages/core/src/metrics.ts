/** Name, help and label names of a metric. Names follow Prometheus: `edgemesh_dns_queries_total`, base units. */
export interface MetricSpec {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

export interface Counter {
  add(value?: number): void;
}

export interface Gauge {
  set(value: number): void;
  add(value: number): void;
}

export interface Histogram {
  observe(value: number): void;
}

/** A metric with labels; `with` resolves label values once, outside the hot path. Values in the order of `labels`. */
export interface Labelled<T> {
  with(...values: readonly string[]): T;
}

/** Registry port. Asking twice for one name returns the same metric. */
export interface Metrics {
  counter(spec: MetricSpec): Labelled<Counter>;
  gauge(spec: MetricSpec): Labelled<Gauge>;
  histogram(spec: MetricSpec & { readonly buckets: readonly number[] }): Labelled<Histogram>;
  /** Registers a value that is read when metrics are collected. */
  observe(spec: MetricSpec, read: () => number): void;
}

function nothing(): void {
  // deliberately does not count
}
const sink = { add: nothing, set: nothing, observe: nothing };
const labelled = { with: () => sink };

/** Metrics that nobody collects. */
export const noMetrics: Metrics = {
  counter: () => labelled,
  gauge: () => labelled,
  histogram: () => labelled,
  observe: nothing,
};
