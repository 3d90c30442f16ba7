import {
  type ByteStream,
  type CatalogView,
  type Clock,
  type Dialer,
  type Flow,
  ipVersion,
  type Logger,
  type MeshError,
  type Metrics,
  noMetrics,
  type Protocol,
  type Service,
  type ServiceId,
  type ServicePort,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import { type ConnectionBudget, type ConnectionBudgetOptions, createConnectionBudget } from './connection-budget.ts';
import { type DialUpstreamOptions, dialUpstream } from './dial-upstream.ts';
import { createListenerSet, type OpenListener } from './listener-set.ts';
import { createProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { type Balancing, ServiceUpstream } from './service-upstream.ts';
import { createTcpProxy, type TcpConnection } from './tcp-proxy.ts';
import { createUdpProxy, type UdpProxy } from './udp-proxy.ts';
import type { Upstream } from './upstream.ts';

/**
 * How Services are offered to local clients.
 * - `none`: only through {@link ServiceProxy.upstream} and `dial`.
 * - `loopback`: on the ClusterIP itself, for ClusterIPs in 127.0.0.0/8: a node without root, a demo.
 * - `mapped`: each Service port on a port of `address` that the kernel chooses; {@link ServiceProxy.mappings} tells the rules
 *   that send ClusterIP traffic there. Node cannot ask for the original destination, so the port says it.
 */
export type ServiceListeners =
  | { readonly mode: 'none' }
  | { readonly mode: 'loopback' }
  | {
      readonly mode: 'mapped';
      readonly address: string;
      /** Its twin of the other family; without it, Services have listeners of the one family only. */
      readonly otherAddress?: string;
    };

/** How Services are offered, and the limits of all their listeners together. */
export interface ServiceProxyOptions extends DialUpstreamOptions, ConnectionBudgetOptions {
  /** Default `none`. */
  readonly listeners?: ServiceListeners;
  /** Services that get listeners. Default: all that have a ClusterIP. Asked with every change of a Service and by `reconsider`. */
  readonly include?: (service: Service) => boolean;
  /** Listeners at most. Default 8,192. */
  readonly maxListeners?: number;
  /** Milliseconds before a listener that could not be opened is tried again. Default 10,000. */
  readonly listenRetryMs?: number;
  readonly tcpIdleMs?: number;
  readonly udpIdleMs?: number;
  /** UDP flows at once, all listeners together. Default 12,288, of which one client address gets 10,240. */
  readonly maxUdpFlows?: number;
  readonly drainMs?: number;
}

/** What the service proxy works with. */
export interface ServiceProxyDeps {
  /** Asked for each TCP connection to a Service port: see `takeOver` of the TCP proxy. */
  readonly takeOver?: (
    service: ServiceId,
    port: ServicePort,
    connection: TcpConnection,
  ) => ((error: MeshError) => void) | undefined;
  readonly catalog: CatalogView;
  readonly balancing: Balancing;
  readonly dialer: Dialer;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** Which listener stands for which Service port. */
export interface PortMapping {
  readonly serviceId: ServiceId;
  readonly portName: string;
  readonly protocol: 'TCP' | 'UDP';
  /** The port on the ClusterIP. */
  readonly servicePort: number;
  readonly listenAddress: string;
  readonly listenPort: number;
}

/** Services as upstreams and as listeners, following the catalog. */
export interface ServiceProxy extends AsyncDisposable {
  /** A Service port that exists now, to pick and report with. Keep it: it follows the catalog, balancer state included. */
  upstream(id: ServiceId, portName: string, protocol: Protocol): Upstream | undefined;
  /** The upstream behind a ClusterIP and port. */
  upstreamAt(clusterIP: string, port: number, protocol: Protocol): Upstream | undefined;
  /** Dials a Service port with retries. */
  dial(upstream: Upstream, flow: Flow): ByteStream;
  /** Listeners that are open. A new array with every change. */
  readonly mappings: readonly PortMapping[];
  /** Calls back with every change of the mappings. Returns the unsubscribe function. */
  onMappings(listener: (mappings: readonly PortMapping[]) => void): () => void;
  /** Resolves when every listener wanted so far is open or known to fail: then rules may lead to them. */
  settled(): Promise<void>;
  /** Asks `include` again, because what it looks at beside the catalog has changed. */
  reconsider(): void;
  /** Connections and flows of the listeners at this moment. */
  readonly active: { readonly tcp: number; readonly udp: number };
  /** What is wanted and not so: listeners that cannot be opened. */
  readonly problems: readonly string[];
}

interface ListenerSpec {
  readonly service: ServiceId;
  readonly port: ServicePort;
  readonly protocol: 'TCP' | 'UDP';
  readonly listen: { readonly host: string; readonly port: number };
}

/** Starts the service proxy. Resolves when the listeners of the present catalog are open or known to fail. */
export async function createServiceProxy(options: ServiceProxyOptions, deps: ServiceProxyDeps): Promise<ServiceProxy> {
  const { catalog, balancing, dialer } = deps;
  const log = deps.log ?? silentLogger;
  const clock = deps.clock ?? systemClock;
  const metrics = createProxyMetrics(deps.metrics ?? noMetrics);
  const listeners = options.listeners ?? { mode: 'none' };
  const upstreams = new Map<string, ServiceUpstream>();
  const subscribers = new Set<(mappings: readonly PortMapping[]) => void>();
  let mappings: readonly PortMapping[] = [];

  const upstream = (id: ServiceId, portName: string, protocol: Protocol): Upstream | undefined => {
    const key = `${id} ${portName} ${protocol}`;
    const known = upstreams.get(key);
    if (known !== undefined) return known;
    if (!hasPort(catalog.current.services.get(id), portName, protocol)) return undefined;
    const made = new ServiceUpstream({ id, portName, protocol }, catalog, balancing);
    upstreams.set(key, made);
    return made;
  };

  const connections = createConnectionBudget(options);
  const flows = createConnectionBudget({
    maxConnections: options.maxUdpFlows ?? PROXY_DEFAULTS.maxUdpFlows,
    maxConnectionsPerClient: PROXY_DEFAULTS.maxUdpFlowsPerClient,
  });
  const open = openerOf(options, { ...deps, log, clock, connections, flows }, upstream);
  const publish = () => {
    mappings = [...set.open()].map(([, spec, listener]) => mappingOf(spec, listener));
    metrics.listeners.set(mappings.length);
    for (const subscriber of subscribers) subscriber(mappings);
  };
  const set = createListenerSet<ListenerSpec>({
    open,
    changed: publish,
    maxListeners: options.maxListeners ?? PROXY_DEFAULTS.maxListeners,
    retryMs: options.listenRetryMs ?? PROXY_DEFAULTS.listenRetryMs,
    log,
    clock,
  });
  /** A UDP client that goes on sending must not stay with an endpoint that has left. */
  const recheckFlows = (changed: ReadonlySet<ServiceId>) => {
    for (const [, { service, port, protocol }, listener] of set.open()) {
      if (protocol !== 'UDP' || !changed.has(service)) continue;
      const now = upstreams.get(`${service} ${port.name} ${protocol}`);
      (listener as UdpProxy).recheck((endpoint) => now?.has(endpoint) ?? false);
    }
  };
  const include = options.include ?? (() => true);
  const wanted = () => set.want(wantedListeners(catalog.current.services.values(), listeners, include));
  const unsubscribe = catalog.subscribe((current, change) => {
    if (change.services.size === 0) return;
    for (const key of upstreams.keys()) {
      const [id, portName, protocol] = key.split(' ') as [ServiceId, string, Protocol];
      if (change.services.has(id) && !hasPort(current.services.get(id), portName, protocol)) upstreams.delete(key);
    }
    wanted();
    recheckFlows(change.services);
  });
  wanted();
  await set.settled();

  return {
    upstream,
    upstreamAt(clusterIP, port, protocol) {
      for (const service of catalog.current.services.values()) {
        if (!service.clusterIPs.includes(clusterIP)) continue;
        const found = service.ports.find((p) => p.port === port && p.protocol === protocol);
        return found && upstream(service.id, found.name, protocol);
      }
      return undefined;
    },
    dial: (target, flow) => dialUpstream(target, flow, { dialer, clock, metrics }, options),
    get mappings() {
      return mappings;
    },
    onMappings(listener) {
      subscribers.add(listener);
      return () => void subscribers.delete(listener);
    },
    settled: () => set.settled(),
    reconsider: wanted,
    get active() {
      return { tcp: connections.active, udp: flows.active };
    },
    get problems() {
      return set.problems;
    },
    async [Symbol.asyncDispose]() {
      unsubscribe();
      subscribers.clear();
      await set[Symbol.asyncDispose]();
      mappings = [];
    },
  };
}

function hasPort(service: Service | undefined, portName: string, protocol: Protocol): boolean {
  return service?.ports.some((port) => port.name === portName && port.protocol === protocol) ?? false;
}

interface Budgets {
  readonly connections: ConnectionBudget;
  readonly flows: ConnectionBudget;
}

/** Opens one listener, TCP or UDP, with the limits shared by all. */
function openerOf(
  options: ServiceProxyOptions,
  deps: ServiceProxyDeps & Budgets & { readonly log: Logger; readonly clock: Clock },
  upstream: (id: ServiceId, portName: string, protocol: Protocol) => Upstream | undefined,
): (spec: ListenerSpec) => Promise<OpenListener> {
  const { dialer, log, clock, connections, flows } = deps;
  const common = { dialer, log, clock, ...(deps.metrics && { metrics: deps.metrics }) };
  return ({ service, port, protocol, listen }) => {
    const route = () => upstream(service, port.name, protocol);
    if (protocol === 'TCP') {
      const { tcpIdleMs } = options;
      const tcpOptions = { ...options, listen, ...(tcpIdleMs !== undefined && { idleMs: tcpIdleMs }) };
      const takeOver = deps.takeOver && ((connection: TcpConnection) => deps.takeOver?.(service, port, connection));
      return createTcpProxy(tcpOptions, { ...common, route, takeOver, budget: connections });
    }
    const { udpIdleMs } = options;
    const udpOptions = { listen, ...(udpIdleMs !== undefined && { idleMs: udpIdleMs }) };
    return createUdpProxy(udpOptions, { ...common, route, budget: flows });
  };
}

function wantedListeners(
  services: Iterable<Service>,
  listeners: ServiceListeners,
  include: (service: Service) => boolean,
): Map<string, ListenerSpec> {
  const wanted = new Map<string, ListenerSpec>();
  if (listeners.mode === 'none') return wanted;
  for (const service of services) {
    if (service.type === 'ExternalName' || service.clusterIPs.length === 0 || !include(service)) continue;
    for (const port of service.ports) {
      const { protocol } = port;
      if (protocol === 'SCTP') continue;
      for (const listen of listenAddresses(service, port, listeners)) {
        const key = `${service.id} ${port.name} ${port.port} ${protocol} ${listen.host} ${listen.port}`;
        wanted.set(key, { service: service.id, port, protocol, listen });
      }
    }
  }
  return wanted;
}

function listenAddresses(
  service: Service,
  port: ServicePort,
  listeners: Exclude<ServiceListeners, { mode: 'none' }>,
): { host: string; port: number }[] {
  if (listeners.mode === 'mapped') {
    const { address, otherAddress } = listeners;
    if (otherAddress === undefined) return [{ host: address, port: 0 }];
    const families = new Set(service.clusterIPs.map(ipVersion));
    return [address, otherAddress].filter((host) => families.has(ipVersion(host))).map((host) => ({ host, port: 0 }));
  }
  return service.clusterIPs.filter((ip) => ip.startsWith('127.')).map((host) => ({ host, port: port.port }));
}

function mappingOf({ service, port, protocol }: ListenerSpec, listener: OpenListener): PortMapping {
  return {
    serviceId: service,
    portName: port.name,
    protocol,
    servicePort: port.port,
    listenAddress: listener.address,
    listenPort: listener.port,
  };
}
