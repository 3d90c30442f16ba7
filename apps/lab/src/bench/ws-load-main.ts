/*
 * Sends a message on each of several WebSockets and the next one when it has come back, for some seconds. Arguments: URL, connections,
 * seconds. Prints messages per second, the 99th percentile of the round trip in milliseconds, and connections that failed.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { MASKED_FRAME, PLAIN_FRAME } from './ws-frames.ts';

const [text = '', connections = '1', seconds = '1'] = process.argv.slice(2);
const url = new URL(text);
const roundTrips: number[] = [];
let failed = 0;

function talk(): Socket {
  let isOpen = false;
  let bytes = 0;
  let sentAt = 0;
  const socket = connect(Number(url.port || 80), url.hostname, () => {
    socket.setNoDelay();
    const key = randomBytes(16).toString('base64');
    socket.write(
      `GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`,
    );
  });
  const send = () => {
    sentAt = performance.now();
    socket.write(MASKED_FRAME);
  };
  let head = '';
  socket.on('data', (chunk) => {
    if (!isOpen) {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      isOpen = head.startsWith('HTTP/1.1 101');
      if (isOpen) send();
      else socket.destroy(new Error(head));
      return;
    }
    bytes += chunk.length;
    if (bytes < PLAIN_FRAME.length) return;
    bytes -= PLAIN_FRAME.length;
    roundTrips.push(performance.now() - sentAt);
    send();
  });
  socket.on('error', () => failed++);
  return socket;
}

const started = performance.now();
const sockets = Array.from({ length: Number(connections) }, talk);
setTimeout(() => {
  const elapsed = (performance.now() - started) / 1000;
  for (const socket of sockets) socket.destroy();
  roundTrips.sort((a, b) => a - b);
  const p99Ms = roundTrips[Math.floor(roundTrips.length * 0.99)] ?? 0;
  const requestsPerSecond = Math.round(roundTrips.length / elapsed);
  process.stdout.write(`${JSON.stringify({ requestsPerSecond, p99Ms, errors: failed })}\n`);
}, Number(seconds) * 1000);
