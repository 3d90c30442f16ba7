// Downloads on many connections at once and tells how much each got: node downloads-main.ts <host:port> <connections> <warm-up s> <seconds>
import { connect } from 'node:net';

const [where = '', connections = '1', warmUp = '2', seconds = '10'] = process.argv.slice(2);
const [host = '', port] = where.split(':');
const got = new Float64Array(Number(connections));
for (let i = 0; i < got.length; i++) {
  const socket = connect({ host, port: Number(port) });
  socket.write('GET /bytes/4000000000 HTTP/1.1\r\nHost: x\r\n\r\n');
  socket.on('data', (chunk) => {
    got[i] = (got[i] as number) + chunk.length;
  });
  socket.on('error', (error) => {
    console.log(`error ${error.message}`);
    process.exit(1);
  });
}
setTimeout(() => {
  const before = got.slice();
  const began = performance.now();
  setTimeout(() => {
    const rates = [...got].map(
      (bytes, i) => ((bytes - (before[i] as number)) * 8) / 1_000 / (performance.now() - began),
    );
    console.log(JSON.stringify(rates));
    process.exit(0);
  }, Number(seconds) * 1_000);
}, Number(warmUp) * 1_000);
