/**
 * Two agents and a plain TCP chain in front of one backend, for load generators such as iperf3 and wrk:
 *
 *   node --conditions=@edgemesh/source bench/serve.ts <backend port>
 *
 * Prints the port of each front; SIGUSR2 prints the CPU time that both processes have used since the last time.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type ByteStream, splice } from '@edgemesh/core';
import { createNodeIdentity } from '../src/identity/index.ts';
import { secureCarrier } from '../src/session/index.ts';
import { makeTable, refuseAll, secureOptions } from './rig.ts';
import { tcpStream } from './tcp-stream.ts';

const HOST = '127.0.0.1';

async function listen(server: Server): Promise<number> {
  server.listen({ port: 0, host: HOST, backlog: 1024 });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const dialTcp = (port: number) => connect({ port, host: HOST, noDelay: true, allowHalfOpen: true });

const front = (open: () => ByteStream) =>
  listen(
    createServer({ allowHalfOpen: true, noDelay: true }, (socket: Socket) => {
      socket.on('error', () => socket.destroy());
      splice(tcpStream(socket), open());
    }),
  );

function reportCpu(who: string): void {
  let last = process.cpuUsage();
  process.on('SIGUSR2', () => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    process.stdout.write(`${who} cpu user ${Math.round(user / 1000)} system ${Math.round(system / 1000)} ms\n`);
  });
}

const backend = Number(process.argv[2]);
const identity = await createNodeIdentity();
if (process.send !== undefined) {
  reportCpu('far ');
  process.once('disconnect', () => process.exit());
  const table = makeTable(identity, { ...refuseAll, openStream: ({ port }) => tcpStream(dialTcp(port)) });
  const agent = await listen(
    createServer(async (socket) => {
      table.attach(await secureCarrier(socket, secureOptions(identity, 'server')));
    }),
  );
  process.send({ agent, plain: await front(() => tcpStream(dialTcp(backend))) });
} else {
  const child = fork(new URL(import.meta.url).pathname, [String(backend)]);
  const [ports] = (await once(child, 'message')) as [{ agent: number; plain: number }];
  reportCpu('near');
  process.on('SIGUSR2', () => child.kill('SIGUSR2'));
  process.once('SIGTERM', () => process.exit());
  const socket = connect({ port: ports.agent, host: HOST, noDelay: true });
  await once(socket, 'connect');
  const session = makeTable(identity, refuseAll).attach(await secureCarrier(socket, secureOptions(identity, 'client')));
  process.stdout.write(`plain ${await front(() => tcpStream(dialTcp(ports.plain)))}\n`);
  process.stdout.write(`session ${await front(() => session.dial({ address: HOST, port: backend }))}\n`);
}
