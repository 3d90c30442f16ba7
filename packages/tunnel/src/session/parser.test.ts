import { MeshError } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TunnelError } from '../errors.ts';
import { BatchWriter } from './batch.ts';
import { type FrameHandler, FrameParser } from './parser.ts';
import { ReplayLog } from './replay-log.ts';
import * as wire from './wire.ts';

interface Seen {
  frames: { type: number; id: number; payload: string }[];
  numbered: number;
}

/** Collects frames; DATA pieces of one id are joined, for how they are cut does not matter. */
function collector(): { seen: Seen; handler: FrameHandler } {
  const seen: Seen = { frames: [], numbered: 0 };
  const handler: FrameHandler = {
    onData(id, bytes) {
      const last = seen.frames.at(-1);
      if (bytes.length === 0) throw new Error('empty data');
      if (last?.type === wire.FRAME.data && last.id === id) last.payload += bytes.toString('hex');
      else seen.frames.push({ type: wire.FRAME.data, id, payload: bytes.toString('hex') });
    },
    onFrame: (type, id, payload) => void seen.frames.push({ type, id, payload: payload.toString('hex') }),
    onNumbered(bytes) {
      seen.numbered += bytes;
    },
  };
  return { seen, handler };
}

const TYPES = [...Object.values(wire.FRAME)];
const anyFrame = fc.record({
  type: fc.oneof(fc.constantFrom(...TYPES), fc.integer({ min: 0, max: 255 })),
  id: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});
const encode = (frames: { type: number; id: number; payload: Uint8Array }[]) =>
  Buffer.concat(frames.map(({ type, id, payload }) => wire.encodeFrame(type, id, payload)));

/** Cuts bytes at the given places. */
function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes.length === 0 ? bytes.length : (sizes[i % sizes.length] as number);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function parse(bytes: Buffer, sizes: readonly number[]): Seen {
  const { seen, handler } = collector();
  const parser = new FrameParser(handler);
  for (const piece of cut(bytes, sizes)) parser.push(Buffer.from(piece));
  return seen;
}

describe('FrameParser', () => {
  it('finds the same frames wherever the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 50 })), (frames, sizes) => {
        const bytes = encode(frames);
        const whole = parse(bytes, []);
        expect(parse(bytes, sizes)).toEqual(whole);
        expect(parse(bytes, [1])).toEqual(whole);
        const known = frames.filter(({ type }) => TYPES.includes(type as 1) && type !== wire.FRAME.data);
        const others = whole.frames.filter(({ type }) => type !== wire.FRAME.data);
        expect(others).toEqual(known.map((f) => ({ ...f, payload: Buffer.from(f.payload).toString('hex') })));
      }),
    );
  });

  it('counts exactly the bytes of numbered frames, unknown ones included', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 12 }), (frames) => {
        const expected = frames
          .filter(({ type }) => wire.isNumbered(type))
          .reduce((sum, { payload }) => sum + wire.HEADER_BYTES + payload.length, 0);
        expect(parse(encode(frames), [7]).numbered).toBe(expected);
      }),
    );
  });

  it('goes on in another parser from any byte at which it was cut, repeating what was not counted', () => {
    const numbered = anyFrame.map((frame) => ({ ...frame, type: frame.type & 0x7f }));
    fc.assert(
      fc.property(fc.array(numbered, { minLength: 1, maxLength: 8 }), fc.nat(), (frames, place) => {
        const bytes = encode(frames);
        const whole = parse(bytes, []);
        const { seen, handler } = collector();
        const first = new FrameParser(handler);
        first.push(bytes.subarray(0, place % bytes.length));
        const second = new FrameParser(handler, first.inProgress);
        second.push(bytes.subarray(seen.numbered));
        expect(seen).toEqual(whole);
      }),
    );
  });

  it('fails with a protocol error only, whatever it is fed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.integer({ min: 1, max: 99 }), (bytes, size) => {
        try {
          parse(Buffer.from(bytes), [size]);
        } catch (error) {
          expect(error).toBeInstanceOf(TunnelError);
          expect(error).toMatchObject({ code: 'protocol' });
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['data', wire.FRAME.data, wire.MAX_DATA_BYTES],
    ['a datagram', wire.FRAME.datagram, wire.MAX_PACKET_BYTES],
    ['OPEN', wire.FRAME.open, wire.MAX_CONTROL_BYTES],
  ])('refuses %s of more than its limit before anything is kept', (_name, type, limit) => {
    const header = Buffer.alloc(wire.HEADER_BYTES);
    wire.putHeader(header, 0, type, 1, limit);
    const { handler } = collector();
    new FrameParser(handler).push(header);
    wire.putHeader(header, 0, type, 1, limit + 1);
    expect(() => new FrameParser(handler).push(header)).toThrow(/bytes/);
  });

  it('skips an unknown frame of 16 MiB and finds the next one', () => {
    const { seen, handler } = collector();
    const parser = new FrameParser(handler);
    const header = Buffer.alloc(wire.HEADER_BYTES);
    wire.putHeader(header, 0, 0xf0, 0, 0xff_ffff);
    parser.push(header);
    const piece = Buffer.alloc(0xffff);
    for (let left = 0xff_ffff; left > 0; left -= piece.length) parser.push(piece.subarray(0, left));
    parser.push(wire.encodeFrame(wire.FRAME.ping, 0, Buffer.alloc(8)));
    expect(seen.frames).toHaveLength(1);
  });

  it('hears nothing after stop, not even from the chunk in hand', () => {
    const { seen, handler } = collector();
    const parser = new FrameParser({
      ...handler,
      onFrame(type, id, payload) {
        handler.onFrame(type, id, payload);
        parser.stop();
      },
    });
    parser.push(encode(Array.from({ length: 3 }, () => ({ type: wire.FRAME.ping, id: 0, payload: Buffer.alloc(8) }))));
    expect(seen.frames).toHaveLength(1);
  });
});

describe('payloads', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 8 });

  it('come back as they were encoded', () => {
    const kind = fc.constantFrom('tcp' as const, 'udp' as const, 'packets' as const);
    fc.assert(
      fc.property(kind, text, fc.nat(65_535), text, (k, address, port, clientAddress) => {
        const open = { kind: k, address, port, clientAddress };
        expect(wire.decodeOpen(wire.encodeOpen(open))).toEqual(open);
      }),
    );
    const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
    fc.assert(
      fc.property(
        id,
        id,
        fc.maxSafeNat(),
        fc.boolean(),
        fc.boolean(),
        (localId, remoteId, received, needed, preferred) => {
          fc.pre(!/^0+$/.test(remoteId));
          const frame = {
            localId,
            remoteId,
            received,
            lastStart: received % 2 ** 32,
            path: 'relayed' as const,
            needed,
            preferred,
          };
          expect(wire.decodeAttach(wire.encodeAttach(frame))).toEqual(frame);
        },
      ),
    );
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.nat(), (from, number) => {
        const start = { number, from, to: Number.MAX_SAFE_INTEGER };
        expect(wire.decodeStart(wire.encodeStart(start))).toEqual(start);
      }),
    );
    const error = new MeshError('forbidden', 'not for you', { retryable: true });
    expect(wire.decodeReset(wire.encodeReset(error))).toEqual({
      code: 'forbidden',
      reason: 'not for you',
      retryable: true,
    });
    expect(wire.decodeGoaway(wire.encodeGoaway('secret', 'why'))).toEqual({ code: 'secret', reason: 'why' });
    const hello = {
      versionMin: 1,
      versionMax: 3,
      nodeName: 'edge-1',
      proofs: [Buffer.alloc(32, 1), Buffer.alloc(32, 2)],
    };
    expect(wire.decodeHello(wire.encodeHello(hello))).toEqual(hello);
  });

  it('of garbage give a value or a protocol error', () => {
    const decoders = [
      wire.decodeOpen,
      wire.decodeReset,
      wire.decodeCredit,
      wire.decodeHello,
      wire.decodeAttach,
      wire.decodeStart,
      wire.decodeReplay,
      wire.decodeGoaway,
      (payload: Buffer) => wire.readOffset(payload),
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.constantFrom(...decoders), (bytes, decode) => {
        try {
          decode(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(TunnelError);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('BatchWriter', () => {
  it('logs exactly the numbered bytes, and never writes into memory that the peer may still lack', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.nat(60_000), fc.nat(100)), { minLength: 20, maxLength: 60 }),
        (steps) => {
          const log = new ReplayLog();
          const writer = new BatchWriter(log);
          const kept: { batch: Buffer; copy: Buffer }[] = [];
          let fill = 0;
          for (const [isNumbered, length, ack] of steps) {
            writer.begin();
            const payload = Buffer.alloc(length, fill++);
            if (isNumbered) writer.numbered(wire.FRAME.data, 1, payload);
            else writer.unnumbered(wire.FRAME.datagram, 1, payload);
            const batch = writer.finish() as Buffer;
            kept.push({ batch, copy: Buffer.from(batch) });
            if (ack < 50) log.acknowledge(log.start + Math.floor(((log.end - log.start) * ack) / 50));
            // Everything that is not acknowledged can be repeated, byte for byte.
            const numbered = Buffer.concat(
              kept.map(({ copy }) => copy).filter((copy) => wire.isNumbered(copy[0] as number)),
            );
            expect(numbered.length).toBe(log.end);
            let at = log.start;
            while (at < log.end) {
              const piece = log.read(at, 10_000);
              expect(piece.equals(numbered.subarray(at, at + piece.length))).toBe(true);
              at += piece.length;
            }
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  it('uses a slab again once everything in it is acknowledged, and not before', () => {
    const log = new ReplayLog();
    const writer = new BatchWriter(log);
    const memory = () => {
      writer.begin();
      writer.numbered(wire.FRAME.data, 1, Buffer.alloc(60_000));
      return (writer.finish() as Buffer).buffer;
    };
    const first = memory();
    let second = first;
    while (second === first) second = memory();
    log.acknowledge(log.end - 60_008 - 1);
    let third = second;
    while (third === second) third = memory();
    expect(third).not.toBe(first);
    log.acknowledge(log.end);
    let fourth = third;
    while (fourth === third) fourth = memory();
    expect(fourth).toBe(first);
  });

  it('needs no other slab for frames that nobody acknowledges', () => {
    const writer = new BatchWriter(new ReplayLog());
    const memory = new Set<ArrayBufferLike>();
    for (let i = 0; i < 100; i++) {
      writer.begin();
      writer.unnumbered(wire.FRAME.datagram, 1, Buffer.alloc(60_000));
      memory.add((writer.finish() as Buffer).buffer);
    }
    expect(memory.size).toBe(1);
  });
});
