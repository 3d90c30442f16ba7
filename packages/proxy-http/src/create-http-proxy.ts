import type { Socket } from 'node:net';
import {
  type Clock,
  type Dialer,
  type Logger,
  type Metrics,
  noMetrics,
  type Random,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import type { AccessLogEntry } from './access-log.ts';
import { type HttpProxyError, HttpProxyError as ProxyError } from './errors.ts';
import { Exchange } from './exchange.ts';
import { Http1ServerConnection } from './h1/server-connection.ts';
import { Http2ServerConnection } from './h2/server-connection.ts';
import { stackLayers } from './layer.ts';
import type { ClientInfo } from './message.ts';
import { type HttpMetrics, httpMetrics } from './metrics.ts';
import { type HttpLimits, httpLimits } from './options.ts';
import { createRetryBudget } from './retry-budget.ts';
import type { RouteTable } from './route-model.ts';
import type { ServerConnection, ServerConnectionContext } from './server-connection.ts';
import type { ForwardingOptions, ProxyServices, Upstreams } from './services.ts';
import { STACK } from './stack.ts';
import { Sweeper } from './sweeper.ts';
import { UpstreamPools } from './upstream/pools.ts';

/** What a proxy is made of. */
export interface HttpProxyOptions {
  /** The table of this moment; asked for each request. A listener may have its own. */
  readonly routes: () => RouteTable;
  readonly upstreams: Upstreams;
  /** Reaches endpoints: the local kernel, the tunnel, or both. */
  readonly dialer: Dialer;
  readonly limits?: Partial<HttpLimits>;
  readonly forwarding?: ForwardingOptions;
  /** Called once for every finished request. */
  readonly accessLog?: (entry: AccessLogEntry) => void;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** A running proxy engine. Listeners and others hand it connections. */
export interface HttpProxy extends AsyncDisposable {
  readonly limits: HttpLimits;
  /**
   * Serves one client connection until it ends. The socket is connected (TLS included) and has `allowHalfOpen`.
   * @param first bytes that have been read from it already
   * @returns undefined when a limit is reached and the socket has been closed
   */
  serve(socket: Socket, protocol: 'http1' | 'h2', client: ClientInfo, first?: Buffer): ServerConnection | undefined;
  /** Counts a connection that a listener has refused. */
  countRefused(reason: string): void;
  readonly clock: Clock;
  readonly log: Logger;
  /** Client connections now. */
  readonly connections: number;
  /** Requests in flight now. */
  readonly activeRequests: number;
  /** Connections to endpoints now. */
  readonly upstreamConnections: number;
}

/** Makes a proxy. It listens nowhere by itself: see `createHttpListener`. Disposing drains for `drainMs`, then aborts. */
export function createHttpProxy(options: HttpProxyOptions): HttpProxy {
  const limits = httpLimits(options.limits);
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLogger;
  const sweeper = new Sweeper(clock, limits.sweepMs);
  const pools = new UpstreamPools({ dialer: options.dialer, limits, sweeper });
  const connections = new Set<ServerConnection>();
  let disposing: Promise<void> | undefined;
  let wake: (() => void) | undefined;

  const metrics: HttpMetrics = httpMetrics(options.metrics ?? noMetrics, {
    connections: () => connections.size,
    requests: () => services.active,
    upstreamConnections: () => pools.connections,
  });
  const services: ProxyServices = {
    limits,
    clock,
    random: options.random ?? Math.random,
    log,
    metrics,
    routes: options.routes,
    upstreams: options.upstreams,
    pools,
    forwarding: options.forwarding ?? {},
    retryBudget: createRetryBudget(() => services.active, limits.retryBudgetPercent, limits.minRetries),
    accessLog: options.accessLog,
    active: 0,
  };
  const handle = stackLayers(STACK, services);
  const context: ServerConnectionContext = {
    limits,
    sweeper,
    onRequest: (downstream) => handle(new Exchange(downstream, clock.now())),
    onMalformed(error: HttpProxyError, client: ClientInfo) {
      metrics.failures.with(error.code).add();
      log.debug('a request was refused', { code: error.code, error: error.message, client: client.address });
    },
    onClosed(connection) {
      connections.delete(connection);
      if (connections.size === 0) wake?.();
    },
  };

  const drainAndAbort = async (): Promise<void> => {
    for (const connection of connections) connection.drain();
    if (connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = clock.after(limits.drainMs, resolve);
        wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    for (const connection of connections) connection.destroy();
    pools.destroy(new ProxyError('shutdown', 'the proxy is stopping'));
    sweeper.stop();
  };

  return {
    limits,
    clock,
    log,
    get connections() {
      return connections.size;
    },
    get activeRequests() {
      return services.active;
    },
    get upstreamConnections() {
      return pools.connections;
    },
    serve(socket, protocol, client, first) {
      if (disposing !== undefined || connections.size >= limits.maxConnections) {
        metrics.refusedConnections.with('max-connections').add();
        socket.destroy();
        return undefined;
      }
      if (protocol === 'h2') {
        if (first !== undefined) {
          socket.pause();
          socket.unshift(first);
        }
        const session = new Http2ServerConnection(socket, client, context);
        connections.add(session);
        return session;
      }
      const connection = new Http1ServerConnection(socket, client, context);
      connections.add(connection);
      if (first !== undefined) connection.feed(first);
      return connection;
    },
    countRefused: (reason) => metrics.refusedConnections.with(reason).add(),
    [Symbol.asyncDispose]() {
      disposing ??= drainAndAbort();
      return disposing;
    },
  };
}
