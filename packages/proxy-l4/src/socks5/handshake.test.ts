import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createSocks5Handshake,
  encodeReply,
  type HandshakeStep,
  REPLY,
  replyFor,
  type Socks5Request,
} from './handshake.ts';

const bytes = (...parts: readonly (number | string | readonly number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part)] : part)));
const HELLO = bytes(5, 1, 0);
const HELLO_PASSWORD = bytes(5, 2, 0, 2);
const named = (host: string, port = 80, command = 1) =>
  bytes(5, command, 0, 3, Buffer.byteLength(host), host, port >> 8, port & 255);

/** Feeds everything in pieces and adds up the steps. */
function run(input: Uint8Array, cuts: readonly number[] = [], check?: (u: string, p: string) => boolean) {
  const machine = createSocks5Handshake(check);
  const sent: number[] = [];
  let last: HandshakeStep = {};
  const borders = [...new Set([0, ...cuts.filter((c) => c < input.length), input.length])].sort((a, b) => a - b);
  for (let i = 1; i < borders.length; i++) {
    if (last.request || last.failed) {
      // Bytes after the request belong to the connection; the caller no longer feeds them.
      const rest = Buffer.concat([last.rest ?? Buffer.alloc(0), input.subarray(borders[i - 1])]);
      return { sent, ...last, rest };
    }
    last = machine.feed(input.subarray(borders[i - 1], borders[i]));
    sent.push(...(last.send ?? []));
  }
  return { sent, ...last };
}

const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

describe('the SOCKS5 handshake', () => {
  it.each<[string, Uint8Array, Socks5Request]>([
    ['a name', named('Edge-1', 22), { host: 'edge-1', isName: true, port: 22 }],
    ['an IPv4 address', bytes(5, 1, 0, 1, 10, 0, 0, 7, 1, 187), { host: '10.0.0.7', isName: false, port: 443 }],
    [
      'an IPv6 address',
      bytes(5, 1, 0, 4, 0xfd, Array(14).fill(0), 1, 0, 80),
      { host: 'fd00::1', isName: false, port: 80 },
    ],
  ])('reads a request for %s', (_, request, expected) => {
    const result = run(join(HELLO, request));
    expect(result).toMatchObject({ request: expected, sent: [5, 0] });
    expect(result.rest).toHaveLength(0);
  });

  it('reads the same from pieces of any size, and hands over what follows', () => {
    const check = (user: string, password: string) => user === 'u' && password === 'secret';
    const input = join(HELLO_PASSWORD, bytes(1, 1, 'u', 6, 'secret'), named('web.shop', 8080), bytes('SSH-2.0-client'));
    fc.assert(
      fc.property(fc.array(fc.nat(input.length)), (cuts) => {
        const result = run(input, cuts, check);
        expect(result.request).toEqual({ host: 'web.shop', isName: true, port: 8080, username: 'u' });
        expect(result.sent).toEqual([5, 2, 1, 0]);
        expect(Buffer.from(result.rest as Uint8Array).toString()).toBe('SSH-2.0-client');
      }),
    );
    const byteByByte = run(input, [...input.keys()], check);
    expect(byteByByte.request?.host).toBe('web.shop');
  });

  it.each<[string, Uint8Array, HandshakeStep['failed'], number[]]>([
    ['SOCKS4', bytes(4, 1, 0, 22), 'not-socks5', []],
    ['HTTP', bytes('GET / HTTP/1.1'), 'not-socks5', []],
    ['a client without a method we know', bytes(5, 1, 1), 'no-method', [5, 255]],
    ['a client that offers nothing', bytes(5, 0), 'no-method', [5, 255]],
    ['BIND', join(HELLO, named('x', 80, 2)), 'command', [5, 0, ...encodeReply(REPLY.commandNotSupported)]],
    ['UDP ASSOCIATE', join(HELLO, named('x', 80, 3)), 'command', [5, 0, ...encodeReply(REPLY.commandNotSupported)]],
    [
      'an unknown address type',
      join(HELLO, bytes(5, 1, 0, 9, 0)),
      'address-type',
      [5, 0, ...encodeReply(REPLY.addressTypeNotSupported)],
    ],
    ['port 0', join(HELLO, named('x', 0)), 'malformed', [5, 0, ...encodeReply(REPLY.generalFailure)]],
    ['an empty name', join(HELLO, named('')), 'malformed', [5, 0, ...encodeReply(REPLY.generalFailure)]],
    [
      'a wrong version in the request',
      join(HELLO, bytes(4, 1, 0, 1, 1)),
      'malformed',
      [5, 0, ...encodeReply(REPLY.generalFailure)],
    ],
  ])('refuses %s', (_, input, failed, sent) => {
    expect(run(input)).toMatchObject({ failed, sent });
  });

  it('demands credentials where there is a check, and refuses wrong ones', () => {
    const check = (user: string, password: string) => user === 'a' && password === '';
    expect(run(HELLO, [], check)).toMatchObject({ failed: 'no-method' });
    const withPassword = (message: Uint8Array) => run(join(HELLO_PASSWORD, message), [], check);
    expect(withPassword(bytes(1, 1, 'a', 1, 'x'))).toMatchObject({ failed: 'bad-credentials', sent: [5, 2, 1, 1] });
    expect(withPassword(bytes(9, 1, 'a', 0))).toMatchObject({ failed: 'malformed' });
    expect(run(join(HELLO_PASSWORD, bytes(1, 1, 'a', 0), named('x')), [], check).request?.username).toBe('a');
  });

  it('never throws, and never keeps more than one message, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), fc.boolean(), (pieces, withCheck) => {
        const machine = createSocks5Handshake(withCheck ? () => true : undefined);
        for (const piece of [HELLO_PASSWORD, ...pieces]) {
          const step = machine.feed(piece);
          if (step.request) expect(step.request.port).toBeGreaterThan(0);
          if (step.request || step.failed) {
            expect(machine.feed(piece)).toEqual({});
            return;
          }
        }
      }),
    );
  });

  it('answers failed dials with the code that fits', () => {
    expect(replyFor('refused')).toBe(5);
    expect(replyFor('forbidden')).toBe(2);
    expect(replyFor('unknown-node')).toBe(4);
    expect(replyFor('timeout')).toBe(6);
    expect(replyFor('limit')).toBe(1);
  });
});
