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
import { hosts, type ListenerSpec, type ServiceListeners, wantedListeners } from './wanted-listeners.ts';

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
  /** What TCP clients are called that come from a listener's own address: this node's address. Default: as they come. */
  readonly ownAddress?: () => string | undefined;
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
  /** Listeners that are open. A new array after every change. */
  readonly mappings: readonly PortMapping[];
  /** With mapped listeners: the port of the open one that serves a Service port on the address of this family. */
  listenPortOf(id: ServiceId, portName: string, protocol: 'TCP' | 'UDP', family: 4 | 6): number | undefined;
  /** Calls back with the Service of every listener that came or went. Returns the unsubscribe function. */
  onMappings(listener: (service: ServiceId) => void): () => void;
  /** Resolves when every listener wanted so far is open or known to fail: then rules may lead to them. */
  settled(): Promise<void>;
  /** Asks `include` again, because what it looks at beside the catalog has changed. */
  reconsider(): void;
  /** Connections and flows of the listeners at this moment. */
  readonly active: { readonly tcp: number; readonly udp: number };
  /** What is wanted and not so: listeners that cannot be opened. */
  readonly problems: readonly string[];
}

/** Starts the service proxy. Resolves when the listeners of the present catalog are open or known to fail. */
export async function createServiceProxy(options: ServiceProxyOptions, deps: ServiceProxyDeps): Promise<ServiceProxy> {
  const { catalog, balancing, dialer } = deps;
  const log = deps.log ?? silentLogger;
  const clock = deps.clock ?? systemClock;
  const metrics = createProxyMetrics(deps.metrics ?? noMetrics);
  const listeners = options.listeners ?? { mode: 'none' };
  const upstreams = new Map<string, ServiceUpstream>();
  const subscribers = new Set<(service: ServiceId) => void>();
  const open = new Map<string, PortMapping>();
  let mappings: readonly PortMapping[] | undefined;

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
  const publish = (spec: ListenerSpec, listener: OpenListener | undefined) => {
    const key = mappingKey(spec.service, spec.port.name, spec.protocol, spec.listen.host);
    if (listener === undefined) open.delete(key);
    else open.set(key, mappingOf(spec, listener));
    mappings = undefined;
    metrics.listeners.set(open.size);
    for (const subscriber of subscribers) subscriber(spec.service);
  };
  const set = createListenerSet<ListenerSpec>({
    open: openerOf(options, { ...deps, log, clock, connections, flows }, upstream),
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
  const keysOf = new Map<ServiceId, readonly string[]>();
  /** Wants the listeners of these Services as they are now. */
  const want = (ids: Iterable<ServiceId>) => {
    const gone: string[] = [];
    const fresh = new Map<string, ListenerSpec>();
    for (const id of ids) {
      const specs = wantedListeners(catalog.current.services.get(id), listeners, include);
      const before = keysOf.get(id) ?? [];
      for (const key of before) if (!specs.has(key)) gone.push(key);
      for (const [key, spec] of specs) if (!before.includes(key)) fresh.set(key, spec);
      if (specs.size > 0) keysOf.set(id, [...specs.keys()]);
      else keysOf.delete(id);
    }
    if (gone.length + fresh.size > 0) set.change(gone, fresh);
  };
  const wantAll = () => want(new Set([...keysOf.keys(), ...catalog.current.services.keys()]));
  const unsubscribe = catalog.subscribe((current, change) => {
    if (change.services.size === 0) return;
    for (const key of upstreams.keys()) {
      const [id, portName, protocol] = key.split(' ') as [ServiceId, string, Protocol];
      if (change.services.has(id) && !hasPort(current.services.get(id), portName, protocol)) upstreams.delete(key);
    }
    want(change.services);
    recheckFlows(change.services);
  });
  wantAll();
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
      mappings ??= [...open.values()];
      return mappings;
    },
    listenPortOf(id, portName, protocol, family) {
      const host = listeners.mode === 'mapped' && hosts(listeners).find((address) => ipVersion(address) === family);
      return host ? open.get(mappingKey(id, portName, protocol, host))?.listenPort : undefined;
    },
    onMappings(listener) {
      subscribers.add(listener);
      return () => void subscribers.delete(listener);
    },
    settled: () => set.settled(),
    reconsider: wantAll,
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

const mappingKey = (id: ServiceId, portName: string, protocol: 'TCP' | 'UDP', host: string) =>
  `${id} ${portName} ${protocol} ${host}`;

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
