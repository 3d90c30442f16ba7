import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { freePort, untilOpen } from './ports.ts';

/*
 * Resident memory of the proxy per 1,000 idle connections: kept HTTP/1.1 connections that have had one answer, and WebSockets
 * (two sockets each). The proxy is a process of its own; it collects its garbage before each reading.
 *
 *     pnpm exec node --conditions=@edgemesh/source packages/proxy-http/bench/idle-memory.ts [connections]
 */

const count = Number(process.argv[2] ?? 3_000);
const GET = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';
const UPGRADE =
  'GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';

/** Answers requests shortly, and upgrades without asking. */
const backend = createServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    const upgrades = chunk.toString('latin1').includes('upgrade: websocket');
    socket.write(
      upgrades
        ? 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'
        : 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    );
  });
});

async function open(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.write(text);
  await once(socket, 'data');
  return socket;
}

/** Mebibytes, after a collection. */
async function residentOf(child: ChildProcess): Promise<number> {
  child.send?.('collect');
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1_024;
}

backend.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 });
await once(backend, 'listening');
const backendPort = (backend.address() as { port: number }).port;
const port = await freePort();
const ours = fileURLToPath(new URL('./ours.ts', import.meta.url));
const args = ['--expose-gc', '--conditions=@edgemesh/source', ours, String(backendPort), String(port)];
const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
await untilOpen(port, child);
try {
  for (const [name, text, wanted] of [
    ['kept HTTP/1.1', GET, count],
    // Each has a connection to the endpoint, of which there may be `maxConnectionsPerEndpoint`.
    ['WebSocket', UPGRADE, Math.min(count, 1_000)],
  ] as const) {
    // The first ones make the code hot and the buffers of the process.
    for (const socket of await Promise.all(Array.from({ length: 50 }, () => open(port, text)))) socket.destroy();
    const before = await residentOf(child);
    const sockets: Socket[] = [];
    while (sockets.length < wanted) {
      sockets.push(...(await Promise.all(Array.from({ length: 50 }, () => open(port, text)))));
    }
    const used = (await residentOf(child)) - before;
    process.stdout.write(
      `${name}: ${((used / wanted) * 1_000).toFixed(1)} MiB per 1,000 (${before.toFixed(0)} MiB before)\n`,
    );
    for (const socket of sockets) socket.destroy();
  }
} finally {
  child.kill();
}
process.exit();
