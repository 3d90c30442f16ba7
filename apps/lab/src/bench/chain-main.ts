/**
 * One half of a plain TCP chain, the least that any proxy in Node does: `node chain-main.ts HOST:PORT=HOST:PORT ...` listens on the first
 * of each pair and pipes every connection to the second.
 */
import { connect, createServer } from 'node:net';

for (const pair of process.argv.slice(2)) {
  const [listen = '', target = ''] = pair.split('=');
  const [host, port] = listen.split(':');
  const [targetHost, targetPort] = target.split(':');
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host: targetHost, port: Number(targetPort), allowHalfOpen: true, noDelay: true });
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  server.listen({ host, port: Number(port), backlog: 1_024 });
}
console.log('ready');
