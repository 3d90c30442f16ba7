import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HttpProxyError } from '../errors.ts';
import { type BodyDecoder, type BodyEvents, ChunkedDecoder, LengthDecoder } from './body-decoder.ts';
import { HeadBuffer } from './head-buffer.ts';
import { parseRequestHead } from './parse-request.ts';
import { parseResponseHead } from './parse-response.ts';

const limits = { maxTrailerBytes: 1_000, maxTrailerCount: 10, maxChunkExtensionBytes: 100 };

function record() {
  const seen = { data: Buffer.alloc(0), ended: 0, trailers: undefined as string[] | undefined };
  const events: BodyEvents = {
    data(chunk) {
      seen.data = Buffer.concat([seen.data, chunk]);
    },
    ended(trailers) {
      seen.ended++;
      seen.trailers = trailers;
    },
  };
  return { seen, events };
}

/** Feeds in pieces and gives what was left over. */
function feedAll(decoder: BodyDecoder, bytes: Buffer, cuts: readonly number[]): Buffer {
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    const end = Math.max(at, Math.min(cut, bytes.length));
    const piece = bytes.subarray(at, end);
    const used = decoder.feed(piece, 0);
    at += used;
    if (decoder.done) break;
  }
  return bytes.subarray(at);
}

const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 8 });
const cuts = fc.array(fc.nat(400), { maxLength: 20 }).map((list) => list.sort((a, b) => a - b));

describe('the chunked coding', () => {
  it('gives back what was encoded, however it is cut, and leaves what follows', () => {
    fc.assert(
      fc.property(pieces, cuts, fc.boolean(), (chunks, where, withTrailers) => {
        const encoded = Buffer.concat([
          ...chunks.flatMap((chunk) => [
            Buffer.from(`${chunk.length.toString(16)};e=x\r\n`),
            chunk,
            Buffer.from('\r\n'),
          ]),
          Buffer.from(withTrailers ? '0\r\nX-A: b\r\nHost: no\r\n\r\n' : '0\r\n\r\n'),
          Buffer.from('NEXT'),
        ]);
        const { seen, events } = record();
        const left = feedAll(new ChunkedDecoder(events, limits, 'bad-request'), encoded, where);
        expect(seen.data).toEqual(Buffer.concat(chunks));
        expect(seen.ended).toBe(1);
        expect(seen.trailers).toEqual(withTrailers ? ['x-a', 'b'] : undefined);
        expect(left.toString()).toBe('NEXT');
      }),
    );
  });

  it('never throws anything but its error', () => {
    const soup = fc.string({
      unit: fc.constantFrom('0', '1', 'a', 'f', '\r\n', '\r', '\n', ';', ' ', 'x', ':', '\0'),
      maxLength: 40,
    });
    fc.assert(
      fc.property(soup, cuts, (text, where) => {
        const { events } = record();
        try {
          feedAll(new ChunkedDecoder(events, limits, 'bad-request'), Buffer.from(text, 'latin1'), where);
        } catch (error) {
          expect(error).toBeInstanceOf(HttpProxyError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('a body of known length', () => {
  it('takes exactly its bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.integer({ min: 1, max: 100 }),
        cuts,
        (bytes, length, where) => {
          const { seen, events } = record();
          const left = feedAll(new LengthDecoder(length, events), Buffer.from(bytes), where);
          expect(seen.data).toEqual(Buffer.from(bytes).subarray(0, length));
          expect(seen.ended).toBe(bytes.length >= length ? 1 : 0);
          expect(left).toEqual(Buffer.from(bytes).subarray(Math.min(length, bytes.length)));
        },
      ),
    );
  });
});

describe('heads', () => {
  const units = fc.constantFrom(
    'GET',
    ' ',
    '/',
    'HTTP/1.1',
    '\r\n',
    '\r\n',
    '\n',
    'Host: h',
    'Content-Length: 1',
    'Transfer-Encoding: chunked',
    ':',
    'a',
    '\t',
    '\0',
    'Connection: close',
    'HTTP/1.1 200 OK',
  );
  const soup = fc.array(units, { maxLength: 20 }).map((parts) => parts.join(''));

  /** As a connection reads heads: characters are judged where they are collected. */
  const through = <T>(text: string, parse: (head: string) => T): T | undefined => {
    const heads = new HeadBuffer(1_000, 'header-too-large', 'bad-request');
    const found = heads.feed(Buffer.from(`${text}\r\n\r\n`, 'latin1'));
    return found && parse(found.text);
  };

  it('never throw anything but the error of the package', () => {
    fc.assert(
      fc.property(soup, (text) => {
        for (const parse of [
          () => through(text, (head) => parseRequestHead(head, 'http', { maxHeaderCount: 10, maxUriBytes: 100 })),
          () => through(text, (head) => parseResponseHead(head, 'GET', 10)),
        ]) {
          try {
            parse();
          } catch (error) {
            expect(error).toBeInstanceOf(HttpProxyError);
          }
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('that are accepted never carry two framings', () => {
    fc.assert(
      fc.property(soup, (text) => {
        try {
          const parsed = through(`GET / HTTP/1.1\r\nHost: h\r\n${text}`, (lines) =>
            parseRequestHead(lines, 'http', { maxHeaderCount: 30, maxUriBytes: 100 }),
          );
          if (parsed === undefined) return;
          const { head } = parsed;
          expect(head.headers.filter((_, i) => i % 2 === 0)).not.toContain('content-length');
          expect(head.headers.join()).not.toMatch(/[\r\n\0]/);
          if (head.body === 'stream') expect(head.contentLength).toBeUndefined();
        } catch (error) {
          expect(error).toBeInstanceOf(HttpProxyError);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('are found the same however they are cut', () => {
    const text = 'GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\nrest';
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 10 }), (where) => {
        const heads = new HeadBuffer(1_000, 'header-too-large', 'bad-request');
        let at = 0;
        for (const cut of [...where.sort((a, b) => a - b), text.length]) {
          const found = heads.feed(Buffer.from(text.slice(at, cut)));
          at = cut;
          if (found === undefined) continue;
          expect(found.text).toBe('GET / HTTP/1.1\r\nHost: h\r\nX: y');
          expect(Buffer.from(found.rest).toString() + text.slice(at)).toBe('rest');
          return;
        }
        throw new Error('not found');
      }),
    );
  });

  it('are refused the same however they are cut', () => {
    /** What a parser that sees everything at once would say. */
    const forbidden = (text: string) => {
      const end = text.indexOf('\r\n\r\n');
      // The last CR of a whole head is that of its end; of a part, it may still get its LF.
      const head = end < 0 ? text : text.slice(0, end + 2);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
      return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|$)|(?<!\r)\n|\n[ \t]/.test(head);
    };
    const units = fc.constantFrom('a', 'b: c', '\r\n', '\r\n', '\r', '\n', ' ', '\t', '\0', '\x7f', '\xff');
    const texts = fc.array(units, { minLength: 1, maxLength: 12 }).map((parts) => `GET${parts.join('')}`);
    fc.assert(
      fc.property(texts, fc.array(fc.nat(40), { maxLength: 6 }), (text, where) => {
        const heads = new HeadBuffer(1_000, 'header-too-large', 'bad-request');
        const bytes = Buffer.from(text, 'latin1');
        let outcome: string | undefined;
        let at = 0;
        try {
          for (const cut of [...where.filter((n) => n < bytes.length).sort((a, b) => a - b), bytes.length]) {
            if (cut > at) outcome ??= heads.feed(bytes.subarray(at, cut))?.text;
            at = Math.max(at, cut);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(HttpProxyError);
          expect(forbidden(text)).toBe(true);
          return;
        }
        expect(forbidden(text)).toBe(false);
        const end = text.indexOf('\r\n\r\n');
        expect(outcome).toBe(end < 0 ? undefined : text.slice(0, end));
      }),
      { numRuns: 2_000 },
    );
  });
});
