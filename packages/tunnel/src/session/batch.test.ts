import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchWriter } from './batch.ts';
import { FrameParser } from './parser.ts';
import { ReplayLog } from './replay-log.ts';
import { FRAME, HEADER_BYTES, MAX_DATA_BYTES } from './wire.ts';

function setup() {
  const log = new ReplayLog();
  return { log, writer: new BatchWriter(log) };
}

/** The data in a batch. */
function dataOf(batch: Buffer): Buffer {
  const pieces: Buffer[] = [];
  const parser = new FrameParser({
    onData: (_, bytes) => void pieces.push(Buffer.from(bytes)),
    onFrame: () => expect.unreachable(),
    onNumbered: () => undefined,
  });
  parser.push(batch);
  expect(parser.idle).toBe(true);
  return Buffer.concat(pieces);
}

describe('a batch', () => {
  it('takes whatever it says it has room for, over as many turns and slabs as it may be', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: MAX_DATA_BYTES }), { maxLength: 60 }), (sizes) => {
        const { log, writer } = setup();
        for (const [i, size] of sizes.entries()) {
          writer.begin();
          const before: Buffer[] = [];
          let next = i;
          while (writer.hasRoomFor(HEADER_BYTES + size) && before.length < 20) {
            const chunk = Buffer.alloc(size, next++);
            writer.numbered(FRAME.data, 1, chunk);
            before.push(chunk);
          }
          expect(before.length).toBeGreaterThan(0);
          const batch = writer.finish();
          expect(batch && dataOf(batch).equals(Buffer.concat(before))).toBe(true);
          log.acknowledge(log.end);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('that is open stays whole when its carrier is lost, and its memory is not used again', () => {
    const { log, writer } = setup();
    writer.begin();
    writer.numbered(FRAME.data, 1, Buffer.from('before '));
    writer.forgetSlabs();
    writer.begin();
    writer.numbered(FRAME.data, 1, Buffer.from('after'));
    const batch = writer.finish() as Buffer;
    expect(dataOf(batch).toString()).toBe('before after');
    log.acknowledge(log.end);
    // The old carrier may still hold it: slab after slab is filled, none may be this one.
    for (let i = 0; i < 200; i++) {
      writer.begin();
      writer.numbered(FRAME.data, 1, Buffer.alloc(MAX_DATA_BYTES, 0xee));
      writer.finish();
      log.acknowledge(log.end);
    }
    expect(dataOf(batch).toString()).toBe('before after');
  });

  it('holds nothing once it is finished', () => {
    const { writer } = setup();
    expect(writer.bytes).toBe(0);
    writer.begin();
    writer.numbered(FRAME.data, 1, Buffer.from('x'));
    expect(writer.bytes).toBe(HEADER_BYTES + 1);
    writer.finish();
    expect(writer.bytes).toBe(0);
    writer.begin();
    expect(writer.finish()).toBeUndefined();
  });
});
