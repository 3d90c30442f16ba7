/**
 * A small server for trying the mesh: HTTP, WebSocket echo, TCP echo and UDP echo, each saying which node answers.
 *
 *   backend.js --node NAME --address IP [--http PORT] [--tcp PORT] [--udp PORT]
 *
 * HTTP: `/` names the node, `/bytes/N` sends N bytes, POST `/sha256` answers the digest of the body, `/slow/MS` waits.
 * TCP: one greeting line with the node's name, then everything comes back. UDP: each datagram comes back, prefixed.
 */
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { parseArgs } from 'node:util';
import { WebSocketServer } from 'ws';

const { values } = parseArgs({
  options: {
    node: { type: 'string', default: 'node' },
    address: { type: 'string', default: '127.0.0.1' },
    http: { type: 'string' },
    tcp: { type: 'string' },
    udp: { type: 'string' },
  },
});
const { node, address } = values;
const CHUNK = Buffer.alloc(64 * 1024, 'e');

function respond(request: IncomingMessage, response: ServerResponse): void {
  const [, command, argument] = (request.url ?? '/').split('/');
  if (command === 'sha256') {
    const hash = createHash('sha256');
    request.on('data', (chunk: Buffer) => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')));
  } else if (command === 'bytes') {
    sendBytes(response, Number(argument));
  } else if (command === 'slow') {
    setTimeout(() => response.end(`${node}\n`), Number(argument));
  } else {
    response.setHeader('x-node', node);
    response.end(`hello from ${node} (${address})\n`);
  }
}

function sendBytes(response: ServerResponse, total: number): void {
  response.setHeader('content-length', total);
  let left = total;
  const more = () => {
    while (left > 0) {
      const chunk = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left);
      left -= chunk.length;
      if (!response.write(chunk)) return void response.once('drain', more);
    }
    response.end();
  };
  more();
}

const ready: Promise<unknown>[] = [];
const listening = (emitter: { once(event: 'listening', run: () => void): unknown }) =>
  ready.push(new Promise<void>((resolve) => emitter.once('listening', resolve)));

if (values.http !== undefined) {
  const server = createServer({ keepAliveTimeout: 65_000 }, respond).listen(Number(values.http), address);
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.send(`hello from ${node} (${address})`);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => socket.terminate());
  });
  listening(server);
}
if (values.tcp !== undefined) {
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.write(`hello from ${node} (${address})\n`);
    socket.pipe(socket);
    socket.on('error', () => socket.destroy());
  });
  listening(server.listen(Number(values.tcp), address));
}
if (values.udp !== undefined) {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
  socket.on('message', (message, from) =>
    socket.send(Buffer.concat([Buffer.from(`${node}:`), message]), from.port, from.address),
  );
  socket.bind(Number(values.udp), address);
  listening(socket);
}
await Promise.all(ready);
console.log('ready');
