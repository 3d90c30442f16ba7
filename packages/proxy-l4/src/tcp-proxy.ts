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
import type { AcceptedConnection } from './sockets/accepted-connection.ts';
import { createTcpListener, type TcpListener, type TcpListenerOptions } from './tcp-listener.ts';
import type { Upstream } from './upstream.ts';

/** Where a TCP proxy listens, how it dials, and its limits. */
export interface TcpProxyOptions extends TcpListenerOptions, DialUpstreamOptions, ConnectionBudgetOptions {}

/** A connection that waits to be routed: its client, and its socket for whoever serves it himself. */
export type TcpConnection = Pick<AcceptedConnection, 'client' | 'socket'>;

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

/** What all connections of a proxy share. */
interface Shared {
  readonly options: TcpProxyOptions;
  readonly deps: Required<Omit<TcpProxyDeps, 'budget' | 'metrics' | 'takeOver'>> &
    Pick<TcpProxyDeps, 'takeOver'> & { readonly metrics: ProxyMetrics };
}

/** Forwards one accepted connection. Returns what aborts it. */
function forward(connection: AcceptedConnection, { options, deps }: Shared): (error: MeshError) => void {
  const { client } = connection;
  const { metrics } = deps;
  const taken = deps.takeOver?.(connection);
  if (taken !== undefined) return taken;
  const upstream = deps.route(connection);
  if (upstream === undefined) {
    metrics.rejected('no-route');
    connection.abort();
    return () => connection.abort();
  }
  const near = connection.stream();
  const far = dialUpstream(upstream, { sourceIp: client.address }, deps, options);
  connection.expired = () => near.reset(new MeshError('timeout', 'idle for too long'));
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
  const { clock = systemClock, log = silentLogger } = deps;
  const shared = { options, deps: { ...deps, clock, log, metrics } };
  return createTcpListener(options, {
    budget: deps.budget ?? createConnectionBudget(options),
    metrics,
    log,
    clock,
    handle: (connection) => forward(connection, shared),
  });
}
