/**
 * TCP through the proxy against direct, on loopback, in ratios. Server, proxy and load each in a process of their own.
 * Run: node --conditions=@edgemesh/source bench/tcp.ts [seconds]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { Endpoint } from '@edgemesh/core';
import { createLocalDialer, createTcpProxy } from '../src/index.ts';

const [, , secondsText = '2', role, portText] = process.argv;
const seconds = Number(secondsText);
const host = '127.0.0.1';
const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
const ANSWER = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n${'x'.repeat(100)}`);
const BLOCK = Buffer.alloc(65_536, 1);

/** Answers each request of REQUEST's length; a connection whose first byte is 1 is a bulk transfer and only read. */
async function serve(): Promise<number> {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    let pending = 0;
    socket.on('data', (chunk) => {
      if (chunk[0] === 1) return;
      for (pending += chunk.length; pending >= REQUEST.length; pending -= REQUEST.length) socket.write(ANSWER);
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => socket.destroy());
  });
  server.listen(0, host, 1024);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function proxy(port: number): Promise<number> {
  const endpoint: Endpoint = {
    address: host,
    port,
    protocol: 'TCP',
    portName: '',
    ready: true,
    serving: true,
    terminating: false,
  };
  const started = await createTcpProxy(
    { listen: { host, port: 0 } },
    { dialer: createLocalDialer(), route: () => ({ name: 'bench', pick: () => endpoint }) },
  );
  return started.port;
}

function keepAlive(port: number, connections: number): Promise<number> {
  let done = 0;
  const sockets = Array.from({ length: connections }, () => {
    const socket = connect({ port, host, noDelay: true });
    let got = 0;
    socket.on('connect', () => socket.write(REQUEST));
    socket.on('data', (chunk) => {
      for (got += chunk.length; got >= ANSWER.length; got -= ANSWER.length) {
        done++;
        socket.write(REQUEST);
      }
    });
    return socket;
  });
  return new Promise((resolve) =>
    setTimeout(() => {
      for (const socket of sockets) socket.destroy();
      resolve(done / seconds);
    }, seconds * 1000),
  );
}

function newConnections(port: number, concurrency: number): Promise<number> {
  let done = 0;
  let stopped = false;
  const one = () => {
    if (stopped) return;
    const socket = connect({ port, host, noDelay: true });
    let got = 0;
    socket.write(REQUEST);
    socket.on('data', (chunk) => {
      got += chunk.length;
      if (got >= ANSWER.length) socket.end();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (got >= ANSWER.length) done++;
      one();
    });
  };
  for (let i = 0; i < concurrency; i++) one();
  return new Promise((resolve) =>
    setTimeout(() => {
      stopped = true;
      resolve(done / seconds);
    }, seconds * 1000),
  );
}

function bulk(port: number, streams: number): Promise<number> {
  let bytes = 0;
  const sockets = Array.from({ length: streams }, () => {
    const socket = connect({ port, host });
    const pump = () => {
      while (socket.write(BLOCK)) bytes += BLOCK.length;
      bytes += BLOCK.length;
    };
    socket.on('connect', pump);
    socket.on('drain', pump);
    return socket;
  });
  return new Promise((resolve) =>
    setTimeout(() => {
      const megabits = (bytes * 8) / 1e6 / seconds;
      for (const socket of sockets) socket.destroy();
      resolve(megabits);
    }, seconds * 1000),
  );
}

async function start(name: string, port = 0): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(import.meta.filename, [secondsText, name, String(port)]);
  const [listening] = (await once(child, 'message')) as [number];
  return { child, port: listening };
}

/** CPU seconds that a child has used so far. */
async function cpuSeconds(child: ChildProcess): Promise<number> {
  child.send('cpu');
  const [micros] = (await once(child, 'message')) as [number];
  return micros / 1e6;
}

async function main(): Promise<void> {
  const server = await start('serve');
  const between = await start('proxy', server.port);
  const rounds: readonly (readonly [string, string, (port: number) => Promise<number>])[] = [
    ['1 stream', 'Mbit/s', (port) => bulk(port, 1)],
    ['4 streams', 'Mbit/s', (port) => bulk(port, 4)],
    ['keep-alive, 32 connections', 'requests/s', (port) => keepAlive(port, 32)],
    ['keep-alive, 1 connection', 'requests/s', (port) => keepAlive(port, 1)],
    ['new connections, 16 at once', 'requests/s', (port) => newConnections(port, 16)],
  ];
  for (const [what, unit, run] of rounds) {
    const direct = await run(server.port);
    const cpuBefore = await cpuSeconds(between.child);
    const proxied = await run(between.port);
    const perUnit = ((await cpuSeconds(between.child)) - cpuBefore) / (proxied * seconds);
    const ratio = ((proxied / direct) * 100).toFixed(0);
    console.log(
      `${what}: direct ${direct.toFixed(0)}, proxied ${proxied.toFixed(0)} ${unit}, ${ratio} %, ${(perUnit * 1e6).toFixed(1)} us of CPU each`,
    );
  }
  server.child.kill();
  between.child.kill();
}

process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.(user + system);
});
if (role === 'serve') process.send?.(await serve());
else if (role === 'proxy') process.send?.(await proxy(Number(portText)));
else await main();
