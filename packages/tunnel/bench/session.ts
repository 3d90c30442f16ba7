/**
 * Sessions against a plain TCP proxy chain and a direct connection, in one run:
 *
 *   node --conditions=@edgemesh/source bench/session.ts [seconds per case] [case ...]
 *
 * Process A holds the clients and agent A, process B agent B and the backends; everything goes over loopback. Absolute
 * figures depend on the machine and its load: read the ratios.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type ByteStream, splice } from '@edgemesh/core';
import { createNodeIdentity } from '../src/identity/index.ts';
import { secureCarrier } from '../src/session/index.ts';
import type { Session } from '../src/types.ts';
import { makeTable, refuseAll, secureOptions } from './rig.ts';
import { tcpStream } from './tcp-stream.ts';

const HOST = '127.0.0.1';
const REQUEST = Buffer.alloc(120, 'q');
const RESPONSE = Buffer.alloc(240, 'r');

async function listen(server: Server): Promise<number> {
  server.listen({ port: 0, host: HOST, backlog: 1024 });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const serve = (onSocket: (socket: Socket) => void) =>
  createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    onSocket(socket);
  });

const dialTcp = (port: number) => connect({ port, host: HOST, noDelay: true, allowHalfOpen: true });

/** Agent B, the backends and the far half of the plain chain. */
async function processB(): Promise<void> {
  const sink = await listen(serve((socket) => socket.on('data', () => undefined).on('end', () => socket.end())));
  // Answers each request, whatever pieces it arrives in.
  const echo = await listen(
    serve((socket) => {
      let got = 0;
      socket.on('data', (chunk) => {
        for (got += chunk.length; got >= REQUEST.length; got -= REQUEST.length) socket.write(RESPONSE);
      });
      socket.on('end', () => socket.end());
    }),
  );
  const identity = await createNodeIdentity();
  const table = makeTable(identity, {
    openStream: ({ port }) => tcpStream(dialTcp(port)),
    openDatagrams: refuseAll.openDatagrams,
  });
  const agent = await listen(
    createServer(async (socket) => {
      table.attach(await secureCarrier(socket, secureOptions(identity, 'server')));
    }),
  );
  const plain = async (to: number) => listen(serve((socket) => splice(tcpStream(socket), tcpStream(dialTcp(to)))));
  const plainSink = await plain(sink);
  const plainEcho = await plain(echo);
  process.send?.({ sink, echo, agent, plainSink, plainEcho, peerId: identity.peerId });
}

interface Ports {
  readonly sink: number;
  readonly echo: number;
  readonly agent: number;
  readonly plainSink: number;
  readonly plainEcho: number;
  readonly peerId: string;
}

function front(open: () => ByteStream): Promise<number> {
  return listen(serve((socket) => splice(tcpStream(socket), open())));
}

/** Bytes per second through `port`, as the client's socket takes them. */
async function bulk(port: number, streams: number, seconds: number, signal?: AbortSignal): Promise<number> {
  const chunk = Buffer.alloc(131_072, 1);
  let stopped = false;
  const sockets = Array.from({ length: streams }, () => {
    const socket = dialTcp(port);
    socket.on('error', () => undefined);
    const fill = () => {
      while (!stopped && socket.write(chunk));
    };
    socket.on('connect', fill);
    socket.on('drain', fill);
    return socket;
  });
  const total = () => sockets.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0);
  await pause(300);
  const before = total();
  const start = performance.now();
  await pause(seconds * 1000, signal);
  const rate = ((total() - before) / (performance.now() - start)) * 1000;
  stopped = true;
  for (const socket of sockets) socket.destroy();
  await pause(300);
  return rate;
}

const pause = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

interface Rounds {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Request and answer over kept connections. */
async function pingPong(port: number, connections: number, seconds: number): Promise<Rounds> {
  const times: number[] = [];
  let stopped = false;
  const one = async () => {
    const socket = dialTcp(port);
    await once(socket, 'connect');
    await new Promise<void>((resolve) => {
      let got = 0;
      let sentAt = 0;
      const ask = () => {
        sentAt = performance.now();
        socket.write(REQUEST);
      };
      socket.on('data', (data) => {
        got += data.length;
        if (got < RESPONSE.length) return;
        got -= RESPONSE.length;
        times.push(performance.now() - sentAt);
        if (stopped) resolve();
        else ask();
      });
      ask();
    });
    socket.destroy();
  };
  const start = performance.now();
  const all = Array.from({ length: connections }, one);
  await pause(seconds * 1000);
  stopped = true;
  await Promise.all(all);
  return summary(times, performance.now() - start);
}

/** A connection per request. */
async function openClose(port: number, connections: number, seconds: number): Promise<Rounds> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  const one = () =>
    new Promise<void>((resolve) => {
      const startedAt = performance.now();
      const socket = dialTcp(port);
      let got = 0;
      socket.write(REQUEST);
      socket.on('data', (data) => {
        got += data.length;
        if (got >= RESPONSE.length) socket.end();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (got >= RESPONSE.length) times.push(performance.now() - startedAt);
        resolve();
      });
    });
  const start = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() < end) await one();
    }),
  );
  return summary(times, performance.now() - start);
}

/** One connection's requests, asked by a process that has nothing else to do. */
async function inOwnProcess(port: number, seconds: number): Promise<Rounds> {
  const child = fork(new URL(import.meta.url).pathname, ['C', String(port), String(seconds)]);
  const [result] = (await once(child, 'message')) as [Rounds];
  return result;
}

function summary(times: number[], elapsedMs: number): Rounds {
  times.sort((a, b) => a - b);
  const at = (q: number) => times[Math.min(times.length - 1, Math.floor(times.length * q))] ?? Number.NaN;
  return { perSecond: (times.length / elapsedMs) * 1000, p50Ms: at(0.5), p99Ms: at(0.99) };
}

const gbit = (bytesPerSecond: number) => `${((bytesPerSecond * 8) / 1e9).toFixed(2)} Gbit/s`;
const rounds = (r: Rounds) => `${Math.round(r.perSecond)}/s p50 ${r.p50Ms.toFixed(2)} p99 ${r.p99Ms.toFixed(2)} ms`;

/** Agent A, the near half of the plain chain, the clients, and the report. */
async function processA(seconds: number, wanted: readonly string[]): Promise<void> {
  const child = fork(new URL(import.meta.url).pathname, ['B'], {
    execArgv: [...process.execArgv, ...(process.env.BENCH_PROF_B ? ['--cpu-prof'] : [])],
  });
  const [ports] = (await once(child, 'message')) as [Ports];
  const identity = await createNodeIdentity();
  const table = makeTable(identity, refuseAll);
  const socket = connect({ port: ports.agent, host: HOST, noDelay: true });
  await once(socket, 'connect');
  const handshakeAt = performance.now();
  const session: Session = table.attach(
    await secureCarrier(socket, secureOptions(identity, 'client', { expectedPeerId: ports.peerId })),
  );
  const handshakeMs = performance.now() - handshakeAt;
  const via = (port: number) => () => session.dial({ address: HOST, port });
  const fronts: Record<string, { sink: number; echo: number }> = {
    direct: { sink: ports.sink, echo: ports.echo },
    'plain chain': {
      sink: await front(() => tcpStream(dialTcp(ports.plainSink))),
      echo: await front(() => tcpStream(dialTcp(ports.plainEcho))),
    },
    session: { sink: await front(via(ports.sink)), echo: await front(via(ports.echo)) },
  };
  const cases: Record<string, (port: { sink: number; echo: number }) => Promise<string>> = {
    'bulk 1': async ({ sink }) => gbit(await bulk(sink, 1, seconds)),
    'bulk 4': async ({ sink }) => gbit(await bulk(sink, 4, seconds)),
    'keep-alive 32': async ({ echo }) => rounds(await pingPong(echo, 32, seconds)),
    'close 16': async ({ echo }) => rounds(await openClose(echo, 16, seconds)),
    'ping under bulk': async ({ sink, echo }) => {
      const abort = new AbortController();
      const load = bulk(sink, 1, 600, abort.signal);
      await pause(500);
      const result = await inOwnProcess(echo, seconds);
      abort.abort();
      return `${rounds(result)}, bulk ${gbit(await load)}`;
    },
  };
  process.stdout.write(`handshake ${handshakeMs.toFixed(1)} ms\n`);
  for (const [name, run] of Object.entries(cases)) {
    if (wanted.length > 0 && !wanted.some((part) => name.startsWith(part))) continue;
    for (const [way, port] of Object.entries(fronts)) {
      if (process.env.BENCH_WAY && way !== process.env.BENCH_WAY) continue;
      process.stdout.write(`${name.padEnd(16)} ${way.padEnd(12)} ${await run(port)}\n`);
    }
  }
  const { streams, rttMs, unacknowledgedBytes } = session.stats();
  process.stdout.write(`left over: ${streams} streams, ${unacknowledgedBytes} bytes; rtt ${rttMs?.toFixed(2)} ms\n`);
  await table[Symbol.asyncDispose]();
  child.disconnect();
  child.on('exit', () => process.exit());
  process.once('beforeExit', () => process.exit());
}

if (process.argv[2] === 'B') {
  process.once('disconnect', () => process.exit());
  await processB();
} else if (process.argv[2] === 'C') {
  process.send?.(await pingPong(Number(process.argv[3]), 1, Number(process.argv[4])));
  process.disconnect();
} else {
  await processA(Number(process.argv[2] ?? 3), process.argv.slice(3));
}
