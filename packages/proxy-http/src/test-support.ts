import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Dialer, Endpoint } from '@edgemesh/core';
import { createHttpProxy, type HttpProxy, type HttpProxyOptions } from './create-http-proxy.ts';
import { createHttpListener, type HttpListener, type HttpListenerOptions } from './listen/create-http-listener.ts';
import type { ClusterRef, Route, RouteTable } from './route-model.ts';
import { duplexToByteStream } from './upstream/stream-duplex.ts';

/** Dials by node:net. */
export const socketDialer: Dialer = {
  dial: ({ address, port }) =>
    duplexToByteStream(connect({ host: address, port, allowHalfOpen: true, noDelay: true }), 'connect'),
  openDatagrams: () => {
    throw new Error('HTTP has no datagrams');
  },
};

export function endpointAt(port: number, address = '127.0.0.1'): Endpoint {
  return { address, port, protocol: 'TCP', portName: 'http', ready: true, serving: true, terminating: false };
}

export function clusterOf(key: string, protocol: ClusterRef['protocol'] = 'http1'): ClusterRef {
  return { key, service: `default/${key}`, port: 80, protocol };
}

/** A table that sends everything to one cluster. */
export function allTo(cluster: ClusterRef, more: Partial<Route> = {}): RouteTable {
  return tableOf({ name: 'all', matches: [], action: forwardTo(cluster), ...more });
}

export function forwardTo(cluster: ClusterRef) {
  return { kind: 'forward' as const, backends: [{ weight: 1, cluster }] };
}

export function tableOf(...routes: readonly Route[]): RouteTable {
  return { virtualHosts: [{ name: 'test', hosts: ['*'], routes }] };
}

export interface TestProxy extends AsyncDisposable {
  readonly proxy: HttpProxy;
  readonly listener: HttpListener;
  readonly port: number;
}

/** A proxy with a listener; endpoints by cluster key, in order, the excluded ones passed over. */
export async function startProxy(
  routes: RouteTable | (() => RouteTable),
  endpoints: Readonly<Record<string, readonly Endpoint[]>>,
  options: Partial<HttpProxyOptions> & { readonly listener?: Partial<HttpListenerOptions> } = {},
): Promise<TestProxy> {
  const proxy = createHttpProxy({
    routes: typeof routes === 'function' ? routes : () => routes,
    upstreams: {
      pickEndpoint: (cluster, _flow, exclude) =>
        endpoints[cluster.key]?.find((e) => !exclude.has(`|${e.address}|${e.port}|TCP`)),
    },
    dialer: socketDialer,
    ...options,
    limits: { sweepMs: 20, drainMs: 1_000, ...options.limits },
  });
  const listener = await createHttpListener({ proxy, address: '127.0.0.1', port: 0, ...options.listener });
  return {
    proxy,
    listener,
    port: listener.port,
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

export interface RawServer extends AsyncDisposable {
  readonly port: number;
  readonly sockets: readonly Socket[];
}

/** A TCP server that says what the test wants. */
export async function startRawServer(onSocket: (socket: Socket) => void): Promise<RawServer> {
  const sockets: Socket[] = [];
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Sends raw bytes and gives everything that comes back until the other side closes. */
export async function exchangeRaw(port: number, text: string, untilBytes = Number.POSITIVE_INFINITY): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let answer = '';
  const closed = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      if (answer.length >= untilBytes) resolve();
    });
    socket.on('error', () => resolve());
    socket.on('end', () => resolve());
    socket.on('close', () => resolve());
  });
  socket.write(text, 'latin1');
  await closed;
  socket.destroy();
  return answer;
}
