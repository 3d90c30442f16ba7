import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { block, frame } from './h2/test-frames.ts';
import {
  allTo,
  clusterOf,
  endpointAt,
  exchangeRaw,
  type RawServer,
  startProxy,
  startRawServer,
  type TestProxy,
} from './test-support.ts';

/*
 * Clients and endpoints that speak HTTP/1 and HTTP/2 badly in every combination, and leave in every way. Nothing they do may
 * end or stall the process: an error that nobody listens to and an endless loop inside node:http2 have both been found so.
 */

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)]);
const REQUEST = [
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'h'],
] as const;

const value = fc.constantFrom(
  '',
  '0',
  '5',
  '-1',
  'a',
  'x\r\n',
  'chunked',
  'close',
  'trailers',
  '100-continue',
  'application/grpc',
);
const name = fc.constantFrom(
  'x-a',
  'X',
  'content-length',
  'te',
  'expect',
  'connection',
  'cookie',
  'content-type',
  ':path',
  'host',
);
const fields = fc.array(fc.tuple(name, value), { maxLength: 3 });
const stream = fc.constantFrom(0, 1, 1, 3, 3, 5, 7, 2);
const flags = fc.constantFrom(0, 1, 4, 5, 5, 8, 0xff);

/** Frames of any type, most of them nearly right. `head` makes the block of HEADERS. */
function framesOf(head: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const short = (bytes: number) => fc.uint8Array({ maxLength: bytes });
  const payload = (type: number): fc.Arbitrary<Uint8Array> => {
    if (type === 1) return head;
    if (type === 4) return fc.constantFrom(Buffer.alloc(0), Buffer.alloc(6), Buffer.from([0, 4, 0, 0, 0, 0]));
    if (type === 3 || type === 8) return fc.nat(14).map((code) => Buffer.from([0, 0, 0, code]));
    return type === 6 ? fc.constant(Buffer.alloc(8)) : short(30);
  };
  const one = fc
    .constantFrom(1, 1, 1, 1, 0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 66)
    .chain((type) => fc.tuple(flags, stream, payload(type)).map(([f, s, p]) => frame(type, f, s, p)));
  return fc.array(one, { minLength: 1, maxLength: 12 }).map((list) => Buffer.concat(list));
}

const method = fc.constantFrom('GET', 'POST', 'HEAD', 'CONNECT');
const requestBlock = fc.tuple(method, fields).map(([verb, more]) => block([':method', verb], ...REQUEST, ...more));
const responseBlock = fc
  .tuple(fc.constantFrom('200', '200', '100', '101', '103', '204', '304', '999', 'x'), fields)
  .map(([status, more]) => block([':status', status], ...more));
const request1 = fc.constantFrom(
  'GET / HTTP/1.1\r\nHost: h\r\n\r\n',
  'HEAD / HTTP/1.1\r\nHost: h\r\n\r\n',
  'GET / HTTP/1.0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf',
);
const response1 = fc
  .tuple(
    fc.constantFrom('HTTP/1.1 200 OK', 'HTTP/1.1 204 No', 'HTTP/1.1 101 X', 'HTTP/1.0 200', 'HTTP/1.1 304 x', 'X'),
    fc.constantFrom(
      'content-length: 5',
      'content-length: 0',
      'transfer-encoding: chunked',
      'connection: close',
      'x: \0',
    ),
    fc.constantFrom('', '\r\n', '\r\nhello', '\r\n5\r\nhello\r\n0\r\n\r\n', '\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n'),
    fc.constantFrom('', '', 'HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early\r\nlink: a\r\n\r\n'),
  )
  .map(([status, field, body, before]) => Buffer.from(`${before}${status}\r\n${field}\r\n${body}`, 'latin1'));
const clients = fc.oneof(
  framesOf(requestBlock).map((frames) => Buffer.concat([PREFACE, frames])),
  fc.array(request1, { minLength: 1, maxLength: 3 }).map((list) => Buffer.from(list.join(''))),
);
const endpoints = fc.oneof(
  framesOf(responseBlock).map((frames) => Buffer.concat([frame(4, 0, 0), frames])),
  response1,
);
const leave = fc.constantFrom('end', 'destroy', 'reset', 'stay');
const LIMITS = {
  upstreamIdleMs: 60,
  bodyIdleMs: 60,
  lingerMs: 40,
  keepAliveMs: 100,
  halfClosedMs: 100,
  tunnelIdleMs: 100,
};

let answer: { readonly bytes: Buffer; readonly leave: string } = { bytes: Buffer.alloc(0), leave: 'stay' };
let endpoint: RawServer;
let proxies: readonly TestProxy[];

beforeAll(async () => {
  endpoint = await startRawServer((socket) =>
    socket.on('data', () => {
      socket.write(answer.bytes);
      go(socket, answer.leave);
    }),
  );
  const backends = { b: [endpointAt(endpoint.port)] };
  proxies = [
    await startProxy(allTo(clusterOf('b')), backends, { limits: LIMITS }),
    await startProxy(allTo(clusterOf('b', 'h2')), backends, { limits: LIMITS }),
  ];
});

afterAll(async () => {
  for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
  await endpoint[Symbol.asyncDispose]();
});

function go(socket: Socket, how: string): void {
  if (how === 'end') socket.end();
  else if (how === 'destroy') socket.destroy();
  else if (how === 'reset') socket.resetAndDestroy();
}

/** Sends, waits for what comes first: something to read, or 20 ms; then leaves. */
async function visit(port: number, bytes: Buffer, how: string): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => socket.destroy());
  await new Promise<void>((resolve) => {
    socket.once('data', () => resolve());
    socket.once('close', () => resolve());
    setTimeout(resolve, 20);
    socket.write(bytes);
  });
  go(socket, how);
  setTimeout(() => socket.destroy(), 60);
  await closed;
}

describe('whatever clients and endpoints say, and however they leave', () => {
  it('the proxy goes on, and nothing is left over', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(clients, leave, fc.boolean()), { minLength: 8, maxLength: 8 }),
        endpoints,
        leave,
        async (visits, bytes, endpointLeaves) => {
          answer = { bytes, leave: endpointLeaves };
          await Promise.all(
            visits.map(([sent, how, first]) => visit((first ? proxies[0] : proxies[1])?.port as number, sent, how)),
          );
        },
      ),
      { numRuns: 25, endOnFailure: true },
    );
    for (const { proxy, port } of proxies) {
      await expect.poll(() => [proxy.activeRequests, proxy.connections], { timeout: 10_000 }).toEqual([0, 0]);
      expect(await exchangeRaw(port, 'TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')).toContain(' 405 ');
    }
  }, 60_000);
});
