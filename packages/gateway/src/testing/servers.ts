import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Balancer, Endpoint } from '@edgemesh/core';
import type { Balancing } from '@edgemesh/proxy-l4';

/** A server of a test; disposing closes it and its connections. */
export interface TestServer extends AsyncDisposable {
  readonly port: number;
}

/** Answers with its name, and what it saw. */
export async function startHttp(name: string): Promise<TestServer> {
  const server = createServer((request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      response.setHeader('x-served-by', name);
      response.end(JSON.stringify({ name, url: request.url, headers: request.headers, bytes }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Echoes bytes in capital letters, after a greeting by name. */
export async function startTcp(name: string): Promise<TestServer> {
  const server = createNetServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.write(`${name}:`);
    socket.on('data', (chunk) => socket.write(chunk.toString().toUpperCase()));
    socket.on('end', () => socket.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** A port that nothing listens on. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createNetServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Endpoints in turn; every endpoint of the port is eligible. */
export const roundRobin: Balancing = {
  policyKey: () => 'same',
  createBalancer: (): Balancer => {
    let next = 0;
    return {
      pick: (candidates: readonly Endpoint[], _, exclude) =>
        candidates.filter((e) => !exclude?.has(`|${e.address}|${e.port}|${e.protocol}`))[
          next++ % Math.max(1, candidates.length)
        ] ?? candidates[0],
    };
  },
  eligible: (_, endpoints, port) => endpoints.filter((e) => e.portName === port.name && e.protocol === port.protocol),
};

/** One request; `body` is the JSON that {@link startHttp} answers, or the text. */
export function fetchOnce(options: RequestOptions & { readonly tls?: boolean; readonly payload?: Buffer }) {
  const { tls, payload, ...rest } = options;
  return new Promise<{ status: number; headers: IncomingMessage['headers']; text: string; peer?: string }>(
    (resolve, reject) => {
      const request = (tls ? httpsRequest : httpRequest)({ host: '127.0.0.1', agent: false, ...rest }, (response) => {
        const chunks: Buffer[] = [];
        const peer = 'getPeerCertificate' in response.socket ? fingerprintOf(response.socket as TLSSocket) : undefined;
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
            ...(peer !== undefined && { peer }),
          }),
        );
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(payload);
    },
  );
}

function fingerprintOf(socket: TLSSocket): string {
  return socket.getPeerCertificate().fingerprint256;
}

/** Sends text over TCP, half-closes, and returns all that comes back. */
export function tcpExchange(
  port: number,
  text: string | Buffer,
  { host = '127.0.0.1', halfClose = true } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, allowHalfOpen: true }, () =>
      halfClose ? socket.end(text) : socket.write(text),
    );
    let got = '';
    socket.on('data', (chunk) => {
      got += chunk.toString();
    });
    socket.on('end', () => {
      resolve(got);
      socket.end();
    });
    socket.on('error', reject);
  });
}
