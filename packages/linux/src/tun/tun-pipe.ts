// For tun.lab.test.ts: joins two TUN devices by one TCP connection, frames behind a 32-bit length.
// Usage: node tun-pipe.ts '{"name":"tun0","listen":9000}' or '{"name":"tun0","connect":"5.1.0.10","port":9000}'
import { connect, createServer, type Socket } from 'node:net';
import { openTun } from './tun.ts';

const options = JSON.parse(process.argv[2] as string) as {
  name: string;
  mtu?: number;
  listen?: number;
  connect?: string;
  port?: number;
};
const tun = await openTun({ name: options.name, ...(options.mtu === undefined ? {} : { mtu: options.mtu }) });

function join(socket: Socket): void {
  socket.setNoDelay(true);
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (data.length >= 4 && data.length >= 4 + data.readUInt32BE(0)) {
      const end = 4 + data.readUInt32BE(0);
      tun.write(data.subarray(4, end));
      data = data.subarray(end);
    }
    rest = data;
  });
  socket.on('error', () => process.exit(1));
  socket.on('drain', () => tun.resume());
  let batch: Buffer[] = [];
  const flush = () => {
    const frames = batch;
    batch = [];
    if (!socket.write(Buffer.concat(frames))) tun.pause();
  };
  tun.start((frame) => {
    const out = Buffer.allocUnsafe(4 + frame.length);
    out.writeUInt32BE(frame.length, 0);
    out.set(frame, 4);
    if (batch.push(out) === 1) setImmediate(flush);
  });
  console.log(`joined ${tun.offload}`);
}

if (options.listen !== undefined) {
  createServer(join).listen(options.listen, () => console.log('ready'));
} else join(connect(options.port as number, options.connect));
process.on('SIGTERM', () => void tun[Symbol.asyncDispose]().then(() => process.exit(0)));
