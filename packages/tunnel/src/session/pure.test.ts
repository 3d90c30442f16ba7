import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sessionDefaults } from '../options.ts';
import { BatchWriter } from './batch.ts';
import { keepalive } from './keepalive.ts';
import { RateLimit } from './limits.ts';
import { ReceiveWindow } from './receive-window.ts';
import { ReplayLog } from './replay-log.ts';
import { Scheduler, type Sendable } from './scheduler.ts';
import { FRAME, INITIAL_WINDOW_BYTES } from './wire.ts';

describe('keepalive', () => {
  const at = (
    lastReceivedAt: number,
    pingAt: number,
    load: { streams: number; unacknowledgedBytes: number },
    now: number,
  ) => keepalive({ lastReceivedAt, pingAt }, load, sessionDefaults, now);
  const never = Number.NEGATIVE_INFINITY;

  it.each([
    ['bytes wait', { streams: 1, unacknowledgedBytes: 1 }, 1_500],
    ['streams are open', { streams: 1, unacknowledgedBytes: 0 }, 5_000],
    ['nothing is open', { streams: 0, unacknowledgedBytes: 0 }, 25_000],
  ])('pings after silence when %s', (_name, load, silenceMs) => {
    const pingAt = 0;
    expect(at(0, pingAt, load, silenceMs - 1)).toEqual({ action: 'none', nextMs: 1 });
    expect(at(0, pingAt, load, silenceMs).action).toBe('ping');
  });

  it('takes any byte for a sign of life, and gives up when a ping brings none', () => {
    const load = { streams: 1, unacknowledgedBytes: 1 };
    expect(at(100, 101, load, 5_100).action).toBe('none');
    expect(at(100, 101, load, 5_101).action).toBe('dead');
    expect(at(102, 101, load, 1_000).action).toBe('none');
  });

  it('measures the round trip now and then while bytes flow', () => {
    expect(at(9_999, 0, { streams: 1, unacknowledgedBytes: 0 }, 10_000).action).toBe('ping');
    expect(at(9_999, 0, { streams: 0, unacknowledgedBytes: 0 }, 10_000).action).toBe('none');
    expect(at(0, never, { streams: 1, unacknowledgedBytes: 0 }, 0).action).toBe('ping');
  });
});

describe('ReceiveWindow', () => {
  const budget = (spareBytes = 1e9) => ({ spareBytes, maxWindowBytes: 8_388_608 });

  it('never grants more than the window, and returns what is consumed', () => {
    const window = new ReceiveWindow(budget(), 0);
    window.receive(INITIAL_WINDOW_BYTES);
    expect(() => window.receive(1)).toThrow(/credit/);
  });

  it('doubles while it is used up within two round trips, and only then', () => {
    const b = budget();
    const window = new ReceiveWindow(b, 0);
    window.receive(131_072);
    expect(window.consume(131_072)).toBe(true);
    expect(window.grant(1_000, 100)).toBe(131_072);
    window.receive(131_072);
    window.consume(131_072);
    expect(window.grant(1_100, 100)).toBe(131_072 + INITIAL_WINDOW_BYTES);
    expect(window.windowBytes).toBe(2 * INITIAL_WINDOW_BYTES);
    window.release();
    expect(b.spareBytes).toBe(1e9);
  });

  it('stays within the budget of the session and the limit of a stream', () => {
    fc.assert(
      fc.property(fc.nat(20_000_000), (spare) => {
        const b = budget(spare);
        const window = new ReceiveWindow(b, 0);
        for (let now = 0; now < 20; now++) {
          const bytes = window.windowBytes / 2;
          window.receive(bytes);
          window.consume(bytes);
          window.grant(now, 100);
        }
        expect(b.spareBytes).toBeGreaterThanOrEqual(0);
        expect(window.windowBytes).toBe(Math.min(8_388_608, INITIAL_WINDOW_BYTES + spare));
      }),
    );
  });
});

describe('Scheduler', () => {
  /** A stream with `bytes` to send, which notes its turns. */
  function source(name: string, bytes: number, turns: string[]): Sendable {
    return {
      queue: 'none',
      emit(writer, quantum) {
        const length = Math.min(bytes, quantum);
        writer.numbered(FRAME.data, 1, Buffer.alloc(length));
        bytes -= length;
        turns.push(name);
        return bytes > 0;
      },
    };
  }
  const run = (scheduler: Scheduler, writer: BatchWriter, log: ReplayLog) => {
    writer.begin();
    scheduler.fill(writer, 131_072);
    writer.finish();
    log.acknowledge(log.end);
  };

  it('lets a small message overtake everything that a bulk stream has queued', () => {
    const turns: string[] = [];
    const log = new ReplayLog();
    const writer = new BatchWriter(log);
    const scheduler = new Scheduler();
    scheduler.add(source('bulk', 10_000_000, turns));
    run(scheduler, writer, log);
    scheduler.add(source('small', 100, turns));
    turns.length = 0;
    run(scheduler, writer, log);
    expect(turns[0]).toBe('small');
  });

  it('takes turns among bulk streams', () => {
    const turns: string[] = [];
    const log = new ReplayLog();
    const writer = new BatchWriter(log);
    const scheduler = new Scheduler();
    for (const name of ['a', 'b', 'c']) scheduler.add(source(name, 10_000_000, turns));
    for (let i = 0; i < 30; i++) run(scheduler, writer, log);
    const counts = ['a', 'b', 'c'].map((name) => turns.filter((turn) => turn === name).length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  });

  it('never starves a bulk stream, however many small messages come', () => {
    const turns: string[] = [];
    const log = new ReplayLog();
    const writer = new BatchWriter(log);
    const scheduler = new Scheduler();
    scheduler.add(source('bulk', 10_000_000, turns));
    for (let i = 0; i < 20; i++) {
      for (let k = 0; k < 30; k++) scheduler.add(source('small', 10_000, turns));
      run(scheduler, writer, log);
    }
    expect(turns.filter((turn) => turn === 'bulk').length).toBeGreaterThanOrEqual(20);
    scheduler.clear();
    expect(scheduler.isEmpty).toBe(true);
  });
});

describe('ReplayLog', () => {
  it('gives back any range that is not acknowledged', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2_000), fc.nat(100)), { maxLength: 700 }), (steps) => {
        const log = new ReplayLog();
        let all = Buffer.alloc(0);
        for (const [length, percent] of steps) {
          const chunk = Buffer.alloc(length, all.length);
          log.append(chunk);
          all = Buffer.concat([all, chunk]).subarray(-60_000);
          if (percent < 30) log.acknowledge(log.start + Math.floor(((log.end - log.start) * percent) / 30));
          const from = Math.max(log.start, log.end - all.length);
          const piece = log.read(from, 500);
          const base = log.end - all.length;
          expect(piece.equals(all.subarray(from - base, from - base + piece.length))).toBe(true);
          expect(piece.length > 0).toBe(log.end > from);
        }
        log.acknowledge(log.end);
        expect(log.bytes).toBe(0);
        expect(() => log.acknowledge(log.end + 1)).toThrow(/acknowledges/);
      }),
      { numRuns: 20 },
    );
  });
});

describe('RateLimit', () => {
  it("allows a second's worth at once and the rate afterwards", () => {
    const clock = createFakeClock();
    const limit = new RateLimit(10, clock);
    const taken = () => Array.from({ length: 100 }, () => limit.take()).filter(Boolean).length;
    expect(taken()).toBe(10);
    clock.advance(500);
    expect(taken()).toBe(5);
    clock.advance(60_000);
    expect(taken()).toBe(10);
  });
});
