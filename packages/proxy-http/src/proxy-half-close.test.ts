import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { AccessLogEntry } from './access-log.ts';
import type { HttpLimits } from './options.ts';
import { allTo, clusterOf, endpointAt, type RawServer, startProxy, startRawServer } from './test-support.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

const answerOf = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** A proxy in front of a backend that says what the test wants to each piece it reads. */
async function start(onData: (socket: Socket, text: string) => void, limits: Partial<HttpLimits> = {}) {
  const logged: AccessLogEntry[] = [];
  const backend: RawServer = stack.use(
    await startRawServer((socket) => socket.on('data', (chunk) => onData(socket, chunk.toString('latin1')))),
  );
  const proxy = stack.use(
    await startProxy(
      allTo(clusterOf('b')),
      { b: [endpointAt(backend.port)] },
      { limits, accessLog: (entry) => logged.push(entry) },
    ),
  );
  return { ...proxy, backend, logged, port: proxy.port };
}

/** What `printf ... | nc -N` gets: the client has closed its side before the answer. */
async function netcat(port: number, ...pieces: string[]): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
  });
  socket.on('error', () => socket.destroy());
  for (const piece of pieces.slice(0, -1)) {
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
  socket.end(pieces.at(-1) ?? '');
  await once(socket, 'close');
  return answer;
}

const GET = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n';

describe('a client that closes its side with its request', () => {
  it('gets the answer, which says that the connection ends', async () => {
    const { port, logged } = await start((socket) => setTimeout(() => socket.write(answerOf('late')), 60));
    const answer = await netcat(port, GET);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close\r\n\r\nlate$/);
    expect(logged).toMatchObject([{ status: 200 }]);
    expect(logged[0]?.error).toBeUndefined();
  });

  it('gets an answer made here', async () => {
    const { port } = await start(() => undefined);
    expect(await netcat(port, 'TRACE / HTTP/1.1\r\nHost: h\r\n\r\n')).toContain('HTTP/1.1 405');
  });

  it('gets the answers to all that it has pipelined, in order', async () => {
    const { port } = await start((socket, text) => {
      const path = /^GET (\S+)/.exec(text)?.[1] ?? '?';
      setTimeout(() => socket.write(answerOf(path)), 20);
    });
    const requests = [1, 2, 3, 4].map((n) => `GET /no${n} HTTP/1.1\r\nHost: h\r\n\r\n`).join('');
    const answer = await netcat(port, requests);
    expect(answer.match(/no\d/g)).toEqual(['no1', 'no2', 'no3', 'no4']);
    expect(answer.match(/connection: close/g)).toHaveLength(1);
  });

  it.each([
    ['in one piece with its body', [`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody`]],
    ['with its body after the head', [`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n`, 'body']],
    [
      'with a chunked body',
      [`POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n`, '4\r\nbody\r\n0\r\n\r\n'],
    ],
  ])('gets the answer to a request %s', async (_name, pieces) => {
    const { port } = await start((socket, text) => {
      if (text.includes('body')) setTimeout(() => socket.write(answerOf('taken')), 30);
    });
    expect(await netcat(port, ...pieces)).toMatch(/^HTTP\/1\.1 200[\s\S]*taken$/);
  });

  it('gets a long answer whole', async () => {
    const body = 'x'.repeat(3_000_000);
    const { port } = await start((socket) => socket.write(answerOf(body)));
    expect((await netcat(port, GET)).length).toBeGreaterThan(body.length);
  });

  it('gets no answer to half a body, and its endpoint no end of it', async () => {
    const { port, logged, backend } = await start(() => undefined);
    expect(await netcat(port, 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbody')).toBe('');
    await expect.poll(() => logged).toMatchObject([{ error: 'client-gone' }]);
    await expect.poll(() => backend.sockets.every((socket) => socket.destroyed)).toBe(true);
  });

  it('is not waited for without end', async () => {
    const { port, logged } = await start(() => undefined, { halfClosedMs: 60 });
    expect(await netcat(port, GET)).toBe('');
    await expect.poll(() => logged).toMatchObject([{ error: 'client-gone' }]);
  });

  it('has half a head for nothing', async () => {
    const { port, logged } = await start(() => undefined);
    expect(await netcat(port, 'GET / HTTP/1.1\r\nHo')).toBe('');
    expect(logged).toEqual([]);
  });
});

describe('a client that closes its side after it has waited', () => {
  it('has given up: its request is cancelled', async () => {
    const { port, logged, backend } = await start(() => undefined, { halfCloseWindowMs: 40 });
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => socket.destroy());
    socket.write(GET);
    await expect.poll(() => backend.sockets.length).toBe(1);
    // The proxy's coarse clock has to pass the window.
    await new Promise((resolve) => setTimeout(resolve, 150));
    socket.end();
    await expect.poll(() => logged).toMatchObject([{ error: 'client-gone', status: 0 }]);
    socket.destroy();
  });
});
