import { createServer } from 'node:net';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseClientHello } from './client-hello.ts';

let real: Buffer;

beforeAll(async () => {
  real = await new Promise<Buffer>((resolve) => {
    const server = createServer((socket) =>
      socket.once('data', (bytes) => {
        resolve(bytes);
        socket.destroy();
        server.close();
      }),
    ).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      connect({ port, host: '127.0.0.1', servername: 'Shop.Example.com', ALPNProtocols: ['h2', 'http/1.1'] }).on(
        'error',
        () => undefined,
      );
    });
  });
});

/** The same handshake message in records of this many bytes. */
function inRecordsOf(size: number): Buffer {
  const message = real.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

describe('a ClientHello', () => {
  it('of OpenSSL tells its server name and protocols', () => {
    expect(parseClientHello(real)).toEqual({ serverName: 'shop.example.com', alpn: ['h2', 'http/1.1'] });
  });

  it('is incomplete until its last byte, wherever it is cut', () => {
    for (let length = 0; length < real.length; length++) {
      expect(parseClientHello(real.subarray(0, length))).toBe('more');
    }
    expect(parseClientHello(Buffer.concat([real, Buffer.from('more')]))).toHaveProperty('serverName');
  });

  it('may come in several records', () => {
    for (const size of [1, 3, 4, 5, 100, 511])
      expect(parseClientHello(inRecordsOf(size))).toMatchObject({ serverName: 'shop.example.com' });
  });

  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['SSH', Buffer.from('SSH-2.0-x')],
    ['an alert', Buffer.from([21, 3, 1, 0, 2, 2, 40])],
    ['SSL 2', Buffer.from([0x80, 0x2e, 1, 0, 2])],
    ['a ServerHello', Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0])],
    ['an empty record', Buffer.from([22, 3, 1, 0, 0])],
  ])('is not %s', (_, bytes) => {
    expect(parseClientHello(bytes)).toBe('invalid');
  });

  it('never throws, whatever is done to its bytes', () => {
    const edit = fc.tuple(fc.nat({ max: 600 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 8 }), fc.nat({ max: 600 }), (edits, cut) => {
        const bytes = Buffer.from(real);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        const result = parseClientHello(bytes.subarray(0, Math.max(cut, 6)));
        if (typeof result === 'string') expect(['more', 'invalid']).toContain(result);
        else expect(Array.isArray(result.alpn)).toBe(true);
      }),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        (bytes) => void parseClientHello(Buffer.concat([Buffer.from([22, 3, 1]), bytes])),
      ),
    );
  });
});
