import { networkInterfaces } from 'node:os';
import {
  type Clock,
  EMPTY_CATALOG,
  type Logger,
  noMetrics,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { type ClusterRef, createHttpProxy } from '@edgemesh/proxy-http';
import { createConnectionBudget, createServiceProxy, type Upstream } from '@edgemesh/proxy-l4';
import type { CompileOptions } from '../common/context.ts';
import { compileGateway } from '../compile-gateway.ts';
import { gatewayMetrics } from '../metrics.ts';
import type { GatewayPlan, PortPlan } from '../model.ts';
import { type GatewayLimits, gatewayLimits } from '../options.ts';
import { chooseAddresses } from './addresses.ts';
import { createClusterUpstreams } from './cluster-upstreams.ts';
import { type Compiled, compiledFrom, concernsPlan } from './concerns-plan.ts';
import type { Gateway, GatewayDeps, GatewayOptions } from './gateway-options.ts';
import { createListenerTable } from './listener-table.ts';
import { type ListenerSpec, openListener } from './open-listener.ts';
import { type GatewayStatus, readGatewayStatus } from './status.ts';
import { createStatusPublication } from './status-publication.ts';
import { wantedListeners } from './wanted-listeners.ts';

/** Starts the gateway. Resolves when the listeners of the present catalog are open or known to fail. */
export async function createGateway(options: GatewayOptions, deps: GatewayDeps): Promise<Gateway> {
  const gateway = await RunningGateway.start(options, deps);
  await gateway.refresh();
  return gateway;
}

class RunningGateway implements Gateway {
  plan: GatewayPlan;
  private readonly options: GatewayOptions;
  private readonly deps: GatewayDeps;
  private readonly limits: GatewayLimits;
  private readonly clock: Clock;
  private readonly metrics: ReturnType<typeof gatewayMetrics>;
  private readonly log: Logger;
  private readonly proxy;
  private readonly services;
  private readonly upstreams;
  private readonly listeners;
  private readonly unsubscribe: () => void;
  private compiled: Compiled = compiledFrom(EMPTY_CATALOG);
  private ports = new Map<string, PortPlan>();
  private addresses: readonly string[] = [];
  private followed = '';
  private readonly publishStatuses: ReturnType<typeof createStatusPublication> | undefined;
  private compileTimer: Timer | undefined;
  private pollTimer: Timer | undefined;
  private stopped = false;
  private disposing: Promise<void> | undefined;

  static async start(options: GatewayOptions, deps: GatewayDeps): Promise<RunningGateway> {
    const log = deps.log ?? silentLogger;
    const common = { log, ...(deps.metrics && { metrics: deps.metrics }), ...(deps.clock && { clock: deps.clock }) };
    const { view, balancing, dialer } = deps;
    const services = await createServiceProxy(
      { listeners: { mode: 'none' } },
      { catalog: view, balancing, dialer, ...common },
    );
    return new RunningGateway(options, deps, services);
  }

  private constructor(
    options: GatewayOptions,
    deps: GatewayDeps,
    services: Awaited<ReturnType<typeof createServiceProxy>>,
  ) {
    this.options = options;
    this.deps = deps;
    this.services = services;
    this.limits = gatewayLimits(options.limits);
    this.clock = deps.clock ?? systemClock;
    this.log = deps.log ?? silentLogger;
    this.metrics = gatewayMetrics(deps.metrics ?? noMetrics);
    this.publishStatuses = deps.statusWriter && createStatusPublication(deps.statusWriter);
    const { view, balancing, destinationRule } = deps;
    this.upstreams = createClusterUpstreams({
      view,
      balancing,
      destinationRule: destinationRule && ((service) => destinationRule(service, view.current)),
    });
    this.proxy = this.createProxy();
    this.listeners = this.createListeners();
    this.plan = this.compile();
    this.unsubscribe = view.subscribe((_, change) => {
      if (concernsPlan(change, this.compiled, view.current)) this.compileSoon();
    });
    this.pollTimer = this.clock.after(this.limits.addressPollMs, () => this.poll());
  }

  private createProxy() {
    const { dialer, log, metrics, clock, random, accessLog } = this.deps;
    const { http, forwarding } = this.options;
    // References of one plan stay the same objects: four look-ups per request need no text.
    const known = new WeakMap<ClusterRef, Upstream>();
    const upstreamOf = (cluster: ClusterRef): Upstream => {
      let upstream = known.get(cluster);
      if (upstream === undefined) {
        const { service, port, subset } = cluster;
        upstream = this.upstreams.get({ service, port, protocol: 'TCP', ...(subset !== undefined && { subset }) });
        known.set(cluster, upstream);
      }
      return upstream;
    };
    return createHttpProxy({
      routes: () => ({ virtualHosts: [] }),
      upstreams: {
        pickEndpoint: (cluster, flow, exclude) => upstreamOf(cluster).pick(flow, exclude),
        sessionCookie: (cluster) => {
          const service = this.deps.view.current.services.get(cluster.service);
          return service && this.deps.sessionCookie?.(service, cluster.port, cluster.subset);
        },
        report: (cluster, endpoint, outcome) => upstreamOf(cluster).report?.(endpoint, outcome),
        begin: (cluster, endpoint) => upstreamOf(cluster).begin?.(endpoint),
        end: (cluster, endpoint) => upstreamOf(cluster).end?.(endpoint),
      },
      dialer,
      limits: { drainMs: this.limits.drainMs, handshakeTimeoutMs: this.limits.handshakeTimeoutMs, ...http },
      ...(forwarding && { forwarding }),
      ...(accessLog && { accessLog }),
      ...(log && { log }),
      ...(metrics && { metrics }),
      ...(clock && { clock }),
      ...(random && { random }),
    });
  }

  private createListeners() {
    const { limits, clock, log } = this;
    const budget = createConnectionBudget({ maxConnections: limits.maxConnections });
    const flows = createConnectionBudget({ maxConnections: limits.maxConnections });
    return createListenerTable<ListenerSpec>({
      open: (spec) =>
        openListener(spec, {
          port: () => this.ports.get(spec.portId),
          upstreams: this.upstreams,
          services: this.services,
          proxy: this.proxy,
          dialer: this.deps.dialer,
          budget,
          flows,
          gatewayMetrics: this.metrics,
          metrics: this.deps.metrics ?? noMetrics,
          random: this.deps.random ?? Math.random,
          limits,
          clock,
          log,
        }),
      changed: () => this.publish(),
      maxListeners: limits.maxListeners,
      retryMs: limits.listenRetryMs,
      log,
      clock,
    });
  }

  private compileSoon(): void {
    if (this.stopped) return;
    this.compileTimer ??= this.clock.after(this.limits.compileDelayMs, () => {
      this.compileTimer = undefined;
      this.plan = this.compile();
      this.follow();
    });
  }

  private compile(): GatewayPlan {
    const { view, destinationRule, follow } = this.deps;
    const { clusterDomain, labels, controllerName, limits } = this.options;
    const started = this.clock.now();
    const options: CompileOptions = {
      ...(clusterDomain !== undefined && { clusterDomain }),
      ...(labels && { labels }),
      ...(controllerName !== undefined && { controllerName }),
      ...(destinationRule && { destinationRule }),
      ...(limits && { limits }),
    };
    this.compiled = compiledFrom(view.current);
    const plan = compileGateway(view.current, options);
    this.metrics.compiles.add();
    this.metrics.compileSeconds.observe((this.clock.now() - started) / 1000);
    this.metrics.conditions.set(plan.conditions.length + plan.droppedConditions);
    this.tellConditions(plan);
    this.ports = new Map(plan.ports.map((port) => [port.id, port]));
    this.upstreams.prune();
    const follows = JSON.stringify(plan.follows);
    if (follows !== this.followed) follow?.(plan.follows);
    this.followed = follows;
    return plan;
  }

  private told = new Set<string>();

  /** Each condition once, when it is new. */
  private tellConditions({ conditions }: GatewayPlan): void {
    const now = new Set(conditions.map(({ object, path, message }) => `${object} ${path}: ${message}`));
    for (const text of now)
      if (!this.told.has(text)) this.log.warn('an object asks for what it does not get', { condition: text });
    this.told = now;
  }

  private poll(): void {
    this.pollTimer = this.stopped ? undefined : this.clock.after(this.limits.addressPollMs, () => this.poll());
    this.follow();
  }

  /** Opens and closes listeners so that they are those of the plan on the addresses of now. */
  private follow(): void {
    if (this.stopped) return;
    this.addresses = chooseAddresses((this.deps.interfaces ?? networkInterfaces)(), this.options);
    this.listeners.want(wantedListeners(this.plan, this.addresses));
    this.publish();
  }

  async refresh(): Promise<void> {
    this.follow();
    await this.listeners.settled();
  }

  private publish(): void {
    const states = this.listeners.states();
    const open = states.filter(({ listener }) => listener !== undefined).length;
    this.metrics.listeners.with('open').set(open);
    this.metrics.listeners.with('failed').set(states.length - open);
    this.publishStatuses?.(this.plan.statuses, states);
  }

  status(): GatewayStatus {
    return readGatewayStatus({
      plan: this.plan,
      addresses: this.addresses,
      states: this.listeners.states(),
      overflow: this.listeners.overflow,
      connections: this.proxy.connections,
      requests: this.proxy.activeRequests,
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposing ??= this.stop();
    return this.disposing;
  }

  private async stop(): Promise<void> {
    this.stopped = true;
    this.unsubscribe();
    this.compileTimer?.cancel();
    this.pollTimer?.cancel();
    await this.listeners[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.services[Symbol.asyncDispose]();
  }
}
