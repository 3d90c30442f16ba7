import { Socket } from 'node:net';
import type { ByteSink, ByteStream, Dialer } from '@edgemesh/core';
import { createHttpListener, createHttpProxy } from '../src/index.ts';

const backendPort = Number(process.argv[2]);
const port = Number(process.argv[3] ?? 0);

function dial(target: { address: string; port: number }): ByteStream {
  const socket = new Socket({ allowHalfOpen: true });
  socket.connect({ host: target.address, port: target.port, noDelay: true });
  let sink: ByteSink | undefined;
  let error: Error | undefined;
  socket.on('error', (e) => {
    error = e;
  });
  socket.on('close', () => sink?.closed(error as never));
  return {
    attach(given) {
      sink = given;
      socket.once('connect', () => given.opened?.());
      socket.on('data', (chunk) => given.data(chunk));
      socket.once('end', () => given.ended());
      socket.on('drain', () => given.drained());
    },
    write: (chunk) => socket.write(chunk),
    end: () => void socket.end(),
    reset: () => void socket.destroy(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  };
}
const endpoint = {
  address: '127.0.0.1',
  port: backendPort,
  protocol: 'TCP',
  portName: '',
  ready: true,
  serving: true,
  terminating: false,
} as const;
const table = {
  virtualHosts: [
    {
      name: 'all',
      hosts: ['*'],
      routes: [
        {
          name: 'all',
          matches: [],
          action: {
            kind: 'forward',
            backends: [{ weight: 1, cluster: { key: 'b', service: 'default/b', port: 80, protocol: 'http1' } }],
          },
        },
      ],
    },
  ],
} as const;
const proxy = createHttpProxy({
  routes: () => table,
  dialer: { dial } as Dialer,
  upstreams: { pickEndpoint: () => endpoint },
});
const listener = await createHttpListener({ proxy, address: '127.0.0.1', port });
console.log(`listening ${listener.port}`);
process.on('SIGTERM', () => process.exit(0));
