import { noMetrics, systemClock } from '@edgemesh/core';
import { recordStream } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { refuseAll } from '../../bench/rig.ts';
import { sessionDefaults } from '../options.ts';
import { SessionAccounts } from './limits.ts';
import { Mux } from './mux.ts';
import { encodeCredit, FRAME, INITIAL_WINDOW_BYTES } from './wire.ts';

/** A mux whose batches the test makes, on a path that takes `room` more bytes at once. */
function muxOnPath() {
  const path = { room: 0 };
  const wakes = { now: 0, later: 0 };
  const mux: Mux = new Mux({
    peerId: 'p',
    nodeName: 'peer',
    clock: systemClock,
    inbound: refuseAll,
    accounts: new SessionAccounts(sessionDefaults, noMetrics),
    idParity: 1,
    everAttached: true,
    hasPath: true,
    rttMs: () => undefined,
    hasRoomFor: (bytes) => bytes <= path.room,
    wake: () => {
      wakes.now++;
    },
    wakeLater: () => {
      wakes.later++;
    },
  });
  /** One batch of at most so many bytes, and what follows it. */
  const batch = (limit: number) => {
    mux.writer.begin();
    mux.fill(limit);
    const bytes = mux.writer.finish();
    mux.runAfterPump();
    return bytes;
  };
  const open = (id: number) => {
    const stream = recordStream(mux.dial({ address: '10.0.0.1', port: 80, kind: 'tcp' }));
    batch(1_000);
    mux.onFrame(FRAME.accept, id, Buffer.alloc(0));
    mux.onFrame(FRAME.credit, id, Buffer.from(encodeCredit(100 * INITIAL_WINDOW_BYTES)));
    return stream;
  };
  return { mux, path, wakes, batch, open };
}

describe('a stream that is told to wait', () => {
  it('goes on as soon as the path has room', async () => {
    const { path, batch, open } = muxOnPath();
    const held = open(1);
    path.room = 70_000;
    expect(held.stream.writeCopy?.(Buffer.alloc(60_000))).toBe(true);
    path.room = 61_000;
    expect(held.stream.writeCopy?.(Buffer.alloc(60_000))).toBe(false);
    batch(65_536);
    expect(held.events).not.toContain('drained');
    path.room = 100_000;
    batch(65_536);
    expect(held.events).toContain('drained');
  });

  it('takes turns with those that have much to send, instead of waiting for the end of it', async () => {
    const { path, batch, open } = muxOnPath();
    const [held, bulk] = [open(1), open(3)];
    path.room = 61_000;
    expect(held.stream.writeCopy?.(Buffer.alloc(60_000))).toBe(false);
    for (let i = 0; i < 100; i++) bulk.stream.write(Buffer.alloc(60_000));
    // The path is never empty: each batch is smaller than what bulk has waiting.
    for (let i = 0; i < 4; i++) batch(65_536);
    expect(held.events).toContain('drained');
  });
});

describe('the end of a stream', () => {
  it('is sent at the end of the turn while the peer still speaks, and takes no turn of its own', () => {
    const { mux, path, wakes, batch, open } = muxOnPath();
    const stream = open(1);
    path.room = 100_000;
    const before = wakes.now;
    stream.end();
    expect([wakes.now - before, wakes.later]).toEqual([1, 0]);
    expect(mux.hasWork).toBe(true);
    expect(batch(1_000)?.[0]).toBe(FRAME.end);
    expect(stream.events).not.toContain('closed');
  });

  it('waits for company when the peer has ended, and closes the stream then', async () => {
    const { mux, path, wakes, batch, open } = muxOnPath();
    const stream = open(1);
    path.room = 100_000;
    mux.onFrame(FRAME.end, 1, Buffer.alloc(0));
    await stream.until((s) => s.ended, 'ended');
    const before = wakes.now;
    stream.end();
    expect([wakes.now - before, wakes.later]).toEqual([0, 1]);
    batch(1_000);
    await stream.untilClosed();
    expect(mux.streams).toBe(0);
  });

  it('comes after the data that waits, on a path without room', () => {
    const { path, batch, open } = muxOnPath();
    const stream = open(1);
    path.room = 0;
    stream.write(Buffer.from('last'));
    stream.end();
    const frames = batch(1_000)?.toString('latin1') ?? '';
    expect(frames.indexOf('last')).toBeGreaterThan(0);
    expect(frames.charCodeAt(frames.indexOf('last') + 4)).toBe(FRAME.end);
  });
});
