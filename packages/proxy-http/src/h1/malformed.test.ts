import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allTo, clusterOf, endpointAt, exchangeRaw, startProxy, type TestProxy } from '../test-support.ts';

/** Requests that the backend has seen; a smuggled one would be among them. */
const seen: string[] = [];
const backend = createServer((request, response) => {
  seen.push(`${request.method} ${request.url}`);
  request.resume();
  request.on('end', () => response.end('ok'));
});
let proxy: TestProxy;

beforeAll(async () => {
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve));
  const { port } = backend.address() as AddressInfo;
  proxy = await startProxy(
    allTo(clusterOf('b')),
    { b: [endpointAt(port)] },
    { limits: { headerTimeoutMs: 200, bodyIdleMs: 200 } },
  );
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  backend.closeAllConnections();
  await new Promise((resolve) => backend.close(resolve));
});

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n';
const get = (...lines: string[]) => `GET /x HTTP/1.1\r\nHost: h\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
const post = (body: string, ...lines: string[]) =>
  `POST /x HTTP/1.1\r\nHost: h\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;

const REFUSED: readonly (readonly [name: string, raw: string, status: number])[] = [
  // Two framings at once, RFC 9112 6.3.
  ['CL and TE', post(`0\r\n\r\n${SMUGGLED}`, 'Content-Length: 4', 'Transfer-Encoding: chunked'), 400],
  ['TE and CL', post(`0\r\n\r\n${SMUGGLED}`, 'Transfer-Encoding: chunked', 'Content-Length: 4'), 400],
  ['two different CL', post(`abcde${SMUGGLED}`, 'Content-Length: 5', 'Content-Length: 0'), 400],
  ['two equal CL', post('abcde', 'Content-Length: 5', 'Content-Length: 5'), 400],
  ['CL list', post('abcde', 'Content-Length: 5, 5'), 400],
  ['CL with sign', post('abcde', 'Content-Length: +5'), 400],
  ['negative CL', post('abcde', 'Content-Length: -5'), 400],
  ['hexadecimal CL', post('abcde', 'Content-Length: 0x5'), 400],
  ['CL with space inside', post('abcde', 'Content-Length: 5 5'), 400],
  ['empty CL', post('', 'Content-Length:'), 400],
  ['CL beyond all bounds', post('', 'Content-Length: 99999999999999999999'), 400],
  ['TE not chunked', post('x', 'Transfer-Encoding: identity'), 501],
  ['TE gzip', post('x', 'Transfer-Encoding: gzip'), 501],
  ['TE gzip, chunked', post('0\r\n\r\n', 'Transfer-Encoding: gzip, chunked'), 400],
  ['TE chunked twice', post('0\r\n\r\n', 'Transfer-Encoding: chunked, chunked'), 400],
  ['TE on two lines', post('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'), 400],
  ['TE with a tab and rubbish', post('0\r\n\r\n', 'Transfer-Encoding: chunked\tx'), 400],
  ['TE with vertical tab', post('0\r\n\r\n', 'Transfer-Encoding: \x0bchunked'), 400],
  ['TE in quotes', post('0\r\n\r\n', 'Transfer-Encoding: "chunked"'), 400],
  ['space before the colon of TE', post(`0\r\n\r\n${SMUGGLED}`, 'Transfer-Encoding : chunked'), 400],
  ['TE in HTTP/1.0', 'POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  // Lines that two parsers could divide differently.
  ['folded line', get('X-A: b', ' c'), 400],
  ['folded TE', post('0\r\n\r\n', 'Transfer-Encoding:', ' chunked'), 400],
  ['first field folded', 'GET /x HTTP/1.1\r\n Host: h\r\n\r\n', 400],
  ['bare LF after a field', 'GET /x HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n', 400],
  ['bare LF everywhere', 'GET /x HTTP/1.1\nHost: h\n\n', 400],
  ['bare LF at the end', 'GET /x HTTP/1.1\r\nHost: h\r\n\n', 400],
  ['bare CR in a value', get('X-A: b\rX-B: c'), 400],
  ['bare CR before CRLF', get('X-A: b\r'), 400],
  ['NUL in a value', get('X-A: b\0c'), 400],
  ['NUL in a name', get('X\0A: b'), 400],
  ['DEL in a value', get('X-A: \x7f'), 400],
  ['no colon', get('X-A'), 400],
  ['empty name', get(': b'), 400],
  ['space in a name', get('X A: b'), 400],
  ['space before a colon', get('X-A : b'), 400],
  ['parenthesis in a name', get('X(A): b'), 400],
  ['high byte in a name', get('X\xe4: b'), 400],
  // Chunks.
  ['chunk size not hex', post('g\r\n', 'Transfer-Encoding: chunked'), 400],
  ['chunk size with 0x', post('0x1\r\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['chunk size with sign', post('+1\r\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['chunk size with space', post('1 \r\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['space before a chunk size', post(' 1\r\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['missing chunk size', post('\r\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['chunk size too large', post('ffffffffffffffff\r\n', 'Transfer-Encoding: chunked'), 400],
  ['chunk longer than its size', post('1\r\nab\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['bare LF after a size', post('1\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['bare LF after data', post('1\r\na\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['bare LF in an extension', post('1;x\na\r\n0\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['bare LF in trailers', post('0\r\nX: y\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['trailer without colon', post('0\r\nnothing\r\n\r\n', 'Transfer-Encoding: chunked'), 400],
  ['endless extensions', post(`1;${'x'.repeat(5_000)}\r\na\r\n0\r\n\r\n`, 'Transfer-Encoding: chunked'), 400],
  // Host and target.
  ['no Host', 'GET /x HTTP/1.1\r\nX: y\r\n\r\n', 400],
  ['two Hosts', get('Host: other'), 400],
  ['two equal Hosts', get('Host: h'), 400],
  ['Host with a path', 'GET /x HTTP/1.1\r\nHost: h/x\r\n\r\n', 400],
  ['Host with user', 'GET /x HTTP/1.1\r\nHost: a@h\r\n\r\n', 400],
  ['Host with a bad port', 'GET /x HTTP/1.1\r\nHost: h:99999\r\n\r\n', 400],
  ['Host list', 'GET /x HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['absolute form for another host', 'GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['absolute form with user', 'GET http://u@h/x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['absolute form of another scheme', 'GET ftp://h/x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['target without slash', 'GET x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['asterisk for GET', 'GET * HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['fragment', 'GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['space in the target', 'GET /x y HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['tab in the target', 'GET /x\ty HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['high byte in the target', 'GET /\xe4 HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['CONNECT', 'CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n', 501],
  ['TRACE', 'TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n', 405],
  // The request line.
  ['two spaces', 'GET  /x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['tab as separator', 'GET\t/x\tHTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['no version', 'GET /x\r\nHost: h\r\n\r\n', 400],
  ['version in lower case', 'GET /x http/1.1\r\nHost: h\r\n\r\n', 400],
  ['HTTP/2.0 in text', 'GET /x HTTP/2.0\r\nHost: h\r\n\r\n', 505],
  ['HTTP/0.9', 'GET /x HTTP/0.9\r\nHost: h\r\n\r\n', 505],
  ['two digits', 'GET /x HTTP/1.10\r\nHost: h\r\n\r\n', 400],
  ['invalid method', 'G(T /x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
  ['endless method', `${'G'.repeat(40)} /x HTTP/1.1\r\nHost: h\r\n\r\n`, 400],
  ['TLS to a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400],
  // Connection naming what it may not.
  ['Connection: content-length', post('abc', 'Content-Length: 3', 'Connection: content-length'), 400],
  ['Connection: host', get('Connection: close, Host'), 400],
  [
    'Connection: transfer-encoding',
    post('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Connection: Transfer-Encoding'),
    400,
  ],
  ['Connection with rubbish', get('Connection: a b'), 400],
  // Limits.
  ['too many fields', get(...Array.from({ length: 120 }, (_, i) => `X-${i}: y`)), 431],
  ['too long a field', get(`X-A: ${'y'.repeat(40_000)}`), 431],
  ['too long a target', `GET /${'x'.repeat(9_000)} HTTP/1.1\r\nHost: h\r\n\r\n`, 414],
  ['unknown expectation', post('a', 'Content-Length: 1', 'Expect: 200-ok'), 417],
  ['upgrade with a body', post('a', 'Content-Length: 1', 'Connection: upgrade', 'Upgrade: websocket'), 400],
  ['head that never ends', 'GET /x HTTP/1.1\r\nHost: h\r\nX-A: ', 408],
  ['body that never comes', post('ab', 'Content-Length: 5'), 408],
];

describe('a malformed request', () => {
  it.each(REFUSED)('%s', async (_name, raw, status) => {
    const answer = await exchangeRaw(proxy.port, raw);
    expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    expect(answer.toLowerCase()).toContain('connection: close');
  });

  it('never lets what follows it reach a backend', () => {
    expect(seen.filter((request) => request.includes('smuggled'))).toEqual([]);
    // And what is refused by its head is not forwarded at all; bodies are refused after the head has gone.
    expect(seen.every((request) => request === 'POST /x')).toBe(true);
  });
});

const ACCEPTED: readonly (readonly [name: string, raw: string])[] = [
  ['plain', get('Connection: close')],
  ['empty line first', `\r\n\r\n${get('Connection: close')}`],
  ['white space around values', get('X-A: \t b \t ', 'Connection: close')],
  ['empty value', get('X-A:', 'Connection: close')],
  ['absolute form', 'GET http://h/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'],
  ['HTTP/1.0 without Host', 'GET /x HTTP/1.0\r\n\r\n'],
  ['empty Host', 'GET /x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'],
  [
    'chunks with extensions and trailers',
    post('1;a=b\r\nx\r\n00\r\nX-T: y\r\n\r\n', 'Transfer-Encoding: Chunked', 'Connection: close'),
  ],
  ['a body with GET', `GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\na`],
  ['latin1 in a value', get('X-A: \xe4', 'Connection: close')],
  [
    'ignored h2c upgrade',
    get('Connection: upgrade, HTTP2-Settings, close', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'),
  ],
  ['OPTIONS of the server', 'OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'],
];

describe('an unusual but correct request', () => {
  it.each(ACCEPTED)('%s', async (_name, raw) => {
    const answer = await exchangeRaw(proxy.port, raw);
    expect(answer.slice(0, 15)).toBe('HTTP/1.1 200 OK');
    expect(answer).toContain('ok');
  });
});

describe('a silent client', () => {
  it('is closed without an answer when it has said nothing', async () => {
    expect(await exchangeRaw(proxy.port, '')).toBe('');
  });

  it('cannot hold a head open a byte at a time', async () => {
    const { connect } = await import('node:net');
    const socket = connect({ port: proxy.port, host: '127.0.0.1' });
    socket.on('error', () => socket.destroy());
    const started = performance.now();
    const timer = setInterval(() => socket.write('a'), 20);
    const answer = await new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(String(chunk))));
    clearInterval(timer);
    expect(answer).toMatch(/^HTTP\/1\.1 408/);
    expect(performance.now() - started).toBeLessThan(2_000);
    socket.destroy();
  });
});
