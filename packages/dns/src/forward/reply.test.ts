import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readReply as decode } from '../../test/client.ts';
import { CACHE_DEFAULTS } from '../options.ts';
import { FLAG, TYPE } from '../wire/constants.ts';
import { createQueryView, parseQuery } from '../wire/query.ts';
import { replyWith } from '../wire/reply.ts';
import { scanMessage } from '../wire/scan.ts';
import { writeMessage } from '../wire/writer.ts';
import { createDnsCache, freshAnswer, staleAnswer } from './cache.ts';
import { prepare } from './cacheable.ts';
import { readReply } from './outcome.ts';
import { encodeQuery, questionFor } from './question.ts';

const name = ['www', 'example', 'test'];
const question = questionFor(name, TYPE.A);
const record = (i: number, ttl = 60) => ({ name, type: TYPE.A, ttl, data: Buffer.from([192, 0, 2, i]) });

/** An upstream's answer with three addresses and an OPT that carries a cookie and an extended error. */
function answer(ttl = 60): Buffer {
  const body = writeMessage(question.wire, name, {
    flags: FLAG.QR | FLAG.AA | FLAG.RA | FLAG.RD | 0x40,
    answers: [record(1, ttl), record(2, ttl), record(3, ttl + 5)],
  });
  const opt = Buffer.from('0000290200000000000012000a00080102030405060708000f00020016', 'hex');
  body.writeUInt16BE(1, 10);
  return Buffer.concat([body, opt]);
}

describe('an upstream answer', () => {
  it('is accepted for the question that was asked, in any spelling, and for no other', () => {
    expect(readReply(answer(), question.wire)?.rcode).toBe(0);
    const shouted = Buffer.from(answer());
    shouted[13] = 'W'.charCodeAt(0);
    expect(readReply(shouted, question.wire)).toBeDefined();
    for (const other of [questionFor(['ww', 'example', 'test'], TYPE.A), questionFor(name, TYPE.AAAA)]) {
      expect(readReply(answer(), other.wire)).toBeUndefined();
    }
  });

  it('loses its OPT, AA and reserved bits, and keeps extended errors', () => {
    const stored = prepare(readReply(answer(), question.wire) as never, CACHE_DEFAULTS, true);
    const packet = stored?.answer.packet as Buffer;
    expect(packet.readUInt16BE(2)).toBe(FLAG.QR | FLAG.RA);
    expect(packet.readUInt16BE(10)).toBe(0);
    expect(stored?.answer.options?.toString('hex')).toBe('000f00020016');
    expect(stored).toMatchObject({ lifetimeSeconds: 60, ttls: [60, 60, 65] });
  });

  it('is refused when a name in it points into the header', () => {
    const message = answer();
    const first = 12 + question.wire.length;
    expect(message.readUInt16BE(first)).toBe(0xc000 | 12);
    message.writeUInt16BE(0xc000 | 3, first);
    expect(readReply(message, question.wire)).toBeUndefined();
  });

  it('never makes reading, preparing or giving it throw, whatever is done to it', () => {
    const edits = fc.array(fc.tuple(fc.nat(answer().length - 1), fc.nat(255)), { maxLength: 6 });
    const view = createQueryView();
    const query = encodeQuery(question, true, 1232);
    parseQuery(query, view);
    fc.assert(
      fc.property(edits, fc.nat(answer().length), fc.nat(40), (changes, cut, turn) => {
        const message = answer();
        for (const [at, value] of changes) message[at] = value;
        const reply = readReply(
          message.subarray(0, cut === 0 ? message.length : message.length - (cut % 30)),
          question.wire,
        );
        const stored = reply && prepare(reply, CACHE_DEFAULTS, turn % 2 === 0);
        if (stored === undefined) return;
        for (const limit of [512, 65_535]) {
          const given = replyWith(stored.answer, query, view, limit, turn, 1232);
          expect(given.length).toBeLessThanOrEqual(limit);
          expect(scanMessage(given)).toBeDefined();
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('counts down every TTL, and is given stale with one TTL for all, however often the two alternate', () => {
    const cache = createDnsCache(CACHE_DEFAULTS);
    const stored = prepare(readReply(answer(), question.wire) as never, CACHE_DEFAULTS, true);
    cache.set('k', stored as never, 0);
    const entry = cache.get('k', 0) as never;
    const ttls = (packet: Buffer) => decode(packet).answers.map((text) => text.split(' ')[1]);
    expect(ttls(freshAnswer(entry, 10_900).packet)).toEqual(['50', '50', '55']);
    expect(ttls(staleAnswer(entry, 30, Buffer.alloc(0)).packet)).toEqual(['30', '30', '30']);
    expect(ttls(freshAnswer(entry, 63_000).packet)).toEqual(['0', '0', '2']);
  });
});
