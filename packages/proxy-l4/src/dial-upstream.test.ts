import {
  type ByteStream,
  type Dialer,
  type Endpoint,
  endpointKey,
  MeshError,
  noMetrics,
  type Outcome,
} from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import {
  createStreamPair,
  describeByteStream,
  makeEndpoints,
  recordStream,
  type StreamPair,
} from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { type DialUpstreamOptions, dialUpstream } from './dial-upstream.ts';
import { createProxyMetrics } from './metrics.ts';
import type { Upstream } from './upstream.ts';

/** A dialer whose streams are in memory and open when the test says so. */
function memoryDialer() {
  const dialed: { pair: StreamPair; address: string }[] = [];
  const dialer: Dialer = {
    dial(target) {
      const pair = createStreamPair({ opensByItself: false });
      dialed.push({ pair, address: target.address });
      return pair.a;
    },
    openDatagrams: () => {
      throw new Error('not used');
    },
  };
  return { dialer, dialed };
}

function recordingUpstream(endpoints: readonly Endpoint[]) {
  const reports: [string, Outcome['kind']][] = [];
  let inUse = 0;
  const upstream: Upstream = {
    name: 'shop/web:http',
    pick: (_flow, exclude) => endpoints.find((e) => !exclude?.has(endpointKey(e))),
    report: (endpoint, outcome) => void reports.push([endpoint.address, outcome.kind]),
    begin: () => void inUse++,
    end: () => void inUse--,
  };
  return { upstream, reports, inUse: () => inUse };
}

const refused = () => new MeshError('refused', 'nobody listens', { retryable: true });
const metrics = createProxyMetrics(noMetrics);

function setup(count = 3, options: DialUpstreamOptions = {}) {
  const { dialer, dialed } = memoryDialer();
  const { upstream, reports, inUse } = recordingUpstream(makeEndpoints(count));
  const stream = dialUpstream(
    upstream,
    { sourceIp: '192.0.2.1' },
    { dialer, clock: createFakeClock(), metrics },
    options,
  );
  return { stream, dialed, reports, inUse };
}

const fail = (stream: ByteStream, error = refused()) => recordStream(stream).reset(error);

describeByteStream('a dialled upstream', () => {
  const { stream, dialed } = setup();
  const { pair } = dialed[0] as { pair: StreamPair };
  pair.open();
  return { a: stream, b: pair.b };
});

describeByteStream('a dialled upstream whose first two endpoints refuse', async () => {
  const { stream, dialed, inUse } = setup();
  for (const i of [0, 1]) {
    fail(dialed[i]?.pair.b as ByteStream);
    while (dialed.length === i + 1) await Promise.resolve();
  }
  const { pair } = dialed[2] as { pair: StreamPair };
  pair.open();
  return { a: stream, b: pair.b, leftovers: inUse };
});

describe('dialUpstream', () => {
  it('dials at once, before anybody attaches or writes', () => {
    expect(setup().dialed).toHaveLength(1);
  });

  it('gives every endpoint all early bytes and the end, and reports how it went', async () => {
    const { stream, dialed, reports, inUse } = setup();
    const near = recordStream(stream);
    near.write('GET / ');
    near.write('HTTP/1.1');
    near.end();
    const first = recordStream(dialed[0]?.pair.b as ByteStream);
    await first.until((s) => s.ended, 'ended');
    expect(first.text()).toBe('GET / HTTP/1.1');
    first.reset(refused());
    while (dialed.length < 2) await new Promise(setImmediate);
    const second = recordStream(dialed[1]?.pair.b as ByteStream);
    dialed[1]?.pair.open();
    await second.until((s) => s.ended, 'ended');
    expect(second.text()).toBe('GET / HTTP/1.1');
    second.write('200');
    second.end();
    await near.untilClosed();
    expect([near.text(), near.error, near.violations]).toEqual(['200', undefined, []]);
    const [a, b] = makeEndpoints(2) as [Endpoint, Endpoint];
    expect(reports).toEqual([
      [a.address, 'connect-failure'],
      [b.address, 'success'],
    ]);
    expect(inUse()).toBe(0);
  });

  it('does not share early bytes between attempts: what one endpoint does to them the next never sees', async () => {
    const { stream, dialed } = setup();
    const near = recordStream(stream);
    near.write('precious');
    const first = recordStream(dialed[0]?.pair.b as ByteStream, { onData: (chunk) => void chunk.fill(0) });
    await first.until((s) => s.receivedBytes === 8, '8 bytes');
    first.reset(refused());
    while (dialed.length < 2) await new Promise(setImmediate);
    const second = recordStream(dialed[1]?.pair.b as ByteStream);
    await second.until((s) => s.receivedBytes === 8, '8 bytes');
    expect(second.text()).toBe('precious');
    near.reset();
    await second.untilClosed();
  });

  it('ends with the last error when attempts or endpoints are used up', async () => {
    for (const [endpoints, options, dials] of [
      [2, {}, 2],
      [9, {}, 3],
      [9, { maxDialAttempts: 5 }, 5],
    ] as const) {
      const { stream, dialed, inUse } = setup(endpoints, options);
      const near = recordStream(stream);
      for (let i = 0; i < dialed.length; i++) {
        fail(dialed[i]?.pair.b as ByteStream);
        await new Promise(setImmediate);
      }
      await near.untilClosed();
      expect([near.error?.code, dialed.length, inUse()]).toEqual(['refused', dials, 0]);
    }
  });

  it('does not retry what may have been delivered, nor after it has opened', async () => {
    const early = setup();
    fail(early.dialed[0]?.pair.b as ByteStream, new MeshError('reset', 'died half way'));
    const near = recordStream(early.stream);
    await near.untilClosed();
    expect([near.error?.code, early.dialed.length]).toEqual(['reset', 1]);

    const late = setup();
    late.dialed[0]?.pair.open();
    const opened = recordStream(late.stream);
    await opened.until((s) => s.events.includes('opened'), 'opened');
    fail(late.dialed[0]?.pair.b as ByteStream);
    await opened.untilClosed();
    expect([opened.error?.code, late.dialed.length]).toEqual(['refused', 1]);
  });

  it('takes data for an acceptance, where a dialer does not tell', async () => {
    const { stream, dialed } = setup();
    const near = recordStream(stream);
    const far = recordStream(dialed[0]?.pair.b as ByteStream);
    far.write('hello');
    await near.until((s) => s.receivedBytes === 5, '5 bytes');
    far.reset(refused());
    await near.untilClosed();
    expect([near.events, dialed.length, near.violations]).toEqual([['opened', 'data', 'closed'], 1, []]);
  });

  it('closes with no-endpoints, never inside attach, when there is nothing to dial', async () => {
    const { stream } = setup(0);
    const near = recordStream(stream);
    expect(near.closed).toBe(false);
    await near.untilClosed();
    expect(near.error?.code).toBe('no-endpoints');
  });

  it('keeps a bounded amount of early bytes and drains when an endpoint has accepted', async () => {
    const { stream, dialed } = setup(1, { maxEarlyBytes: 1000 });
    const near = recordStream(stream);
    expect(near.write(new Uint8Array(999))).toBe(true);
    expect(near.write(new Uint8Array(1))).toBe(false);
    const far = recordStream(dialed[0]?.pair.b as ByteStream);
    await far.until((s) => s.receivedBytes === 1000, '1000 bytes');
    expect(near.drains).toBe(0);
    dialed[0]?.pair.open();
    await near.until((s) => s.drains === 1, 'drained');
    near.reset();
    await far.untilClosed();
  });

  it('aborts the attempt under way and tries no other', async () => {
    const { stream, dialed, reports, inUse } = setup();
    const near = recordStream(stream);
    const far = recordStream(dialed[0]?.pair.b as ByteStream);
    near.reset(refused());
    await far.untilClosed();
    expect([near.error?.code, dialed.length, reports, inUse()]).toEqual(['refused', 1, [], 0]);
  });
});
