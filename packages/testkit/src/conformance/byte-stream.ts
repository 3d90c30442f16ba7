import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { ByteStream } from '@edgemesh/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeResets } from './byte-stream-resets.ts';
import { fill, MIB, material, sha256 } from './material.ts';
import { type RecordedStream, type RecordOptions, recordStream } from './recorders.ts';

/** Two connected ends, neither attached yet. */
export interface ByteStreamSetup {
  readonly a: ByteStream;
  readonly b: ByteStream;
  /** Frees listeners, sessions and the like after each test. */
  dispose?(): Promise<void> | void;
  /** Streams, sockets or buffers still held once both ends have closed; must be 0. */
  leftovers?(): number;
}

/** Sizes of the byte stream suite. */
export interface ByteStreamSuiteOptions {
  /** Bytes of the big transfers, each way. Default 8 MiB. */
  readonly bigBytes?: number;
  /** Most that may be in flight towards a paused reader before `write` must have answered false for good. Default 64 MiB. */
  readonly maxInFlightBytes?: number;
}

/** The contract of {@link ByteStream}, held against any implementation. The factory is called once per test. */
export function describeByteStream(
  name: string,
  factory: () => Promise<ByteStreamSetup> | ByteStreamSetup,
  options: ByteStreamSuiteOptions = {},
): void {
  describe(`${name} as a ByteStream`, () => {
    const bigBytes = options.bigBytes ?? 8 * MIB;
    const maxInFlightBytes = options.maxInFlightBytes ?? 64 * MIB;
    let setup: ByteStreamSetup;
    let records: RecordedStream[] = [];
    const record = (stream: ByteStream, recordOptions?: RecordOptions) => {
      const made = recordStream(stream, recordOptions);
      records.push(made);
      return made;
    };
    const both = (forB?: RecordOptions) => [record(setup.a), record(setup.b, forB)] as const;

    beforeEach(async () => {
      records = [];
      setup = await factory();
    });

    afterEach(async () => {
      for (const made of records) {
        if (!made.closed) made.reset();
        expect(made.violations).toEqual([]);
        await made.untilClosed();
      }
      for (let i = 0; i < 100 && (setup.leftovers?.() ?? 0) > 0; i++) await turn();
      expect(setup.leftovers?.() ?? 0).toBe(0);
      await setup.dispose?.();
      for (const made of records) {
        expect(made.events.filter((event) => event === 'closed')).toHaveLength(1);
        expect(made.events.at(-1)).toBe('closed');
      }
    });

    it('delivers what is written, in order, both ways', async () => {
      const [a, b] = both();
      a.write('one ');
      a.write('two');
      b.write('three');
      await b.until(() => b.receivedBytes === 7, '7 bytes');
      await a.until(() => a.receivedBytes === 5, '5 bytes');
      expect([b.text(), a.text()]).toEqual(['one two', 'three']);
    });

    it('takes writes before the far side is attached', async () => {
      const a = record(setup.a);
      a.write('early');
      a.end();
      for (let i = 0; i < 5; i++) await turn();
      const b = record(setup.b);
      await b.until(() => b.ended, 'ended');
      expect(b.text()).toBe('early');
    });

    it('carries big transfers both ways at once, unharmed', async () => {
      const [a, b] = both();
      const up = material(bigBytes);
      const down = material(bigBytes);
      await Promise.all([a.pump(up.chunks).then(() => a.end()), b.pump(down.chunks).then(() => b.end())]);
      await Promise.all([a.untilClosed(), b.untilClosed()]);
      expect([sha256(b), sha256(a)]).toEqual([up.hash, down.hash]);
      expect([a.error, b.error]).toEqual([undefined, undefined]);
    });

    it('gives each chunk to the receiver for good', async () => {
      const kept: Buffer[] = [];
      const a = record(setup.a);
      // What the receiver scribbles into its chunk must not show up anywhere else.
      const b = record(setup.b, {
        onData(chunk) {
          kept.push(Buffer.from(chunk));
          chunk.fill(0xee);
        },
      });
      const { chunks, hash } = material(MIB);
      await a.pump(chunks);
      a.end();
      await b.until(() => b.ended, 'ended');
      expect(createHash('sha256').update(Buffer.concat(kept)).digest('hex')).toBe(hash);
      expect(b.chunks.every((chunk) => chunk.every((byte) => byte === 0xee))).toBe(true);
    });

    it('half-closes one direction and leaves the other open', async () => {
      for (const swap of [false, true]) {
        if (swap) {
          await Promise.all(records.map((made) => made.untilClosed()));
          await setup.dispose?.();
          setup = await factory();
        }
        const [a, b] = both();
        const [first, second] = swap ? [b, a] : [a, b];
        first.write('question');
        first.end();
        await second.until(() => second.ended, 'ended');
        expect(second.text()).toBe('question');
        expect([first.closed, second.closed]).toEqual([false, false]);
        second.write('answer');
        await first.until(() => first.receivedBytes === 6, 'the answer');
        expect(first.closed).toBe(false);
        second.end();
        await Promise.all([first.untilClosed(), second.untilClosed()]);
        expect(first.text()).toBe('answer');
        expect([first.error, second.error]).toEqual([undefined, undefined]);
        expect(first.events.slice(-2)).toEqual(['ended', 'closed']);
      }
    });

    it('sends everything written before end', async () => {
      const [a, b] = both();
      const { chunks, hash } = material(MIB);
      for (const chunk of chunks) a.write(chunk);
      a.end();
      await b.until(() => b.ended, 'ended');
      expect(sha256(b)).toBe(hash);
    });

    it('drops what is written after end', async () => {
      const [a, b] = both();
      a.write('kept');
      a.end();
      a.write('dropped');
      a.end();
      await b.until(() => b.ended, 'ended');
      b.end();
      await Promise.all([a.untilClosed(), b.untilClosed()]);
      expect(b.text()).toBe('kept');
      expect(a.error).toBeUndefined();
    });

    it('delivers nothing while paused, holds the writer back, and continues after resume', async () => {
      const [a, b] = both();
      b.pause();
      const written = await fill(a, maxInFlightBytes);
      expect(written).toBeLessThan(maxInFlightBytes);
      expect(a.falseWrites).toBeGreaterThan(0);
      // A chunk that was read before the pause may still have been on its way; none may follow (see violations).
      const before = b.receivedBytes;
      for (let i = 0; i < 20; i++) await turn();
      expect(b.receivedBytes).toBe(before);
      const drains = a.drains;
      b.resume();
      await b.until(() => b.receivedBytes === written, `${written} bytes`);
      await a.until(() => a.drains > drains, 'drained');
    });

    it('pauses from within data, again and again, without losing a byte', async () => {
      const a = record(setup.a);
      let pauses = 0;
      const b = record(setup.b, {
        onData(_chunk, self) {
          if (++pauses > 50) return;
          self.pause();
          setImmediate(() => self.resume());
        },
      });
      const { chunks, hash } = material(2 * MIB);
      await a.pump(chunks);
      a.end();
      await b.until(() => b.ended, 'ended');
      expect(sha256(b)).toBe(hash);
    });

    it('announces the end of a paused stream only after its data', async () => {
      const [a, b] = both();
      b.pause();
      a.write('before the end');
      a.end();
      for (let i = 0; i < 20; i++) await turn();
      b.resume();
      await b.until(() => b.ended, 'ended');
      expect(b.text()).toBe('before the end');
    });

    it('answers from within data and ends from within ended', async () => {
      const a = record(setup.a);
      record(setup.b, {
        onData: (chunk, self) => void self.write(Buffer.from(chunk)),
        onEnded: (self) => self.end(),
      });
      a.write('echo');
      a.end();
      await a.untilClosed();
      expect(a.text()).toBe('echo');
      expect(a.error).toBeUndefined();
    });

    describeResets({ both, maxInFlightBytes });
  });
}
