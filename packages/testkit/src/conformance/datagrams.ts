import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { type Datagrams, MeshError } from '@edgemesh/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RecordedDatagrams, recordDatagrams } from './recorders.ts';

/** Two connected ends, neither attached yet. What is sent on `a` arrives at `b`; `b` may be a server that `a` speaks first to. */
export interface DatagramsSetup {
  readonly a: Datagrams;
  readonly b: Datagrams;
  dispose?(): Promise<void> | void;
  /** Flows or sockets still held once both ends have closed; must be 0. */
  leftovers?(): number;
}

/** Payload sizes whose borders are easily lost: empty, tiny, around an MTU, around 4 KiB and the largest that UDP can carry. */
const SIZES = [1, 0, 2, 1_472, 1_473, 4_095, 4_096, 4_097, 9_000, 65_000, 65_506, 65_507];

/** What the channel under test cannot do. */
export interface DatagramsSuiteOptions {
  /** False where closing one end cannot tell the other (plain UDP). Default true. */
  readonly closeReachesPeer?: boolean;
}

/** The contract of {@link Datagrams}, held against any implementation. The factory is called once per test. */
export function describeDatagrams(
  name: string,
  factory: () => Promise<DatagramsSetup> | DatagramsSetup,
  options: DatagramsSuiteOptions = {},
): void {
  describe(`${name} as Datagrams`, () => {
    let setup: DatagramsSetup;
    let records: RecordedDatagrams[] = [];
    const both = () => {
      records = [recordDatagrams(setup.a), recordDatagrams(setup.b)];
      return records as [RecordedDatagrams, RecordedDatagrams];
    };

    beforeEach(async () => {
      records = [];
      setup = await factory();
    });

    afterEach(async () => {
      for (const made of records) {
        made.close();
        await made.untilClosed();
      }
      for (let i = 0; i < 100 && (setup.leftovers?.() ?? 0) > 0; i++) await turn();
      expect(setup.leftovers?.() ?? 0).toBe(0);
      await setup.dispose?.();
      for (const made of records) expect(made.violations).toEqual([]);
    });

    it.each(SIZES)('keeps the borders of a datagram of %i bytes, both ways', async (size) => {
      const [a, b] = both();
      const up = randomBytes(size);
      const down = randomBytes(size);
      expect(a.send(Buffer.from(up))).toBe(true);
      await b.until(() => b.messages.length === 1, 'a datagram');
      expect(b.send(Buffer.from(down))).toBe(true);
      await a.until(() => a.messages.length === 1, 'a datagram');
      expect(Buffer.compare(b.messages[0] as Uint8Array, up)).toBe(0);
      expect(Buffer.compare(a.messages[0] as Uint8Array, down)).toBe(0);
    });

    it('merges and splits nothing when many are sent at once', async () => {
      const [a, b] = both();
      const sent = Array.from({ length: 40 }, (_, i) => Buffer.alloc(i * 37, i));
      for (const payload of sent) a.send(Buffer.from(payload));
      await b.until(() => b.messages.length === sent.length, `${sent.length} datagrams`);
      const keys = (list: readonly Uint8Array[]) => list.map((m) => Buffer.from(m).toString('hex')).sort();
      expect(keys(b.messages)).toEqual(keys(sent));
    });

    it('gives each payload to the receiver for good', async () => {
      const [a, b] = both();
      for (let i = 0; i < 10; i++) {
        a.send(Buffer.alloc(2_000, i));
        await b.until(() => b.messages.length === i + 1, 'a datagram');
      }
      expect(b.messages.map((m) => m[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(b.messages.every((m) => m.every((byte) => byte === m[0]))).toBe(true);
    });

    it('drops what is too big, and says so', () => {
      const [a] = both();
      expect(a.send(new Uint8Array(65_508))).toBe(false);
      expect(a.closed).toBe(false);
    });

    it('closes once, without error when none is given', async () => {
      const [a, b] = both();
      a.send('x');
      await b.until(() => b.messages.length === 1, 'a datagram');
      a.close();
      a.close(new MeshError('timeout', 'late'));
      await a.untilClosed();
      expect(a.error).toBeUndefined();
      expect(a.send('y')).toBe(false);
      if (options.closeReachesPeer === false) return;
      await b.untilClosed();
      expect(b.error).toBeUndefined();
    });

    it('closes with the given error', async () => {
      const [a] = both();
      const error = new MeshError('limit', 'too many');
      a.close(error);
      await a.untilClosed();
      expect(a.error).toBe(error);
    });

    it('delivers nothing after close', async () => {
      const [a, b] = both();
      a.send('hello');
      await b.until(() => b.messages.length === 1, 'a datagram');
      a.close();
      await a.untilClosed();
      const before = a.messages.length;
      b.send('too late');
      for (let i = 0; i < 10; i++) await turn();
      expect(a.messages).toHaveLength(before);
    });
  });
}
