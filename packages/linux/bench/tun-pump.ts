/**
 * Joins a TUN device here with one in another process, packets length-prefixed over one TCP socket: the floor that the
 * tunnel's packet path is measured against.
 *
 *   node --conditions=@edgemesh/source bench/tun-pump.ts --listen 7000 --address 10.99.0.2/24
 *   node --conditions=@edgemesh/source bench/tun-pump.ts --connect 10.0.0.2:7000 --address 10.99.0.1/24
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { openTun } from '../src/tun/index.ts';

const { values } = parseArgs({
  options: {
    listen: { type: 'string' },
    connect: { type: 'string' },
    address: { type: 'string', default: '10.99.0.1/24' },
    reader: { type: 'string', default: 'event-loop' },
    name: { type: 'string', default: 'tunlab0' },
  },
});

async function openSocket(): Promise<Socket> {
  if (values.connect !== undefined) {
    const [host, port] = values.connect.split(':') as [string, string];
    const socket = connect({ host, port: Number(port), noDelay: true });
    await once(socket, 'connect');
    return socket;
  }
  const server = createServer({ noDelay: true }).listen(Number(values.listen));
  await once(server, 'listening');
  console.log('listening');
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return socket;
}

const socket = await openSocket();
let batch: Uint8Array[] = [];
const flush = () => {
  const bytes = Buffer.concat(batch);
  batch = [];
  socket.write(bytes);
};
const tun = openTun({
  name: values.name,
  reader: values.reader === 'thread-pool' ? 'thread-pool' : 'event-loop',
  onPacket(packet) {
    if (socket.writableLength > 2 ** 20) return;
    const header = Buffer.allocUnsafe(4);
    header.writeUInt32BE(packet.length);
    if (batch.length === 0) setImmediate(flush);
    batch.push(header, packet);
  },
  onError: (error) => {
    console.error(error.message);
    process.exit(1);
  },
});
execFileSync('ip', ['addr', 'add', values.address, 'dev', tun.name]);
execFileSync('ip', ['link', 'set', tun.name, 'up', 'txqueuelen', '1000']);

let rest: Buffer = Buffer.alloc(0);
socket.on('data', (chunk: Buffer) => {
  let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
  while (bytes.length >= 4) {
    const end = 4 + bytes.readUInt32BE(0);
    if (bytes.length < end) break;
    tun.write(bytes.subarray(4, end));
    bytes = bytes.subarray(end);
  }
  rest = bytes;
});
socket.on('close', () => process.exit());
console.log(`ready, reader ${tun.reader}, udp segmentation ${tun.udpSegmentation}`);
