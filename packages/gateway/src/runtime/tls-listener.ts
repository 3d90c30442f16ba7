import { createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Clock, type Flow, type Logger, MeshError, messageOf, splice } from '@edgemesh/core';
import type { HttpProxy, RouteTable } from '@edgemesh/proxy-http';
import { type ConnectionBudget, type ServiceProxy, socketByteStream, type Upstream } from '@edgemesh/proxy-l4';
import { findByHost } from '../common/hosts.ts';
import { listenError } from '../errors.ts';
import type { GatewayMetrics } from '../metrics.ts';
import type { L4Backend, TlsChain, TlsTermination } from '../model.ts';
import type { GatewayLimits } from '../options.ts';
import type { OpenListener } from './listener-table.ts';
import { peekHello } from './peek-hello.ts';
import { TlsServers } from './tls-servers.ts';

/** What a TLS listener works with. */
export interface TlsListenerDeps {
  /** The chains of this moment. */
  readonly chains: () => readonly TlsChain[];
  readonly upstreamOf: (backends: readonly L4Backend[]) => Upstream | undefined;
  readonly proxy: HttpProxy;
  readonly services: Pick<ServiceProxy, 'dial'>;
  readonly budget: ConnectionBudget;
  readonly metrics: GatewayMetrics;
  readonly limits: GatewayLimits;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An accepted socket, and how its connection is ended, in order or at once. */
interface Connection {
  readonly raw: Socket;
  drain(): void;
  abort(): void;
}

/** RFC 8446 6: a fatal alert, unrecognized_name (112). */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);
const NO_ROUTES: RouteTable = { virtualHosts: [] };

/** Opens a listener that looks at the server name of each client and does what its chain says. @throws GatewayError */
export async function createTlsListener(
  listen: { readonly host: string; readonly port: number },
  deps: TlsListenerDeps,
): Promise<OpenListener> {
  const listener = new TlsListener(listen.host, deps);
  await listener.open(listen.port);
  return listener;
}

class TlsListener implements OpenListener {
  readonly address: string;
  port = 0;
  private readonly deps: TlsListenerDeps;
  private readonly server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket));
  private readonly ends: TlsServers;
  /** By the client's address and port, which the TLS socket knows as well as the one below it. */
  private readonly connections = new Map<string, Connection>();
  private disposing: Promise<void> | undefined;
  private wake: (() => void) | undefined;

  constructor(address: string, deps: TlsListenerDeps) {
    this.address = address;
    this.deps = deps;
    this.ends = new TlsServers(deps.limits.handshakeTimeoutMs);
  }

  async open(port: number): Promise<void> {
    const { server, address: host } = this;
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: NodeJS.ErrnoException) => reject(listenError(cause, `${host} port ${port}`));
      server.once('error', fail);
      server.listen({ host, port, backlog: 1024 }, () => {
        server.off('error', fail);
        server.on('error', (error) => this.deps.log.warn('accepting failed', { error: error.message }));
        resolve();
      });
    });
    const bound = server.address();
    if (bound !== null && typeof bound === 'object') this.port = bound.port;
  }

  private accept(socket: Socket): void {
    const { budget, limits, clock, metrics } = this.deps;
    const client = plainAddress(socket.remoteAddress ?? '');
    socket.on('error', () => socket.destroy());
    if (this.disposing !== undefined || budget.take(client) !== 'ok') {
      metrics.tlsResult('limit');
      socket.resetAndDestroy();
      return;
    }
    const key = peerOf(socket);
    this.connections.set(key, { raw: socket, drain: () => socket.destroy(), abort: () => socket.destroy() });
    socket.once('close', () => {
      budget.release(client);
      if (this.connections.get(key)?.raw === socket) this.connections.delete(key);
      if (this.connections.size === 0) this.wake?.();
    });
    peekHello(socket, { maxBytes: limits.maxHelloBytes, timeoutMs: limits.helloTimeoutMs, clock }, (peeked) => {
      if (peeked.kind === 'hello') return this.choose(socket, client, peeked.hello.serverName?.replace(/\.$/, ''));
      if (peeked.kind !== 'gone') metrics.tlsResult(peeked.kind === 'timeout' ? 'hello-timeout' : 'not-tls');
      socket.destroy();
    });
  }

  private choose(socket: Socket, client: string, serverName: string | undefined): void {
    const { metrics, log } = this.deps;
    const chain = chainFor(this.deps.chains(), serverName);
    if (chain === undefined || chain.handler.kind === 'refused') {
      metrics.tlsResult(chain === undefined ? 'no-chain' : 'refused');
      const reason = chain?.handler.kind === 'refused' ? chain.handler.reason : 'no listener has this server name';
      log.debug('a TLS connection was refused', { serverName, client, reason });
      socket.end(UNRECOGNIZED_NAME, () => socket.destroy());
      return;
    }
    const { handler } = chain;
    if (handler.kind === 'passthrough')
      this.forward(socket, client, { backends: handler.backends, result: 'passthrough' });
    else this.terminate(socket, client, chain, handler.tls);
  }

  private terminate(socket: Socket, client: string, chain: TlsChain, tls: TlsTermination): void {
    const { metrics, log } = this.deps;
    const failed = (error: Error) => {
      metrics.tlsResult('handshake-failed');
      log.debug('a TLS handshake failed', { chain: chain.name, client, error: messageOf(error) });
    };
    try {
      const server = this.ends.get(chain, tls, this.deps.chains(), {
        secure: (secure) => this.secured(secure, chain.name),
        failed,
      });
      server.emit('connection', socket);
    } catch (error) {
      // Certificates have been checked by the compiler; ciphers and CA are OpenSSL's to judge.
      failed(error instanceof Error ? error : new Error(String(error)));
      socket.destroy();
    }
  }

  private secured(socket: TLSSocket, chainName: string): void {
    const client = plainAddress(socket.remoteAddress ?? '');
    const chain = this.deps.chains().find(({ name }) => name === chainName);
    if (chain?.handler.kind === 'http') this.serve(socket, client, chainName);
    else if (chain?.handler.kind === 'tcp') {
      this.forward(socket, client, { backends: chain.handler.backends, result: 'tcp' });
    } else socket.destroy();
  }

  private serve(socket: TLSSocket, client: string, chainName: string): void {
    const { proxy, metrics } = this.deps;
    const own = () => this.deps.chains().find(({ name }) => name === chainName);
    const connection = proxy.serve(socket, socket.alpnProtocol === 'h2' ? 'h2' : 'http1', {
      address: client,
      localPort: this.port,
      encrypted: true,
      routes: () => {
        const handler = own()?.handler;
        return handler?.kind === 'http' ? handler.table : NO_ROUTES;
      },
      // Hosts of other chains have other certificates, and perhaps ask clients for theirs: RFC 9110 7.4, 421.
      mayServe: (host) => (findByHost(this.deps.chains(), host)?.name ?? chainName) === chainName,
    });
    metrics.tlsResult('http');
    if (connection === undefined) return;
    this.setEnd(
      socket,
      () => connection.drain(),
      () => connection.destroy(),
    );
  }

  private forward(
    socket: Socket,
    client: string,
    { backends, result }: { readonly backends: readonly L4Backend[]; readonly result: 'tcp' | 'passthrough' },
  ): void {
    const { services, metrics } = this.deps;
    const upstream = this.deps.upstreamOf(backends);
    if (upstream === undefined) {
      metrics.tlsResult('refused');
      this.connections.get(peerOf(socket))?.raw.resetAndDestroy();
      return;
    }
    metrics.tlsResult(result);
    const flow: Flow = { sourceIp: client };
    const near = socketByteStream(socket, 'connected');
    const abort = () => near.reset(new MeshError('shutdown', 'the listener is closing'));
    // Bytes cannot be asked to end: they go on until the grace period is over.
    this.setEnd(socket, () => undefined, abort);
    splice(near, services.dial(upstream, flow));
  }

  private setEnd(socket: Socket, drain: () => void, abort: () => void): void {
    const key = peerOf(socket);
    const connection = this.connections.get(key);
    if (connection !== undefined) this.connections.set(key, { raw: connection.raw, drain, abort });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposing ??= this.drain();
    return this.disposing;
  }

  private async drain(): Promise<void> {
    const { clock, limits } = this.deps;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const { drain } of this.connections.values()) drain();
    if (this.connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = clock.after(limits.drainMs, resolve);
        this.wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    for (const { raw, abort } of this.connections.values()) {
      abort();
      raw.destroy();
    }
    await closed;
  }
}

/** A client that sends no name gets the chain of `*`, or the only one there is. */
function chainFor(chains: readonly TlsChain[], serverName: string | undefined): TlsChain | undefined {
  if (serverName !== undefined && serverName !== '') return findByHost(chains, serverName);
  return chains.find(({ hosts }) => hosts.includes('*')) ?? (chains.length === 1 ? chains[0] : undefined);
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
