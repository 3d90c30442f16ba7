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
  // Unfinished frames wait at the front of one buffer, so each byte is copied once.
  const pending = Buffer.allocUnsafeSlow(4 * 1024 * 1024);
  let filled = 0;
  socket.on('data', (chunk) => {
    chunk.copy(pending, filled);
    filled += chunk.length;
    let start = 0;
    while (filled - start >= 4 && filled - start >= 4 + pending.readUInt32BE(start)) {
      const end = start + 4 + pending.readUInt32BE(start);
      tun.write(pending.subarray(start + 4, end));
      start = end;
    }
    pending.copyWithin(0, start, filled);
    filled -= start;
  });
  socket.on('error', () => process.exit(1));
  socket.on('drain', () => tun.resume());
  // One event-loop turn, one writev.
  let corked = false;
  const flush = () => {
    corked = false;
    socket.uncork();
  };
  tun.start((frame) => {
    const out = Buffer.allocUnsafeSlow(4 + frame.length);
    out.writeUInt32BE(frame.length, 0);
    out.set(frame, 4);
    if (!corked) {
      corked = true;
      socket.cork();
      setImmediate(flush);
    }
    if (!socket.write(out)) tun.pause();
  });
  console.log(`joined ${tun.offload}`);
}

if (options.listen !== undefined) {
  createServer(join).listen(options.listen, () => console.log('ready'));
} else join(connect(options.port as number, options.connect));
process.on('SIGTERM', () => void tun[Symbol.asyncDispose]().then(() => process.exit(0)));
