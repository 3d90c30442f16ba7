import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import type { ByteSink, ByteStream, Dialer } from '@edgemesh/core';
import { createHttpProxy } from '../src/index.ts';
import { benchEndpoint, benchRoutes } from './one-route.ts';

/*
 * Processor time of the engine alone: requests on kept connections that never touch the kernel. What is left of a request's cost
 * in run.ts is node:net and the kernel.
 *
 *     pnpm exec node --conditions=@edgemesh/source packages/proxy-http/bench/engine.ts [requests]
 */

// As the agent does.
setFlagsFromString('--no-allocation-site-pretenuring');

const CONNECTIONS = 32;
const REQUEST = 'GET /some/path?x=1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n';
const RESPONSE =
  'HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 14:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\nhello world\n';

let answered = 0;
const nothing = () => undefined;

/** What the engine uses of a socket. Answers count; nothing is kept. */
class MemorySocket extends EventEmitter {
  readonly destroyed = false;

  write(): boolean {
    answered++;
    return true;
  }

  readonly pause = nothing;
  readonly resume = nothing;
  readonly end = nothing;
  readonly destroy = nothing;
}

/** An endpoint that answers each write with one response, in the next turn of the queue. */
class MemoryStream implements ByteStream {
  private sink: ByteSink | undefined;

  attach(sink: ByteSink): void {
    this.sink = sink;
    sink.opened?.();
  }

  write(): boolean {
    waiting.push(this);
    return true;
  }

  answer(): void {
    this.sink?.data(Buffer.from(RESPONSE, 'latin1'));
  }

  readonly end = nothing;
  readonly reset = nothing;
  readonly pause = nothing;
  readonly resume = nothing;
}

const waiting: MemoryStream[] = [];
const proxy = createHttpProxy({
  routes: () => benchRoutes,
  dialer: { dial: () => new MemoryStream() } as Partial<Dialer> as Dialer,
  upstreams: { pickEndpoint: () => benchEndpoint(9) },
  limits: { maxRequestsPerConnection: 0 },
});
const client = { address: '127.0.0.1', localPort: 80, encrypted: false };
const sockets = Array.from({ length: CONNECTIONS }, () => {
  const socket = new MemorySocket();
  proxy.serve(socket as unknown as Socket, 'http1', client);
  return socket;
});

async function requests(count: number): Promise<void> {
  const until = answered + count;
  while (answered < until) {
    for (const socket of sockets) socket.emit('data', Buffer.from(REQUEST, 'latin1'));
    while (waiting.length > 0) waiting.shift()?.answer();
    await new Promise(setImmediate);
  }
}

const count = Number(process.argv[2] ?? 400_000);
await requests(100_000);
for (let round = 0; round < 5; round++) {
  const before = process.cpuUsage();
  await requests(count);
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(`${((user + system) / count).toFixed(2)} us per request\n`);
}
// Its connections never end by themselves.
process.exit(0);
