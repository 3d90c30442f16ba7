// Uploads twice on one connection and tells the rate of the second time, in Mbit/s: node upload-main.ts <host:port> <warm-up bytes> <bytes>
// The clock stops when the server has read everything: what only waits in some buffer does not count.
import { Agent, request } from 'node:http';

const [where = '', warmUpBytes = '25000000', bytes = '75000000'] = process.argv.slice(2);
const [host = '', port] = where.split(':');
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const CHUNK = Buffer.alloc(64 * 1024);

function upload(total: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const headers = { 'content-length': total };
    const post = request({ host, port, agent, method: 'POST', path: '/sha256', headers }, (response) => {
      response.resume().on('end', () => resolve((total * 8) / 1_000 / (performance.now() - began)));
    });
    post.on('error', reject);
    let left = total;
    const more = () => {
      while (left > 0) {
        const chunk = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left);
        left -= chunk.length;
        if (!post.write(chunk)) return void post.once('drain', more);
      }
      post.end();
    };
    more();
  });
}

const first = await upload(Number(warmUpBytes));
console.log(JSON.stringify([await upload(Number(bytes)), first]));
agent.destroy();
