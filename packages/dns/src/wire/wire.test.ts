import packet from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeQuestion, readReply } from '../../test/client.ts';
import { FLAG, RCODE, TYPE } from './constants.ts';
import { createDeframer, frame } from './framing.ts';
import { questionKey } from './key.ts';
import { encodeName, formatName, isWithin, lowerAscii, type Name, parseName, readName, skipName } from './name.ts';
import { createQueryView, DROP, parseQuery } from './query.ts';
import { extendedError, replyWith, replyWithError } from './reply.ts';
import { expandRdata, extendedRcode, scanMessage, ttlOf, withoutOpt } from './scan.ts';
import { type WireRecord, writeMessage } from './writer.ts';

const label = fc
  .uint8Array({ minLength: 1, maxLength: 63 })
  .map((bytes) => lowerAscii(Buffer.from(bytes).toString('latin1')));
const name: fc.Arbitrary<Name> = fc
  .array(label, { maxLength: 6 })
  .filter((labels) => labels.reduce((sum, l) => sum + l.length + 1, 1) <= 255);
const rdata: fc.Arbitrary<Pick<WireRecord, 'type' | 'data'>> = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((data) => ({ type: TYPE.A as number, data: Buffer.from(data) })),
  fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((data) => ({ type: TYPE.AAAA as number, data: Buffer.from(data) })),
  name.map((target) => ({ type: TYPE.CNAME as number, data: encodeName(target) })),
  fc.uint8Array({ maxLength: 300 }).map((data) => ({ type: 65_280, data: Buffer.from(data) })),
);
const record: fc.Arbitrary<WireRecord> = fc
  .record({ name, ttl: fc.nat(0x7fff_ffff), rdata })
  .map(({ name, ttl, rdata }) => ({ name, ttl, ...rdata }));
const section = fc.array(record, { maxLength: 8 });

function question(of: Name, type = 1): Buffer {
  return Buffer.concat([encodeName(of), Buffer.from([type >> 8, type & 255, 0, 1])]);
}

describe('a name', () => {
  it('survives writing and reading, whatever bytes its labels hold', () => {
    fc.assert(
      fc.property(name, (labels) => {
        const wire = encodeName(labels);
        expect(readName(wire, 0)).toEqual(labels);
        expect(skipName(wire, 0)).toBe(wire.length);
      }),
    );
  });

  it('is refused when a pointer does not lead backwards', () => {
    const header = Buffer.alloc(12);
    const read = (bytes: readonly number[], at: number) =>
      readName(Buffer.concat([header, Buffer.from(bytes)]), 12 + at);
    expect(read([0xc0, 12], 0)).toBeUndefined();
    expect(read([1, 97, 0xc0, 12], 0)).toBeUndefined();
    expect(read([0xc0, 14, 0xc0, 12], 2)).toBeUndefined();
    expect(read([0, 1, 97, 0xc0, 12], 1)).toEqual(['a']);
  });

  it('is refused when what a pointer leads to runs into the pointer again', () => {
    const message = Buffer.concat([Buffer.alloc(12), Buffer.from([3, 97, 98, 0xc0, 12, 97, 0])]);
    expect(readName(message, 15)).toBeUndefined();
    expect(readName(Buffer.concat([Buffer.alloc(12), Buffer.from([1, 97, 0xc0, 12])]), 14)).toBeUndefined();
  });

  it('is refused when a pointer leads into the header', () => {
    expect(readName(Buffer.concat([Buffer.alloc(13), Buffer.from([1, 97, 0xc0, 11])]), 13)).toBeUndefined();
  });

  it('is limited to 255 bytes, also through pointers', () => {
    const long = Buffer.concat([encodeName(Array.from({ length: 4 }, () => 'x'.repeat(60))), Buffer.from([20])]);
    const doubled = Buffer.concat([
      Buffer.alloc(12),
      long.subarray(0, -1),
      Buffer.from([20]),
      Buffer.alloc(20, 121),
      Buffer.from([0xc0, 12]),
    ]);
    expect(readName(doubled, 12 + long.length - 1)).toBeUndefined();
  });

  it('is read from text, lower-cased, or refused', () => {
    expect(parseName('Foo.Example.')).toEqual(['foo', 'example']);
    expect(parseName('.')).toEqual([]);
    for (const bad of ['a..b', '.a', 'x'.repeat(64), `${'a.'.repeat(130)}a`, 'snow☃man']) {
      expect(parseName(bad)).toBeUndefined();
    }
    expect(formatName(['a.b', 'c\\', ' '])).toBe('a\\046b.c\\092.\\032.');
    expect(isWithin(['a', 'b', 'c'], ['b', 'c'])).toBe(true);
    expect(isWithin(['xb', 'c'], ['b', 'c'])).toBe(false);
  });
});

describe('parseQuery', () => {
  const view = createQueryView();
  const valid = encodeQuestion('Web.default.svc.cluster.local', 'A', { edns: 4096 });
  const change = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(valid);
    copy.set(bytes, at);
    return copy;
  };

  it('reads a query with EDNS', () => {
    expect(parseQuery(valid, view)).toBe(RCODE.NOERROR);
    expect(view).toMatchObject({ qtype: TYPE.A, qclass: 1, edns: true, udpSize: 4096, dnssecOk: false });
  });

  const optAt = valid.length - 11;
  it.each([
    ['shorter than a header', Buffer.alloc(11), DROP],
    ['a response', change(2, 0x81), DROP],
    ['NOTIFY', change(2, 0x21), RCODE.NOTIMP],
    ['UPDATE', change(2, 0x29), RCODE.NOTIMP],
    ['no question', change(4, 0, 0), RCODE.FORMERR],
    ['two questions', change(4, 0, 2), RCODE.FORMERR],
    ['a record that is not there', change(10, 0, 2), RCODE.FORMERR],
    ['a pointer as question', change(12, 0xc0, 0x0c), RCODE.FORMERR],
    ['a label type nobody knows', change(12, 0x43), RCODE.FORMERR],
    ['class CH', change(optAt - 2, 0, 3), RCODE.REFUSED],
    ['class ANY', change(optAt - 2, 0, 255), RCODE.REFUSED],
    ['AXFR', change(optAt - 4, 0, 252), RCODE.REFUSED],
    ['IXFR', change(optAt - 4, 0, 251), RCODE.REFUSED],
    ['TKEY', change(optAt - 4, 0, 249), RCODE.NOTIMP],
    ['OPT as question', change(optAt - 4, 0, 41), RCODE.FORMERR],
    ['EDNS version 1', change(optAt + 6, 1), RCODE.BADVERS],
    [
      'OPT not owned by the root',
      Buffer.concat([change(10, 0, 1).subarray(0, optAt), Buffer.from('016100', 'hex'), valid.subarray(optAt + 1)]),
      RCODE.FORMERR,
    ],
    ['two OPTs', Buffer.concat([change(10, 0, 2), valid.subarray(optAt)]), RCODE.FORMERR],
    ['OPT among the answers', Buffer.concat([change(6, 0, 1, 0, 0, 0, 0)]), RCODE.FORMERR],
    ['an option that is cut off', Buffer.concat([change(optAt + 9, 0, 3), Buffer.from([0, 10, 0])]), RCODE.FORMERR],
    ['cut in the header of the question', valid.subarray(0, optAt - 3), RCODE.FORMERR],
  ])('answers %s by the book', (_what, message, verdict) => {
    expect(parseQuery(message, view)).toBe(verdict);
  });

  it('never throws, and its reply is always a readable message of the same id', () => {
    const mutated = fc
      .record({
        cut: fc.nat(valid.length + 20),
        edits: fc.array(fc.tuple(fc.nat(valid.length + 19), fc.nat(255)), { maxLength: 6 }),
      })
      .map(({ cut, edits }) => {
        const bytes = Buffer.concat([valid, Buffer.alloc(20)]);
        for (const [at, value] of edits) bytes[at] = value;
        return bytes.subarray(0, cut);
      });
    fc.assert(
      fc.property(
        fc.oneof(
          mutated,
          fc.uint8Array({ maxLength: 600 }).map((b) => Buffer.from(b)),
        ),
        (message) => {
          const verdict = parseQuery(message, view);
          if (verdict === DROP) return;
          const reply = replyWithError(message, view, verdict, 1232);
          expect(reply.readUInt16BE(0)).toBe(message.readUInt16BE(0));
          expect(reply.readUInt16BE(2) & FLAG.QR).not.toBe(0);
          if (view.questionEnd > 0) {
            const scan = scanMessage(reply);
            expect(scan && extendedRcode(reply, scan)).toBe(verdict);
            questionKey(message, view.nameEnd, 0);
          } else expect(reply).toHaveLength(12);
        },
      ),
      { numRuns: 3_000 },
    );
  });
});

describe('a message', () => {
  it('comes back from reading as it was written, names uncompressed', () => {
    fc.assert(
      fc.property(name, section, section, section, (qname, answers, authorities, additionals) => {
        const packet = writeMessage(question(qname), qname, { flags: FLAG.QR, answers, authorities, additionals });
        const scan = scanMessage(packet);
        expect(scan).toBeDefined();
        const read = scan?.records.map((span) => ({
          name: readName(packet, span.start),
          ttl: ttlOf(packet, span),
          type: span.type,
          data: expandRdata(packet, span),
        }));
        const plain = ({ name, ttl, type, data }: WireRecord) => ({ name, ttl, type, data });
        expect(read).toEqual([...answers, ...authorities, ...additionals].map(plain));
      }),
    );
  });

  it('never makes the scanner throw, whatever is done to it', () => {
    const bytes = fc.tuple(
      name,
      section,
      fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { maxLength: 8 }),
      fc.nat(3_000),
    );
    fc.assert(
      fc.property(bytes, ([qname, answers, edits, cut]) => {
        const message = writeMessage(question(qname), qname, { flags: FLAG.QR, answers }).subarray(0, cut);
        for (const [at, value] of edits) if (at < message.length) message[at] = value;
        const scan = scanMessage(message);
        if (scan === undefined) return;
        for (const span of scan.records) expandRdata(message, span);
        expect(scanMessage(withoutOpt(message, scan))).toBeDefined();
      }),
      { numRuns: 2_000 },
    );
  });

  it('is read alike by an independent decoder', () => {
    const web = ['web', 'svc', 'cluster', 'local'];
    const answers = [1, 2, 3].map((i) => ({ name: web, type: TYPE.A, ttl: 5, data: Buffer.from([10, 0, 0, i]) }));
    const bytes = writeMessage(question(web), web, { flags: FLAG.QR | FLAG.AA, answers });
    expect(readReply(bytes).answers).toEqual([1, 2, 3].map((i) => `web.svc.cluster.local 5 A 10.0.0.${i}`));
    // Each owner name is a pointer to the question: 16 bytes a record.
    expect(bytes).toHaveLength(12 + 27 + 3 * 16 - 27 + question(web).length);
  });

  it('leaves out what does not fit into 64 KiB and says so', () => {
    const answers = Array.from({ length: 300 }, () => ({ name: ['a'], type: 65_280, ttl: 1, data: Buffer.alloc(300) }));
    const bytes = writeMessage(question(['a']), ['a'], { flags: FLAG.QR, answers });
    expect(bytes.length).toBeLessThanOrEqual(65_535);
    expect(bytes.readUInt16BE(2) & FLAG.TC).not.toBe(0);
    expect(scanMessage(bytes)).toBeDefined();
  });
});

describe('replyWith', () => {
  const web = ['web', 'test'];
  const answers = Array.from({ length: 40 }, (_, i) => ({
    name: web,
    type: TYPE.A,
    ttl: 5,
    data: Buffer.from([10, 0, 0, i]),
  }));
  const encoded = writeMessage(question(web), web, { flags: FLAG.QR, answers });
  const scan = scanMessage(encoded);
  const starts = scan?.records.map((span) => span.start) ?? [];
  const rotation = { starts, end: encoded.length };
  const view = createQueryView();

  it('keeps the client’s id, spelling, RD and CD', () => {
    const query = encodeQuestion('wEb.TEST', 'A');
    query[3] = FLAG.CD;
    parseQuery(query, view);
    const reply = readReply(replyWith({ packet: encoded }, query, view, 65_535, 0, 1232));
    expect(reply.packet).toMatchObject({ id: query.readUInt16BE(0), flag_rd: true, flag_cd: true });
    expect(reply.answers[0]).toBe('wEb.TEST 5 A 10.0.0.0');
  });

  it('never exceeds the limit, cuts at records, sets TC, and rotates what it keeps', () => {
    fc.assert(
      fc.property(fc.integer({ min: 64, max: 900 }), fc.nat(100), fc.boolean(), (limit, turn, edns) => {
        const query = encodeQuestion('web.test', 'A', edns ? { edns: 1232 } : {});
        parseQuery(query, view);
        const raw = replyWith({ packet: encoded, rotation }, query, view, limit, turn, 1232);
        expect(raw.length).toBeLessThanOrEqual(limit);
        const reply = readReply(raw);
        expect(reply.tc).toBe(reply.answers.length < answers.length);
        expect(reply.opt !== undefined).toBe(edns);
        if (reply.answers.length > 0) expect(reply.answers[0]).toBe(`web.test 5 A 10.0.0.${turn % 40}`);
        expect(new Set(reply.answers).size).toBe(reply.answers.length);
      }),
    );
  });

  it('carries extended errors to clients with EDNS only', () => {
    const options = extendedError(22, 'nobody there');
    for (const edns of [undefined, 1232]) {
      const query = encodeQuestion('web.test', 'A', edns === undefined ? {} : { edns });
      parseQuery(query, view);
      const raw = replyWithError(query, view, RCODE.SERVFAIL, 1232, options);
      expect(raw.includes('nobody there')).toBe(edns !== undefined);
      expect(packet.decode(raw).questions).toHaveLength(1);
    }
  });
});

describe('the deframer', () => {
  it('gives the same messages however the stream is cut', () => {
    const messages = fc.array(
      fc.uint8Array({ maxLength: 700 }).map((b) => Buffer.from(b)),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.map(frame));
        const deframer = createDeframer();
        const got: Buffer[] = [];
        const take = () => {
          for (let next = deframer.next(); next !== undefined; next = deframer.next()) got.push(Buffer.from(next));
        };
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length] as number;
          deframer.push(stream.subarray(at, at + size));
          at += size;
          // Taking may lag behind pushing.
          if (i % 3 !== 2) take();
        }
        take();
        expect(got).toEqual(sent);
        expect(deframer.buffered).toBe(0);
      }),
    );
  });
});
