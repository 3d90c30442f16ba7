import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BatchWriter } from './batch.ts';
import type { ChannelHost } from './channel.ts';
import { MuxDatagrams } from './datagrams.ts';

/** A channel whose frames go into a list when `pump` is called, as they would go into a batch. */
function channel(queueBytes: number) {
  const sent: Buffer[] = [];
  const host = { ready: () => undefined, dropped: () => undefined, sent: () => undefined, forget: () => undefined };
  const datagrams = new MuxDatagrams(host as unknown as ChannelHost, 1, 'packets', undefined, queueBytes);
  const writer = {
    hasRoom: true,
    numbered: () => undefined,
    // A batch copies at once, and so does this.
    unnumbered: (_type: number, _id: number, payload: Uint8Array) => void sent.push(Buffer.from(payload)),
  };
  return { datagrams, sent, pump: (quantum: number) => datagrams.emit(writer as unknown as BatchWriter, quantum) };
}

describe('sendCopy', () => {
  it('keeps every queued datagram as it was, however the caller uses its memory again', async () => {
    const step = fc.oneof(
      fc.record({ size: fc.integer({ min: 20_000, max: 65_555 }), own: fc.constantFrom(true, false, false, false) }),
      fc.record({ pump: fc.integer({ min: 1, max: 40_000 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const { datagrams, sent, pump } = channel(200_000);
        const memory = Buffer.alloc(65_555);
        const accepted: { size: number; mark: number }[] = [];
        for (const [n, one] of steps.entries()) {
          if ('pump' in one) {
            pump(one.pump);
            continue;
          }
          const payload = memory.subarray(0, one.size).fill(n);
          const taken = one.own ? datagrams.send(Buffer.from(payload)) : datagrams.sendCopy(payload);
          if (taken) accepted.push({ size: one.size, mark: n & 255 });
          memory.fill(255);
        }
        while (pump(1_000_000));
        expect(sent.map((bytes) => bytes.length)).toEqual(accepted.map(({ size }) => size));
        for (const [i, bytes] of sent.entries()) {
          if (!bytes.equals(Buffer.alloc(bytes.length, accepted[i]?.mark)))
            throw new Error(`datagram ${i} was overwritten`);
        }
        await turn();
      }),
      { numRuns: 60 },
    );
  });
});
