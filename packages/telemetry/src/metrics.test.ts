import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TelemetryError } from './errors.ts';
import { createMetrics } from './metrics.ts';
import { observeProcess } from './process-metrics.ts';

interface Parsed {
  readonly types: Map<string, string>;
  readonly helps: Map<string, string>;
  readonly samples: Map<string, number>;
}

/** A strict reader of text format 0.0.4, written from its description; keys are name{label="value",...} with unescaped values. */
function parseExposition(text: string): Parsed {
  const parsed: Parsed = { types: new Map(), helps: new Map(), samples: new Map() };
  expect(text === '' || text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n').slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line);
    if (comment !== null) {
      const into = comment[1] === 'HELP' ? parsed.helps : parsed.types;
      expect(into.has(comment[2]!)).toBe(false);
      into.set(
        comment[2]!,
        comment[3]!.replaceAll(/\\(\\|n)/g, (_, c) => (c === 'n' ? '\n' : '\\')),
      );
      continue;
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$/.exec(line);
    if (sample === null) throw new Error(`not a sample: ${line}`);
    const labels = [...(sample[2] ?? '').matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)].map(
      ([, name, value]) =>
        `${name}=${JSON.stringify(value!.replaceAll(/\\(["\\n])/g, (_, c) => (c === 'n' ? '\n' : c)))}`,
    );
    const key = `${sample[1]}{${labels.join()}}`;
    expect(parsed.samples.has(key)).toBe(false);
    const number = sample[3]!.replace('Inf', 'Infinity');
    parsed.samples.set(key, Number(number));
  }
  return parsed;
}

const code = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return (error as TelemetryError).code;
  }
  return undefined;
};

describe('metrics', () => {
  it('come out with HELP and TYPE, sorted by name', () => {
    const metrics = createMetrics();
    metrics
      .counter({ name: 'b_total', help: 'Line one\nline \\two', labels: ['code'] })
      .with('a"b\\c\nd')
      .add(3);
    metrics.gauge({ name: 'a', help: 'A gauge.' }).with().set(-1.5);
    const text = metrics.render();
    const { types, helps, samples } = parseExposition(text);
    expect([...types.keys()]).toEqual([...types.keys()].toSorted());
    expect(types.get('b_total')).toBe('counter');
    expect(helps.get('b_total')).toBe('Line one\nline \\two');
    expect(samples.get(`b_total{code=${JSON.stringify('a"b\\c\nd')}}`)).toBe(3);
    expect(samples.get('a{}')).toBe(-1.5);
  });

  it('histograms count into the right buckets, cumulated, bounds included', () => {
    const metrics = createMetrics();
    const histogram = metrics
      .histogram({ name: 'h', help: 'H.', buckets: [1, 0.1, 1, Number.POSITIVE_INFINITY] })
      .with();
    for (const value of [0.05, 0.1, 0.5, 1, 7]) histogram.observe(value);
    const { samples } = parseExposition(metrics.render());
    expect(samples.get('h_bucket{le="0.1"}')).toBe(2);
    expect(samples.get('h_bucket{le="1"}')).toBe(4);
    expect(samples.get('h_bucket{le="+Inf"}')).toBe(5);
    expect(samples.get('h_count{}')).toBe(5);
    expect(samples.get('h_sum{}')).toBeCloseTo(8.65);
  });

  it('the same name and labels are the same series; another type, label or bucket is an error', () => {
    const metrics = createMetrics();
    const spec = { name: 'x', help: 'X.', labels: ['a', 'b'] };
    expect(metrics.counter(spec).with('1', '2')).toBe(metrics.counter({ ...spec }).with('1', '2'));
    expect(metrics.counter(spec).with('1', '23')).not.toBe(metrics.counter(spec).with('12', '3'));
    expect(code(() => metrics.gauge(spec))).toBe('invalid-metric');
    expect(code(() => metrics.counter({ ...spec, labels: ['a'] }))).toBe('invalid-metric');
    expect(code(() => metrics.counter(spec).with('1'))).toBe('invalid-metric');
    metrics.histogram({ name: 'h', help: 'H.', buckets: [1] });
    expect(code(() => metrics.histogram({ name: 'h', help: 'H.', buckets: [2] }))).toBe('invalid-metric');
    for (const name of ['', '1a', 'a-b', 'a b'])
      expect(code(() => metrics.gauge({ name, help: '' }))).toBe('invalid-metric');
    expect(code(() => metrics.gauge({ name: 'g', help: '', labels: ['__a'] }))).toBe('invalid-metric');
  });

  it('too many label values share one overflow series, and that is counted', () => {
    const metrics = createMetrics({ maxSeries: 2 });
    const counter = metrics.counter({ name: 'x_total', help: 'X.', labels: ['peer'] });
    for (const peer of ['a', 'b', 'c', 'd', 'a']) counter.with(peer).add();
    const { samples } = parseExposition(metrics.render());
    expect(samples.get('x_total{peer="a"}')).toBe(2);
    expect(samples.get('x_total{peer="overflow"}')).toBe(2);
    expect(samples.has('x_total{peer="c"}')).toBe(false);
    expect(samples.get('edgemesh_metrics_overflow_total{metric="x_total"}')).toBe(2);
  });

  it('observed values are read anew each time; one that fails is left out and counted', () => {
    const metrics = createMetrics();
    let value = 1;
    metrics.observe({ name: 'seen', help: 'S.' }, () => value++);
    metrics.observe({ name: 'broken', help: 'B.' }, () => {
      throw new Error('no');
    });
    metrics.render();
    const { samples } = parseExposition(metrics.render());
    expect(samples.get('seen{}')).toBe(2);
    expect(samples.has('broken{}')).toBe(false);
    metrics.observe({ name: 'seen', help: 'S.' }, () => Number.POSITIVE_INFINITY);
    expect(parseExposition(metrics.render()).samples.get('seen{}')).toBe(Number.POSITIVE_INFINITY);
  });

  it('any label value comes back unharmed', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: 'binary' }), { maxLength: 5 }), (values) => {
        const metrics = createMetrics();
        for (const [i, value] of values.entries())
          metrics
            .gauge({ name: 'g', help: 'G.', labels: ['v'] })
            .with(value)
            .set(i);
        const { samples } = parseExposition(metrics.render());
        for (const [i, value] of values.entries()) expect(samples.get(`g{v=${JSON.stringify(value)}}`)).toBe(i);
      }),
    );
  });
});

describe('process metrics', () => {
  it('are there and plausible; the lag of the event loop is that of late timers', () => {
    const metrics = createMetrics();
    const clock = createFakeClock();
    let skew = 0;
    const process_ = observeProcess(metrics, { ...clock, now: () => clock.now() + skew });
    clock.advance(400);
    skew = 250;
    clock.advance(200);
    const { samples, types } = parseExposition(metrics.render());
    expect(samples.get('nodejs_eventloop_lag_seconds{}')).toBeCloseTo(0.25);
    expect(samples.get('process_resident_memory_bytes{}')).toBeGreaterThan(10e6);
    expect(samples.get('process_cpu_seconds_total{}')).toBeGreaterThan(0);
    expect(samples.get('process_open_fds{}')).toBeGreaterThan(2);
    expect(types.get('process_cpu_seconds_total')).toBe('counter');
    process_[Symbol.dispose]();
    expect(clock.pendingTimers).toBe(0);
  });
});
