import { type AgentConfig, diffConfig } from '@edgemesh/config';
import { type Dialer, type Logger, systemClock } from '@edgemesh/core';
import type { Discovery } from '@edgemesh/discovery';
import { createShellRunner } from '@edgemesh/linux';
import { type CheckedCatalog, createCheckedCatalog, createLocalDialer } from '@edgemesh/proxy-l4';
import {
  createHealth,
  type Health,
  type MetricsRegistry,
  observeProcess,
  type SupervisedModule,
  superviseModule,
} from '@edgemesh/telemetry';
import type { AgentContext, AgentModule, AgentParts, AgentRoom } from './context.ts';
import { createMeshDialer } from './dialer.ts';
import { giveBackMemory } from './give-back-memory.ts';
import { startDiscovery } from './modules/discovery.ts';
import { isKernelMode } from './modules/kernel.ts';
import { MODULES, STOP_ORDER } from './modules/list.ts';
import { relaysFor } from './modules/tunnel.ts';
import { createConnectionPolicy, guardDialer } from './pods/connection-policy.ts';
import { createReachability, type Reachability } from './reachability.ts';
import { planRelays, planReload } from './reload.ts';
import { type AgentStatus, readStatus } from './status.ts';
import { startVirtualServices } from './virtual/start-virtual.ts';
import type { VirtualServices } from './virtual/virtual-services.ts';

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly metrics: MetricsRegistry;
}

/** A running agent. Every module starts, fails and is retried on its own; none can stop the others. */
export interface Agent extends AsyncDisposable {
  status(): AgentStatus;
  /** Applies what can change while running, restarts the modules that need it, and says what needs a restart. */
  reload(config: AgentConfig): void;
}

/** Starts the modules in order: snapshot, DNS, proxies, tunnel. Resolves when each has been tried once. */
export async function createAgent(options: AgentOptions): Promise<Agent> {
  const agent = new MeshAgent(options);
  try {
    await agent.start();
    return agent;
  } catch (error) {
    await agent[Symbol.asyncDispose]();
    throw error;
  }
}

class MeshAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #health: Health;
  readonly #modules = new Map<string, SupervisedModule>();
  readonly #details = new Map<string, () => unknown>();
  readonly #parts: AgentParts = {};
  readonly #base = new AsyncDisposableStack();
  readonly #startedAt = systemClock.now();
  #config: AgentConfig;
  #discovery: Discovery | undefined;
  #catalog: CheckedCatalog | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#health = createHealth({ metrics: options.metrics });
    this.#base.use(observeProcess(options.metrics));
  }

  async start(): Promise<void> {
    const { env, log, metrics } = this.#options;
    const { discovery, cluster } = await startDiscovery({ config: this.#config, env, log, metrics });
    this.#discovery = this.#base.use(discovery);
    this.#catalog = this.#base.use(createCheckedCatalog(discovery));
    this.#base.use(giveBackMemory({ view: discovery, log }));
    const kernelMode = await isKernelMode(this.#config);
    const reachability = this.#base.use(await this.#createReachability(kernelMode));
    const services = this.#base.use(await startVirtualServices(this.#context(), kernelMode, reachability));
    const room = { ...this.#room(kernelMode, reachability, services), cluster };
    for (const module of MODULES) {
      if (module.isWanted(this.#config, kernelMode)) await this.#supervise(module, room);
    }
  }

  async #createReachability(kernelMode: boolean): Promise<Reachability> {
    const { edgeProxy, edgeTunnel } = this.#config.modules;
    const readsRoutes = kernelMode && edgeProxy.directRouting === 'auto';
    const runner = readsRoutes ? this.#base.use(await createShellRunner()) : undefined;
    return createReachability({
      ...this.#context(),
      hasTunnel: edgeTunnel.enable,
      ...(runner && { runner }),
    });
  }

  #room(kernelMode: boolean, reachability: Reachability, services: VirtualServices): Omit<AgentRoom, 'cluster'> {
    const connectionPolicy = createConnectionPolicy({
      view: () => this.#requireCatalog(),
      nodeName: this.#options.nodeName,
      policies: () => this.#parts.networkPolicies,
    });
    return {
      context: () => this.#context(),
      kernelMode,
      parts: this.#parts,
      reachability,
      clusterCatalog: this.#requireDiscovery(),
      leaveOut: (service, keys) => this.#requireCatalog().leaveOut(service, keys),
      services,
      connectionPolicy,
      dialer: guardDialer(this.#createDialer(reachability), connectionPolicy),
      telemetry: { health: this.#health, metrics: this.#options.metrics },
      status: () => this.status(),
      restart: (module, reason) => this.#modules.get(module)?.restart(reason),
      describe: (name, read) => this.#details.set(name, read),
    };
  }

  #createDialer(reachability: Reachability): Dialer {
    return createMeshDialer({
      nodeName: this.#options.nodeName,
      local: createLocalDialer(),
      tunnel: () => this.#parts.tunnel,
      isRoutable: (target) => reachability.isRoutable(target),
    });
  }

  #context(): AgentContext {
    const { nodeName, log, metrics } = this.#options;
    return { config: this.#config, nodeName, view: this.#requireCatalog(), log, metrics };
  }

  #requireCatalog(): CheckedCatalog {
    if (this.#catalog === undefined) throw new TypeError('the catalog is not there yet');
    return this.#catalog;
  }

  #requireDiscovery(): Discovery {
    if (this.#discovery === undefined) throw new TypeError('the catalog is not there yet');
    return this.#discovery;
  }

  #supervise(module: AgentModule, room: AgentRoom): Promise<void> {
    const { name, critical = true } = module;
    const supervised = superviseModule(name, (run) => module.start(room, run), {
      health: this.#health,
      log: this.#options.log,
      critical,
    });
    this.#modules.set(name, supervised);
    return supervised.firstAttempt;
  }

  status(): AgentStatus {
    return readStatus({
      nodeName: this.#options.nodeName,
      startedAt: this.#startedAt,
      now: systemClock.now(),
      modules: this.#health.modules,
      discovery: this.#requireDiscovery(),
      tunnel: this.#parts.tunnel,
      flows: this.#parts.proxy?.flows() ?? { tcp: 0, udp: 0 },
      details: Object.fromEntries([...this.#details].map(([name, read]) => [name, read()])),
    });
  }

  reload(config: AgentConfig): void {
    const changes = diffConfig(this.#config, config);
    if (changes.length === 0) return;
    const { log, nodeName } = this.#options;
    const { restart, later } = planReload(changes, MODULES);
    const relays = planRelays(this.#config, config, nodeName);
    this.#config = config;
    log.info('configuration changed', { changes: changes.map(({ path }) => path), needsRestartOfAgent: later });
    if (relays === 'others') this.#parts.tunnel?.control.setRelays(relaysFor(config.modules.edgeTunnel, nodeName));
    for (const module of relays === 'own' ? new Set([...restart, 'tunnel']) : restart)
      this.#modules.get(module)?.restart('the configuration changed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of STOP_ORDER) await this.#modules.get(name)?.[Symbol.asyncDispose]();
    await this.#base.disposeAsync();
  }
}
