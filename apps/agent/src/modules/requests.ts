import {
  type CatalogView,
  type Dialer,
  type Logger,
  type MeshError,
  type Metrics,
  type Protocol,
  type Service,
  type ServiceId,
  type ServicePort,
  systemClock,
} from '@edgemesh/core';
import { protocolOf } from '@edgemesh/gateway';
import { type ClientInfo, type ClusterRef, createHttpProxy, peekProtocol, type RouteTable } from '@edgemesh/proxy-http';
import type { TcpConnection, Upstream } from '@edgemesh/proxy-l4';
import type { MeshBalancing } from './balancing.ts';

export interface RequestProxyDeps {
  readonly view: CatalogView;
  readonly balancing: Pick<MeshBalancing, 'needsRequests' | 'sessionCookie'>;
  readonly dialer: Dialer;
  readonly upstream: (id: ServiceId, portName: string, protocol: Protocol) => Upstream | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Serves connections to those Service ports whose policy looks at requests; all others stay connections. */
export interface RequestProxy extends AsyncDisposable {
  /** Takes a connection over where its Service port needs it. */
  readonly takeOver: (
    id: ServiceId,
    port: ServicePort,
    connection: TcpConnection,
  ) => ((error: MeshError) => void) | undefined;
  readonly status: { readonly connections: number; readonly active: number };
}

/** Starts the engine; it holds nothing until a connection needs it. */
export function createRequestProxy(deps: RequestProxyDeps): RequestProxy {
  const { view, balancing, dialer, log, metrics } = deps;
  const portOf = (cluster: ClusterRef): { service: Service; port: ServicePort } | undefined => {
    const service = view.current.services.get(cluster.service);
    const port = service?.ports.find((p) => p.port === cluster.port && p.protocol === 'TCP');
    return service && port && { service, port };
  };
  const upstreamOf = (cluster: ClusterRef): Upstream | undefined => {
    const found = portOf(cluster);
    return found && deps.upstream(found.service.id, found.port.name, 'TCP');
  };
  const proxy = createHttpProxy({
    routes: () => ({ virtualHosts: [] }),
    upstreams: {
      pickEndpoint: (cluster, flow, exclude) => upstreamOf(cluster)?.pick(flow, exclude),
      sessionCookie: (cluster) => {
        const found = portOf(cluster);
        return found && balancing.sessionCookie(found.service, found.port);
      },
      report: (cluster, endpoint, outcome) => upstreamOf(cluster)?.report?.(endpoint, outcome),
      begin: (cluster, endpoint) => upstreamOf(cluster)?.begin?.(endpoint),
      end: (cluster, endpoint) => upstreamOf(cluster)?.end?.(endpoint),
    },
    dialer,
    // Clients dial a Service and shall not notice that anybody reads along: what they forward is passed on.
    forwarding: { trust: () => true, requestIdHeader: '', startTraces: false },
    log,
    metrics,
  });
  // Tables by Service object: a changed Service gets a new one.
  const tables = new WeakMap<Service, Map<number, RouteTable>>();
  const tableOf = (service: Service, port: ServicePort): RouteTable => {
    const ports = tables.get(service) ?? new Map<number, RouteTable>();
    tables.set(service, ports);
    const table = ports.get(port.port) ?? makeTable(service, port);
    ports.set(port.port, table);
    return table;
  };

  return {
    takeOver(id, { port: number, protocol }, connection) {
      const service = view.current.services.get(id);
      const port = service?.ports.find((p) => p.port === number && p.protocol === protocol);
      if (service === undefined || port === undefined || !balancing.needsRequests(service, port)) return undefined;
      const { socket, client } = connection;
      const info: ClientInfo = {
        address: client.address,
        localPort: number,
        encrypted: false,
        routes: () => {
          const now = view.current.services.get(id);
          const nowPort = now?.ports.find((p) => p.port === number && p.protocol === protocol);
          return now && nowPort ? tableOf(now, nowPort) : { virtualHosts: [] };
        },
      };
      const timer = systemClock.after(proxy.limits.headerTimeoutMs, () => socket.destroy());
      peekProtocol(socket, (found, first) => {
        timer.cancel();
        if (found !== undefined) proxy.serve(socket, found, info, first);
      });
      return () => socket.destroy();
    },
    get status() {
      return { connections: proxy.connections, active: proxy.activeRequests };
    },
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

/** Every request to the one Service port. */
function makeTable(service: Service, port: ServicePort): RouteTable {
  const name = `${service.id}:${port.port}`;
  const cluster: ClusterRef = { key: name, service: service.id, port: port.port, protocol: protocolOf(port) };
  const action = { kind: 'forward', backends: [{ weight: 1, cluster }] } as const;
  return { virtualHosts: [{ name, hosts: ['*'], routes: [{ name, matches: [], action }] }] };
}
