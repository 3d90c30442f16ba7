import { connect } from 'node:net';
import type { ByteStream, Dialer, Endpoint } from '@edgemesh/core';
import { createHttpListener, createHttpProxy, duplexToByteStream, type RouteTable } from '../src/index.ts';

/** The proxy under test: one route to one endpoint. Arguments: backend port, own port. */
const [backendPort, port] = process.argv.slice(2).map(Number) as [number, number];

function dial(target: { readonly address: string; readonly port: number }): ByteStream {
  const socket = connect({ host: target.address, port: target.port, noDelay: true, allowHalfOpen: true });
  return duplexToByteStream(socket, 'connect');
}

const endpoint: Endpoint = {
  address: '127.0.0.1',
  port: backendPort,
  protocol: 'TCP',
  portName: '',
  ready: true,
  serving: true,
  terminating: false,
};
const cluster = { key: 'backend', service: 'default/backend', port: 80, protocol: 'http1' } as const;
const table: RouteTable = {
  virtualHosts: [
    {
      name: 'bench',
      hosts: ['*'],
      routes: [
        {
          name: 'all',
          matches: [{ path: { kind: 'segments', value: '/' } }],
          action: { kind: 'forward', backends: [{ weight: 1, cluster }] },
        },
      ],
    },
  ],
};
const proxy = createHttpProxy({
  routes: () => table,
  dialer: { dial } as Dialer,
  upstreams: { pickEndpoint: () => endpoint },
  limits: { maxRequestsPerConnection: 0 },
});
await createHttpListener({ proxy, address: '127.0.0.1', port });
