import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** Sends back what comes, and ends when the client ends. */
export function tcpEcho(socket: Socket): void {
  socket.pipe(socket);
}

/** A TCP server on loopback for tests. Sockets are half-open and never read unless `handle` does so. */
export async function startTcpServer(handle?: (socket: Socket) => void, host = '127.0.0.1', port = 0) {
  const server = createServer({ allowHalfOpen: true });
  const sockets = new Set<Socket>();
  const queue: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  let connections = 0;
  server.on('connection', (socket) => {
    connections++;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (handle !== undefined) return handle(socket);
    const next = waiting.shift();
    if (next === undefined) queue.push(socket);
    else next(socket);
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    get connections() {
      return connections;
    },
    accepted(): Promise<Socket> {
      const socket = queue.shift();
      return socket === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(socket);
    },
    async dispose() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A UDP server on loopback for tests; by default it sends back what comes. */
export async function startUdpServer(
  answer: (payload: Buffer, from: RemoteInfo, reply: (payload: Uint8Array) => void) => void = (payload, _, reply) =>
    reply(payload),
  host = '127.0.0.1',
) {
  const socket = createSocket('udp4');
  const clients = new Set<number>();
  socket.on('message', (payload, from) => {
    clients.add(from.port);
    answer(payload, from, (out) => socket.send(out, from.port, from.address));
  });
  socket.bind(0, host);
  await once(socket, 'listening');
  socket.setRecvBufferSize(1 << 20);
  return {
    port: socket.address().port,
    clients,
    dispose: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  };
}
