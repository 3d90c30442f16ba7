import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import type { ByteStream, Dialer } from '@edgemesh/core';
import { createHttpListener, createHttpProxy, duplexToByteStream } from '../src/index.ts';
import { benchEndpoint, benchRoutes } from './one-route.ts';

// As the agent does.
setFlagsFromString('--no-allocation-site-pretenuring');

/** The proxy under test: one route to one endpoint. Arguments: backend port, own port. */
const [backendPort, port] = process.argv.slice(2).map(Number) as [number, number];

function dial(target: { readonly address: string; readonly port: number }): ByteStream {
  const socket = connect({ host: target.address, port: target.port, noDelay: true, allowHalfOpen: true });
  return duplexToByteStream(socket, 'connect');
}

const proxy = createHttpProxy({
  routes: () => benchRoutes,
  dialer: { dial } as Partial<Dialer> as Dialer,
  upstreams: { pickEndpoint: () => benchEndpoint(backendPort) },
  limits: { maxRequestsPerConnection: 0 },
});
await createHttpListener({ proxy, address: '127.0.0.1', port });
// For measuring memory.
process.on('message', () => globalThis.gc?.());
