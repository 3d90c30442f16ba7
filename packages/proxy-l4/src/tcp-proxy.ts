import type { Socket } from 'node:net';
import {
  type Clock,
  type Dialer,
  type Logger,
  MeshError,
  type Metrics,
  noMetrics,
  silentLogger,
  splice,
  systemClock,
} from '@edgemesh/core';
import { type ConnectionBudget, type ConnectionBudgetOptions, createConnectionBudget } from './connection-budget.ts';
import { type DialUpstreamOptions, dialUpstream } from './dial-upstream.ts';
import { createProxyMetrics, type ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { abort, socketByteStream } from './socket-stream.ts';
import { createTcpListener, type TcpListener, type TcpListenerOptions } from './tcp-listener.ts';
import type { ClientAddress, Upstream } from './upstream.ts';

/** Where a TCP proxy listens, how it dials, and its limits. */
export interface TcpProxyOptions extends TcpListenerOptions, DialUpstreamOptions, ConnectionBudgetOptions {
  /** Milliseconds without a byte either way before a connection is reset. Default 0: never. */
  readonly idleMs?: number;
  /** The same once one side has ended: a peer that dies then is not noticed otherwise. Default 3,600,000. */
  readonly halfClosedIdleMs?: number;
}

/** A connection that waits to be routed. The socket serves to find its original destination; it must not be read. */
export interface TcpConnection {
  readonly client: ClientAddress;
  readonly socket: Socket;
}

/** What a TCP proxy works with. */
export interface TcpProxyDeps {
  /** Says where a connection goes; undefined resets it. Called synchronously for each one, before anything is read. */
  readonly route: (connection: TcpConnection) => Upstream | undefined;
  /**
   * Asked first: somebody who serves the connection himself, an HTTP engine for example, takes the socket and returns what aborts
   * it. Undefined leaves it to `route`.
   */
  readonly takeOver?: ((connection: TcpConnection) => ((error: MeshError) => void) | undefined) | undefined;
  readonly dialer: Dialer;
  /** Limits shared with other listeners. Default: the proxy's own, from the options. */
  readonly budget?: ConnectionBudget;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** A listener that forwards each connection to an endpoint. Disposing stops it, drains, then resets what is left. */
export type TcpProxy = TcpListener;

/** Traffic either way passes through the client's socket, so its own timer sees all of it. */
function limitIdleness(socket: Socket, options: TcpProxyOptions, expired: () => void): void {
  const idleMs = options.idleMs ?? PROXY_DEFAULTS.tcpIdleMs;
  const halfClosedMs = options.halfClosedIdleMs ?? PROXY_DEFAULTS.halfClosedIdleMs;
  socket.on('timeout', expired);
  if (idleMs > 0) socket.setTimeout(idleMs);
  const arm = () => socket.setTimeout(idleMs > 0 ? Math.min(idleMs, halfClosedMs) : halfClosedMs);
  if (halfClosedMs === 0) return;
  socket.once('end', arm);
  socket.once('finish', arm);
}

/** Forwards one accepted connection. Returns what aborts it. */
function forward(
  { socket, client }: TcpConnection,
  options: TcpProxyOptions,
  deps: Required<Omit<TcpProxyDeps, 'budget' | 'metrics' | 'takeOver'>> & Pick<TcpProxyDeps, 'takeOver'>,
  metrics: ProxyMetrics,
): (error: MeshError) => void {
  const taken = deps.takeOver?.({ socket, client });
  if (taken !== undefined) return taken;
  const upstream = deps.route({ socket, client });
  if (upstream === undefined) {
    metrics.rejected('no-route');
    abort(socket);
    return () => abort(socket);
  }
  const near = socketByteStream(socket, 'connected');
  const far = dialUpstream(upstream, { sourceIp: client.address }, { ...deps, metrics }, options);
  limitIdleness(socket, options, () => near.reset(new MeshError('timeout', 'idle for too long')));
  splice(near, far, ({ bytesAtoB, bytesBtoA, error, failed }) => {
    metrics.bytesToEndpoint.add(bytesAtoB);
    metrics.bytesToClient.add(bytesBtoA);
    metrics.connectionEnded(error?.code ?? 'ok');
    // A client that goes away is its own business; an endpoint that fails is worth a line.
    if (error === undefined || failed === 'a') return;
    deps.log.debug('connection failed', {
      upstream: upstream.name,
      client: client.address,
      code: error.code,
      error: error.message,
    });
  });
  return (error) => near.reset(error);
}

/**
 * Starts a TCP proxy. Accepting never waits for anything: the endpoint is picked and dialled in the same turn, whether the
 * client has spoken or not. Resolves once it listens; rejects with {@link ProxyError}.
 */
export function createTcpProxy(options: TcpProxyOptions, deps: TcpProxyDeps): Promise<TcpProxy> {
  const metrics = createProxyMetrics(deps.metrics ?? noMetrics);
  const complete = { clock: systemClock, log: silentLogger, ...deps };
  return createTcpListener(options, {
    budget: deps.budget ?? createConnectionBudget(options),
    metrics,
    log: complete.log,
    clock: complete.clock,
    handle: (socket, client) => forward({ socket, client }, options, complete, metrics),
  });
}
