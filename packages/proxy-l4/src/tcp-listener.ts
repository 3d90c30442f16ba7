import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { type Clock, type Logger, MeshError, messageOf } from '@edgemesh/core';
import type { ConnectionBudget } from './connection-budget.ts';
import { listenError } from './errors.ts';
import { IdleWatch } from './idle-watch.ts';
import type { ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { AcceptedConnection } from './sockets/accepted-connection.ts';
import { type TcpHandle, tcpHandles } from './sockets/tcp-handles.ts';
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
  /** What clients are called that come from the listener's own address, as processes of this node may. Default: that address. */
  readonly ownAddress?: () => string | undefined;
}

/** What a TCP listener works with. */
export interface TcpListenerDeps {
  readonly budget: ConnectionBudget;
  readonly metrics: ProxyMetrics;
  readonly log: Logger;
  readonly clock: Clock;
  /** Takes an accepted connection. The returned function must abort it; it is called when draining takes too long. */
  handle(connection: AcceptedConnection): (error: MeshError) => void;
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
  const connections = new Map<AcceptedConnection, (error: MeshError) => void>();
  const onEmpty: (() => void)[] = [];
  const whenEmpty = () =>
    new Promise<void>((resolve) => {
      if (connections.size === 0) resolve();
      else onEmpty.push(resolve);
    });
  const closed = (connection: AcceptedConnection) => {
    if (!connections.delete(connection)) return;
    budget.release(connection.client.address);
    metrics.activeConnections.add(-1);
    if (connections.size === 0) for (const resolve of onEmpty.splice(0)) resolve();
  };
  const accept = (accepted: Socket | TcpHandle, client: ClientAddress) => {
    const connection = new AcceptedConnection(accepted, client, watch, closed);
    const verdict = budget.take(client.address);
    if (verdict !== 'ok') {
      metrics.rejected(verdict);
      connection.abort();
      return;
    }
    metrics.activeConnections.add(1);
    connections.set(connection, (error) => stop(error));
    const stop = deps.handle(connection);
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true });
  await listening(server, options);
  const bound = server.address() as AddressInfo;
  const named = (address: string) => (address === bound.address ? (options.ownAddress?.() ?? address) : address);
  acceptFrom(
    server,
    (accepted, { address, port }) => accept(accepted, { address: named(address), port }),
    (reason) => log.warn('accepting a connection failed', { error: reason }),
  );

  let retirement: Promise<void> | undefined;
  const retire = async () => {
    await new Promise((resolve) => server.close(resolve));
    await whenEmpty();
  };
  let disposal: Promise<void> | undefined;
  const dispose = async () => {
    retirement ??= retire();
    const timer = deps.clock.after(options.drainMs ?? PROXY_DEFAULTS.drainMs, () => {
      for (const stop of [...connections.values()]) stop(new MeshError('shutdown', 'the proxy is stopping'));
    });
    await retirement;
    timer.cancel();
  };

  return {
    address: bound.address,
    port: bound.port,
    get active() {
      return connections.size;
    },
    retire() {
      retirement ??= retire();
      return retirement;
    },
    [Symbol.asyncDispose]() {
      disposal ??= dispose();
      return disposal;
    },
  };
}

/** Connections come as handles, where this Node lets them, or as sockets. */
function acceptFrom(
  server: Server,
  accept: (accepted: Socket | TcpHandle, client: ClientAddress) => void,
  failed: (reason: string) => void,
): void {
  server.on('error', (error) => failed(messageOf(error)));
  const { _handle: listener } = server as { _handle?: TcpHandle };
  if (tcpHandles === undefined || listener === undefined) {
    server.on('connection', (socket) => {
      accept(socket, { address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 });
    });
    return;
  }
  listener.onconnection = (status, connection) => {
    if (status !== 0 || connection === undefined) {
      failed(getSystemErrorName(status));
      return;
    }
    const from: { address?: string; port?: number } = {};
    connection.getpeername(from);
    accept(connection, { address: plainAddress(from.address ?? ''), port: from.port ?? 0 });
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
