import type { Counter, Gauge, Histogram, Labelled, MetricSpec, Metrics } from '@edgemesh/core';
import { TelemetryError } from './errors.ts';
import { type Family, renderFamilies, type Sample } from './exposition.ts';
import { MAX_SERIES } from './options.ts';

export interface MetricsOptions {
  /** Most series of one metric. Default {@link MAX_SERIES}. */
  readonly maxSeries?: number;
}

/** The registry of a process: the port that modules count with, and the text that Prometheus reads. */
export interface MetricsRegistry extends Metrics {
  /** Everything in text format 0.0.4, metrics by name, series in the order of their creation. */
  render(): string;
}

/** Creates a registry. Counting costs an addition; looking a series up (`with`) costs a map access, and is done once. */
export function createMetrics(options: MetricsOptions = {}): MetricsRegistry {
  const maxSeries = options.maxSeries ?? MAX_SERIES;
  const families = new Map<string, MetricFamily>();
  const bounds = new Map<string, readonly number[]>();
  const overflow = new MetricFamily('counter', OVERFLOW, () => new Cell(), Number.POSITIVE_INFINITY);
  const readErrors = new MetricFamily('counter', READ_ERRORS, () => new Cell(), 1);
  const family = (type: MetricType, spec: MetricSpec, create: () => AnyCell): MetricFamily => {
    const known = families.get(spec.name);
    if (known !== undefined) return known.expect(type, spec);
    const made = new MetricFamily(type, spec, create, maxSeries, (name) => (overflow.with(name) as Cell).add());
    families.set(spec.name, made);
    return made;
  };
  families.set(OVERFLOW.name, overflow).set(READ_ERRORS.name, readErrors);
  return {
    counter: (spec) => family('counter', spec, () => new Cell()) as Labelled<Counter>,
    gauge: (spec) => family('gauge', spec, () => new Cell()) as Labelled<Gauge>,
    histogram(spec) {
      const buckets = [...new Set(spec.buckets)].filter(Number.isFinite).sort((a, b) => a - b);
      const known = bounds.get(spec.name);
      if (known !== undefined && known.join() !== buckets.join())
        throw invalid(spec.name, `has the buckets ${known.join()}`);
      const made = family('histogram', spec, () => new HistogramCell(buckets)) as unknown as Labelled<Histogram>;
      bounds.set(spec.name, buckets);
      return made;
    },
    observe(spec, read) {
      // The naming rule of Prometheus: only counters end in _total.
      const type = spec.name.endsWith('_total') ? 'counter' : 'gauge';
      const made = family(type, { ...spec, labels: [] }, () => new Cell());
      made.read = () => readSafely(read, () => (readErrors.with() as Cell).add());
    },
    render: () => renderFamilies([...families.values()].map((each) => each.collect())),
  };
}

const OVERFLOW: MetricSpec = {
  name: 'edgemesh_metrics_overflow_total',
  help: 'Label values counted in the overflow series because a metric had too many.',
  labels: ['metric'],
};
const READ_ERRORS: MetricSpec = {
  name: 'edgemesh_metrics_read_errors_total',
  help: 'Observed values that could not be read.',
};
type MetricType = 'counter' | 'gauge' | 'histogram';
type AnyCell = Cell | HistogramCell;

/** One series of a counter or gauge. */
class Cell implements Counter, Gauge {
  value = 0;

  add(value = 1): void {
    this.value += value;
  }

  set(value: number): void {
    this.value = value;
  }
}

/** One series of a histogram; `counts` are per bucket, the last one is everything above. */
class HistogramCell implements Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let i = 0;
    // Ten bounds or so: a straight scan beats a search.
    while (i < bounds.length && !(value <= (bounds[i] as number))) i++;
    this.counts[i] = (this.counts[i] as number) + 1;
    this.sum += value;
  }
}

interface Series<C> {
  readonly values: readonly string[];
  readonly cell: C;
}

class MetricFamily implements Labelled<AnyCell> {
  readonly #type: MetricType;
  readonly #spec: MetricSpec;
  readonly #labels: readonly string[];
  readonly #create: () => AnyCell;
  readonly #maxSeries: number;
  readonly #overflowed: (name: string) => void;
  readonly #series = new Map<string, Series<AnyCell>>();
  #overflow: AnyCell | undefined;
  /** Set on observed values: read anew for every collection; undefined leaves the value out. */
  read: (() => number | undefined) | undefined;

  constructor(
    type: MetricType,
    spec: MetricSpec,
    create: () => AnyCell,
    maxSeries: number,
    overflowed: (name: string) => void = () => undefined,
  ) {
    this.#type = type;
    this.#spec = spec;
    this.#labels = spec.labels ?? [];
    this.#create = create;
    this.#maxSeries = maxSeries;
    this.#overflowed = overflowed;
    checkNames(spec, type);
  }

  /** This family, when it is asked for as it was made. */
  expect(type: MetricType, spec: MetricSpec): this {
    if (type !== this.#type) throw invalid(spec.name, `is a ${this.#type}, not a ${type}`);
    if ((spec.labels ?? []).join() !== this.#labels.join())
      throw invalid(spec.name, `has the labels ${this.#labels.join()}`);
    return this;
  }

  with(...values: readonly string[]): AnyCell {
    if (values.length !== this.#labels.length)
      throw invalid(this.#spec.name, `needs ${this.#labels.length} label values`);
    const key =
      values.length === 1 ? String(values[0]) : values.map((value) => `${String(value).length}:${value}`).join('');
    const known = this.#series.get(key);
    if (known !== undefined) return known.cell;
    if (this.#series.size >= this.#maxSeries) {
      this.#overflowed(this.#spec.name);
      this.#overflow ??= this.#create();
      return this.#overflow;
    }
    const cell = this.#create();
    this.#series.set(key, { values: values.map(String), cell });
    return cell;
  }

  collect(): Family {
    const { name, help } = this.#spec;
    const series = [...this.#series.values()];
    if (this.#overflow !== undefined) series.push({ values: this.#labels.map(() => 'overflow'), cell: this.#overflow });
    const samples =
      this.read === undefined ? series.flatMap((each) => samplesOf(this.#labels, each)) : observedSample(this.read());
    return { name, help, type: this.#type, samples };
  }
}

function observedSample(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ suffix: '', labels: [], value }];
}

function samplesOf(names: readonly string[], { values, cell }: Series<AnyCell>): Sample[] {
  const labels = names.map((name, i) => [name, values[i] as string] as const);
  if (cell instanceof Cell) return [{ suffix: '', labels, value: cell.value }];
  const samples: Sample[] = [];
  let count = 0;
  for (const [i, bucket] of cell.counts.entries()) {
    count += bucket;
    const bound = cell.bounds[i] === undefined ? '+Inf' : String(cell.bounds[i]);
    samples.push({ suffix: '_bucket', labels: [...labels, ['le', bound]], value: count });
  }
  return [...samples, { suffix: '_sum', labels, value: cell.sum }, { suffix: '_count', labels, value: count }];
}

function readSafely(read: () => number, failed: () => void): number | undefined {
  try {
    return read();
  } catch {
    // Counted; one bad reading must not cost the whole page.
    failed();
    return undefined;
  }
}

function checkNames({ name, labels = [] }: MetricSpec, type: MetricType): void {
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name)) throw invalid(name, 'is not a metric name');
  for (const label of labels) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label) || label.startsWith('__'))
      throw invalid(name, `has the bad label ${label}`);
    if (type === 'histogram' && label === 'le') throw invalid(name, 'has a label le, which histograms need themselves');
  }
  if (new Set(labels).size !== labels.length) throw invalid(name, 'has a label twice');
}

function invalid(name: string, what: string): TelemetryError {
  return new TelemetryError('invalid-metric', `the metric ${JSON.stringify(name)} ${what}`);
}
