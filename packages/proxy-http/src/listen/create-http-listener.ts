import { createServer, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { HttpProxy } from '../create-http-proxy.ts';
import { listenError } from '../errors.ts';
import type { ClientInfo } from '../message.ts';
import type { RouteTable } from '../route-model.ts';
import type { ServerConnection } from '../server-connection.ts';
import { type ReadyTlsHost, type TlsConfig, tlsSnapshot } from '../tls/tls-config.ts';
import { TlsHandshakes } from '../tls/tls-handshakes.ts';
import { type ClientHello, peekClientHello } from './client-hello.ts';
import { peekProtocol } from './peek-protocol.ts';

/** Where and how to listen. */
export interface HttpListenerOptions {
  readonly proxy: HttpProxy;
  /** IPv4 or IPv6 address of this machine, or `::` / `0.0.0.0`. */
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** Port that routes and X-Forwarded-Port see, where traffic is redirected to this listener. Default: the local port. */
  readonly visiblePort?: number;
  /** Routes of this listener. Default: those of the proxy. */
  readonly routes?: () => RouteTable;
  /** Certificates of this moment; asked for each handshake. Absent: plain HTTP. */
  readonly tls?: () => TlsConfig;
  /**
   * Looks at each TLS ClientHello before it is answered. True: it has taken the socket (to pass it through, undecrypted);
   * the bytes of the hello have been put back into it, and it is paused.
   */
  readonly onClientHello?: (hello: ClientHello, socket: Socket) => boolean;
  /** Offer HTTP/2: by ALPN with TLS, by prior knowledge without. Default true. */
  readonly http2?: boolean;
  /** Connections that wait to be accepted. Default 1,024; the kernel caps it. */
  readonly backlog?: number;
}

/** An open listener. Disposing stops accepting, then drains its connections for `drainMs`, then closes them. */
export interface HttpListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Connections now. */
  readonly connections: number;
  /** Serves a socket that was accepted elsewhere (with `allowHalfOpen`), e.g. after its ClientHello has been looked at. */
  accept(socket: Socket): void;
}

const DEFAULT_BACKLOG = 1_024;

/** What is known of a connection before it is served. */
interface Given {
  /** Bytes that have been read already. */
  readonly first?: Buffer;
  readonly mayServe?: (host: string) => boolean;
}

/** Opens a listener. @throws ListenError */
export async function createHttpListener(options: HttpListenerOptions): Promise<HttpListener> {
  const listener = new Listener(options);
  await listener.open();
  return listener;
}

class Listener implements HttpListener {
  readonly address: string;
  port: number;
  private readonly options: HttpListenerOptions;
  private readonly server: Server;
  private readonly handshakes: TlsHandshakes | undefined;
  private readonly open_ = new Set<ServerConnection>();
  private readonly handshaking = new Set<Socket>();
  private disposing: Promise<void> | undefined;
  private wake: (() => void) | undefined;

  constructor(options: HttpListenerOptions) {
    this.options = options;
    this.address = options.address;
    this.port = options.port;
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket));
    this.handshakes =
      options.tls &&
      new TlsHandshakes({
        proxy: options.proxy,
        tls: options.tls,
        http2: options.http2 !== false,
        onSecure: (socket, host) => this.onSecure(socket, host),
      });
  }

  get connections(): number {
    return this.open_.size + this.handshaking.size;
  }

  async open(): Promise<void> {
    const { server, options } = this;
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: NodeJS.ErrnoException) =>
        reject(listenError(cause, `${options.address} port ${options.port}`));
      server.once('error', fail);
      server.listen({ host: options.address, port: options.port, backlog: options.backlog ?? DEFAULT_BACKLOG }, () => {
        server.off('error', fail);
        server.on('error', (error) => options.proxy.log.warn('accepting failed', { error: error.message }));
        resolve();
      });
    });
    const bound = server.address();
    if (bound !== null && typeof bound === 'object') this.port = bound.port;
  }

  accept(socket: Socket): void {
    const { proxy } = this.options;
    if (this.disposing !== undefined || proxy.connections + this.handshaking.size >= proxy.limits.maxConnections) {
      proxy.countRefused('max-connections');
      socket.destroy();
      return;
    }
    if (this.handshakes !== undefined) this.acceptTls(socket, this.handshakes);
    else if (this.options.http2 === false) this.serve(socket, 'http1');
    else this.servePlain(socket);
  }

  /** HTTP/2 by prior knowledge begins with a preface that no HTTP/1 request can be. */
  private servePlain(socket: Socket): void {
    const { clock, limits } = this.options.proxy;
    this.track(socket);
    const timer = clock.after(limits.headerTimeoutMs, () => socket.destroy());
    peekProtocol(socket, (protocol, first) => {
      timer.cancel();
      this.untrack(socket);
      if (protocol !== undefined) this.serve(socket, protocol, { first });
    });
  }

  private acceptTls(socket: Socket, handshakes: TlsHandshakes): void {
    const { onClientHello, proxy } = this.options;
    this.track(socket);
    socket.once('close', () => this.untrack(socket));
    socket.on('error', () => socket.destroy());
    const timer = proxy.clock.after(proxy.limits.handshakeTimeoutMs, () => socket.destroy());
    peekClientHello(socket, (hello, first) => {
      timer.cancel();
      if (hello !== undefined && onClientHello?.(hello, socket) === true) this.untrack(socket);
      else handshakes.start(socket, hello, first);
    });
  }

  private onSecure(socket: TLSSocket, ready: ReadyTlsHost): void {
    const { tls } = this.options;
    const protocol = socket.alpnProtocol === 'h2' ? 'h2' : 'http1';
    this.serve(socket, protocol, { mayServe: (name) => mayServe(ready, name, tls as () => TlsConfig) });
  }

  private serve(socket: Socket, protocol: 'http1' | 'h2', given: Given = {}): void {
    const { proxy, routes, visiblePort } = this.options;
    this.untrack(socket);
    const client: ClientInfo = {
      address: plainAddress(socket.remoteAddress ?? ''),
      localPort: visiblePort ?? this.port,
      encrypted: 'encrypted' in socket,
      ...(routes && { routes }),
      ...(given.mayServe && { mayServe: given.mayServe }),
    };
    const connection = proxy.serve(socket, protocol, client, given.first);
    if (connection === undefined) return;
    this.open_.add(connection);
    socket.once('close', () => {
      this.open_.delete(connection);
      this.wakeWhenEmpty();
    });
  }

  private track(socket: Socket): void {
    this.handshaking.add(socket);
  }

  private untrack(socket: Socket): void {
    this.handshaking.delete(socket);
    this.wakeWhenEmpty();
  }

  private wakeWhenEmpty(): void {
    if (this.connections === 0) this.wake?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposing ??= this.drain();
    return this.disposing;
  }

  private async drain(): Promise<void> {
    const { clock, limits } = this.options.proxy;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const connection of this.open_) connection.drain();
    if (this.connections > 0) {
      await new Promise<void>((resolve) => {
        const timer = clock.after(limits.drainMs, resolve);
        this.wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    for (const connection of this.open_) connection.destroy();
    for (const socket of this.handshaking) socket.destroy();
    await closed;
  }
}

/** One connection may carry requests for other hosts (HTTP/2 coalescing), but not past their client certificates. */
function mayServe(connected: ReadyTlsHost, host: string, tls: () => TlsConfig): boolean {
  const wanted = tlsSnapshot(tls()).find(host);
  // No certificate for it: routes decide, as for a connection by address.
  if (wanted === undefined || wanted.host.clientCertificate !== 'require') return true;
  return wanted.host.ca === connected.host.ca && connected.host.clientCertificate === 'require';
}

function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
