import { setImmediate as turn } from 'node:timers/promises';
import { MeshError } from '@edgemesh/core';
import { expect, it } from 'vitest';
import { fill } from './material.ts';
import type { RecordedStream, RecordOptions } from './recorders.ts';

/** What the suite of byte streams lends. */
export interface ResetSuite {
  /** Records both ends of the streams of this test. */
  readonly both: (forB?: RecordOptions) => readonly [RecordedStream, RecordedStream];
  readonly maxInFlightBytes: number;
}

/** The part of the contract of byte streams that is about aborting. */
export function describeResets({ both, maxInFlightBytes }: ResetSuite): void {
  it('aborts both directions once, this side with the given error, the far side with an error', async () => {
    const [a, b] = both();
    a.write('x');
    await b.until(() => b.receivedBytes === 1, 'a byte');
    const error = new MeshError('limit', 'too much');
    a.reset(error);
    a.reset();
    a.reset(new MeshError('timeout', 'late'));
    await Promise.all([a.untilClosed(), b.untilClosed()]);
    expect(a.error).toBe(error);
    expect(b.error).toBeInstanceOf(MeshError);
    expect(b.ended).toBe(false);
  });

  it('aborts with code aborted when no error is given, from either end', async () => {
    const [a, b] = both();
    b.write('x');
    await a.until(() => a.receivedBytes === 1, 'a byte');
    b.reset();
    await Promise.all([a.untilClosed(), b.untilClosed()]);
    expect(b.error?.code).toBe('aborted');
    expect(a.error).toBeInstanceOf(MeshError);
  });

  it('aborts from within data', async () => {
    const [a, b] = both({ onData: (_chunk, self) => self.reset() });
    a.write(Buffer.alloc(1000));
    a.write(Buffer.alloc(1000));
    await Promise.all([a.untilClosed(), b.untilClosed()]);
    expect(b.error?.code).toBe('aborted');
  });

  it('aborts after its own half-close', async () => {
    const [a, b] = both();
    a.write('x');
    a.end();
    await b.until(() => b.ended, 'ended');
    a.reset();
    await a.untilClosed();
    expect(a.error?.code).toBe('aborted');
    // After its end a TCP peer learns of a reset only when it writes, and each hop needs a write of its own.
    for (let i = 0; i < 1000 && !b.closed; i++) {
      b.write('y');
      await turn();
    }
    await b.untilClosed();
    expect(b.error).toBeInstanceOf(MeshError);
  });

  it('aborts although the far side does not read', async () => {
    const [a, b] = both();
    b.pause();
    await fill(a, maxInFlightBytes);
    a.reset();
    await a.untilClosed();
    b.resume();
    await b.untilClosed();
    expect(b.error).toBeInstanceOf(MeshError);
  });

  it('stays silent after closed', async () => {
    const [a, b] = both();
    a.reset();
    await Promise.all([a.untilClosed(), b.untilClosed()]);
    for (const end of [a, b]) {
      end.write('x');
      end.pause();
      end.resume();
      end.end();
      end.reset();
    }
    for (let i = 0; i < 10; i++) await turn();
    expect([a.violations, b.violations]).toEqual([[], []]);
  });
}
