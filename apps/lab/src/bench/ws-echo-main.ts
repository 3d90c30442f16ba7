/*
 * WebSocket echo server of the bench: arguments are the address and the port.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { MASKED_FRAME, PLAIN_FRAME } from './ws-frames.ts';

/** RFC 6455 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const [address, port] = process.argv.slice(2);

const server = createServer((_request, response) => void response.end('a WebSocket is expected\n'));
server.on('upgrade', (request, stream) => {
  const socket = stream as Socket;
  socket.setNoDelay();
  const key = String(request.headers['sec-websocket-key'] ?? '');
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
    for (; bytes >= MASKED_FRAME.length; bytes -= MASKED_FRAME.length) socket.write(PLAIN_FRAME);
  });
  socket.on('error', () => socket.destroy());
});
server.listen(Number(port), address, () => process.stdout.write('ready\n'));
