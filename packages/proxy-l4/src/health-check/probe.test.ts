import { type ByteSink, type ByteStream, type Dialer, systemClock } from '@edgemesh/core';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { createLocalDialer } from '../local-dialer.ts';
import { startTcpServer } from '../testing/servers.ts';
import { probe } from './probe.ts';

const servers: Awaited<ReturnType<typeof startTcpServer>>[] = [];
const dialer = createLocalDialer();
const never = new AbortController().signal;
const serve = async (...args: Parameters<typeof startTcpServer>) => {
  const server = await startTcpServer(...args);
  servers.push(server);
  return server;
};
const check = (port: number, kind: 'tcp' | 'http', more: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
  probe(
    { address: '127.0.0.1', port },
    { kind, path: '/healthz', timeoutMs: more.timeoutMs ?? 2_000, host: 'web.default' },
    { dialer, clock: systemClock, signal: more.signal ?? never },
  );

const httpCheck = { kind: 'http', path: '/', timeoutMs: 2_000, host: 'web.default' } as const;

/** A dialer to an endpoint that answers everybody with these pieces and ends. */
function answering(pieces: readonly Buffer[]): Dialer {
  const dial = (): ByteStream => {
    let sink: ByteSink | undefined;
    let closed = false;
    const reset = () => {
      if (closed) return;
      closed = true;
      sink?.closed();
    };
    return {
      attach(given) {
        sink = given;
        queueMicrotask(() => {
          sink?.opened?.();
          for (const piece of pieces) if (!closed) sink?.data(piece);
          if (!closed) sink?.ended();
        });
      },
      write: () => true,
      end: reset,
      reset,
      pause: () => undefined,
      resume: () => undefined,
    };
  };
  return { dial, openDatagrams: () => undefined as never };
}

describe('probe', () => {
  afterEach(() => Promise.all(servers.splice(0).map((server) => server.dispose())));

  it('passes TCP when somebody accepts, and closes in order', async () => {
    const server = await serve();
    expect(await check(server.port, 'tcp')).toEqual({ ok: true });
    const socket = await server.accepted();
    const ended = new Promise<string>((resolve) => {
      socket.once('end', () => resolve('end'));
      socket.once('error', () => resolve('reset'));
    });
    socket.resume();
    expect(await ended).toBe('end');
  });

  it('fails when nobody listens, and says why', async () => {
    const server = await serve();
    await server.dispose();
    servers.length = 0;
    expect(await check(server.port, 'tcp')).toEqual({ ok: false, reason: 'refused' });
    expect(await check(server.port, 'http')).toEqual({ ok: false, reason: 'refused' });
  });

  it.each([
    ['HTTP/1.1 204 No Content\r\n\r\n', { ok: true }],
    ['HTTP/1.0 302\r\n', { ok: true }],
    ['HTTP/1.1 503 Service Unavailable\r\n\r\n', { ok: false, reason: 'status 503' }],
    ['SSH-2.0-OpenSSH_9.2\r\n', { ok: false, reason: 'the answer is not HTTP' }],
    ['x'.repeat(2_000), { ok: false, reason: 'the answer is not HTTP' }],
    ['HTTP/1.1 2', { ok: false, reason: 'the connection ended without an HTTP answer' }],
  ])('reads the answer %j', async (answer, expected) => {
    let request = '';
    const server = await serve((socket) => {
      socket.once('data', (chunk) => {
        request = chunk.toString();
        // Byte by byte at first: the status line may come in pieces.
        for (const byte of answer.slice(0, 5)) socket.write(byte);
        socket.end(answer.slice(5));
      });
    });
    expect(await check(server.port, 'http')).toEqual(expected);
    expect(request).toMatch(/^GET \/healthz HTTP\/1\.1\r\nHost: web\.default\r\n.*\r\n\r\n$/s);
  });

  it('takes any bytes for an answer, in any pieces, and passes only what starts as good HTTP', async () => {
    const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
    const text = fc.constantFrom('HTTP/1.1 200 OK\r\n', 'HTTP/1.1 500\r\n', 'HTTP/1.1 2', '\r\n').map(Buffer.from);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(bytes, text), { maxLength: 6 }), async (pieces) => {
        const answer = Buffer.concat(pieces).toString('latin1');
        const { ok } = await probe({ address: 'any', port: 1 }, httpCheck, {
          dialer: answering(pieces),
          clock: systemClock,
          signal: never,
        });
        expect(ok).toBe(/^HTTP\/1\.[01] [23]\d\d(?:[ \r][^\n]*)?\n/.test(answer));
      }),
    );
  });

  it('fails when the answer takes too long, and when it is aborted', async () => {
    const server = await serve();
    expect(await check(server.port, 'http', { timeoutMs: 50 })).toEqual({ ok: false, reason: 'no answer in 50 ms' });
    const stop = new AbortController();
    const result = check(server.port, 'http', { signal: stop.signal });
    stop.abort();
    expect(await result).toEqual({ ok: false, reason: 'aborted' });
    expect(await check(server.port, 'tcp', { signal: stop.signal })).toEqual({ ok: false, reason: 'aborted' });
  });
});
