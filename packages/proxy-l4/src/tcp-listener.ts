import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type Clock, type Logger, MeshError, messageOf } from '@edgemesh/core';
import type { ConnectionBudget } from './connection-budget.ts';
import { listenError } from './errors.ts';
import { IdleWatch, type Watched } from './idle-watch.ts';
import type { ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { abort } from './socket-stream.ts';
import { type ClientAddress, plainAddress } from './upstream.ts';

/** Where to listen. */
export interface ListenAddress {
  readonly host: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
}

/** How a TCP listener accepts and stops. */
export interface TcpListenerOptions {
  readonly listen: ListenAddress;
  readonly backlog?: number;
  readonly keepAliveMs?: number;
  readonly drainMs?: number;
  /** Milliseconds without a byte either way before a connection is reset. Default 0: never. */
  readonly idleMs?: number;
  /** The same once one side has ended: a peer that dies then is not noticed otherwise. Default 3,600,000. */
  readonly halfClosedIdleMs?: number;
}

/** What a TCP listener works with. */
export interface TcpListenerDeps {
  readonly budget: ConnectionBudget;
  readonly metrics: ProxyMetrics;
  readonly log: Logger;
  readonly clock: Clock;
  /**
   * Takes an accepted connection. The returned function must abort it; it is called when draining takes too long. To limit its
   * idleness set `watched.expired`.
   */
  handle(socket: Socket, client: ClientAddress, watched: Watched): (error: MeshError) => void;
}

/** An open listener that accounts for every connection it has accepted. */
export interface TcpListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly active: number;
  /** Accepts no more and lets connections go on for as long as they like. Resolves after the last one has ended. */
  retire(): Promise<void>;
}

/** Listens and hands out accepted sockets within the budget; what exceeds it is reset at once. Rejects with ProxyError. */
export async function createTcpListener(options: TcpListenerOptions, deps: TcpListenerDeps): Promise<TcpListener> {
  const { budget, metrics, log } = deps;
  const watch = new IdleWatch(
    {
      idleMs: options.idleMs ?? PROXY_DEFAULTS.tcpIdleMs,
      halfClosedIdleMs: options.halfClosedIdleMs ?? PROXY_DEFAULTS.halfClosedIdleMs,
      keepAliveMs: options.keepAliveMs ?? PROXY_DEFAULTS.keepAliveMs,
    },
    deps.clock,
  );
  const connections = new Map<Socket, (error: MeshError) => void>();
  let onEmpty: (() => void) | undefined;

  const accept = (socket: Socket) => {
    const client = { address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 };
    socket.on('error', ignore);
    const verdict = budget.take(client.address);
    if (verdict !== 'ok') {
      metrics.rejected(verdict);
      abort(socket);
      return;
    }
    metrics.activeConnections.add(1);
    connections.set(socket, (error) => stop(error));
    const watched = watch.add(socket);
    socket.on('close', () => {
      connections.delete(socket);
      watch.remove(watched);
      budget.release(client.address);
      metrics.activeConnections.add(-1);
      if (connections.size === 0) onEmpty?.();
    });
    const stop = deps.handle(socket, client, watched);
  };

  const server = createServer({
    allowHalfOpen: true,
    noDelay: true,
    highWaterMark: PROXY_DEFAULTS.socketBufferedBytes,
  });
  server.on('connection', accept);
  await listening(server, options);
  server.on('error', (error) => log.warn('accepting a connection failed', { error: messageOf(error) }));
  const bound = server.address() as AddressInfo;

  let retirement: Promise<void> | undefined;
  const retire = () => {
    retirement ??= new Promise<void>((resolve) => server.close(() => resolve()));
    return retirement;
  };
  let disposal: Promise<void> | undefined;
  const dispose = async () => {
    const closed = retire();
    if (connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = deps.clock.after(options.drainMs ?? PROXY_DEFAULTS.drainMs, () => {
          for (const stop of [...connections.values()]) stop(new MeshError('shutdown', 'the proxy is stopping'));
        });
        onEmpty = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    await closed;
  };

  return {
    address: bound.address,
    port: bound.port,
    get active() {
      return connections.size;
    },
    retire,
    [Symbol.asyncDispose]() {
      disposal ??= dispose();
      return disposal;
    },
  };
}

function listening(server: Server, options: TcpListenerOptions): Promise<void> {
  const { host, port } = options.listen;
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => reject(listenError(cause, `${host} port ${port}`));
    server.once('error', failed);
    server.listen({ host, port, backlog: options.backlog ?? PROXY_DEFAULTS.backlog }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

/** A socket that is turned away may still fail; its stream reports everything else. */
function ignore(): void {
  // nobody is interested
}
