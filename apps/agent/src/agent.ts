import { type AgentConfig, diffConfig, splitHostPort } from '@edgemesh/config';
import { type Endpoint, type Logger, systemClock } from '@edgemesh/core';
import type { Discovery } from '@edgemesh/discovery';
import type { DnsServer } from '@edgemesh/dns';
import { createLocalDialer } from '@edgemesh/proxy-l4';
import {
  createAdminServer,
  createHealth,
  type Health,
  type MetricsRegistry,
  observeProcess,
  type StartModule,
  type SupervisedModule,
  superviseModule,
} from '@edgemesh/telemetry';
import type { Tunnel } from '@edgemesh/tunnel';
import type { AgentContext } from './context.ts';
import { createMeshDialer } from './dialer.ts';
import { createInboundPolicy } from './inbound-policy.ts';
import { startDiscovery } from './modules/discovery.ts';
import { onClusterDnsMoved, startDns } from './modules/dns.ts';
import { isKernelMode, startKernel } from './modules/kernel.ts';
import { type ProxyModule, startProxy } from './modules/proxy.ts';
import { relaysFor, startTunnel } from './modules/tunnel.ts';
import { type AgentStatus, readStatus } from './status.ts';

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
  readonly #startedAt = systemClock.now();
  readonly #process: Disposable;
  #config: AgentConfig;
  #discovery: Discovery | undefined;
  #dns: DnsServer | undefined;
  #proxy: ProxyModule | undefined;
  #tunnel: Tunnel | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#health = createHealth({ metrics: options.metrics });
    this.#process = observeProcess(options.metrics);
  }

  async start(): Promise<void> {
    const { env, log, metrics } = this.#options;
    const { modules, commonConfig } = this.#config;
    this.#discovery = await startDiscovery({ config: this.#config, env, log, metrics });
    if (commonConfig.adminListen !== '') await this.#supervise('admin', () => this.#startAdmin(), false);
    const wantsKernel = modules.edgeDNS.enable || modules.edgeProxy.enable;
    const kernelMode = wantsKernel && (await isKernelMode(this.#config));
    let kernel: Awaited<ReturnType<typeof startKernel>> | undefined;
    if (kernelMode) {
      await this.#supervise('kernel', async () => {
        kernel = await startKernel(this.#context());
        return kernel;
      });
    }
    if (modules.edgeDNS.enable) await this.#supervise('dns', (run) => this.#startDns(run, kernelMode));
    if (modules.edgeProxy.enable) {
      await this.#supervise('proxy', async () => {
        if (kernelMode && kernel === undefined) throw new Error('the kernel side is not ready');
        const dialer = createMeshDialer({
          nodeName: this.#options.nodeName,
          local: createLocalDialer(),
          tunnel: () => this.#tunnel,
          isRoutable: (target) => this.#isRoutable(target),
        });
        const isRoutable = (endpoint: Endpoint) => this.#isRoutable(endpoint);
        this.#proxy = await startProxy(this.#context(), { dialer, kernel, isRoutable });
        return this.#proxy;
      });
    }
    if (modules.edgeTunnel.enable) await this.#supervise('tunnel', () => this.#startTunnel());
  }

  #context(): AgentContext {
    const { nodeName, log, metrics } = this.#options;
    return { config: this.#config, nodeName, view: this.#requireDiscovery(), log, metrics };
  }

  #requireDiscovery(): Discovery {
    if (this.#discovery === undefined) throw new TypeError('the catalog is not there yet');
    return this.#discovery;
  }

  #supervise(name: string, start: StartModule, critical = true): Promise<void> {
    const module = superviseModule(name, start, { health: this.#health, log: this.#options.log, critical });
    this.#modules.set(name, module);
    return module.firstAttempt;
  }

  #startAdmin() {
    const { log, metrics } = this.#options;
    const listen = splitHostPort(this.#config.commonConfig.adminListen);
    if (listen === undefined) throw new TypeError('adminListen is checked by the schema');
    return createAdminServer({ listen, health: this.#health, metrics, status: () => this.status(), log });
  }

  async #startDns(run: Parameters<StartModule>[0], kernelMode: boolean) {
    const { listenAddress } = this.#config.modules.edgeDNS;
    const fallback = kernelMode ? this.#config.commonConfig.bridgeDeviceIP : '127.0.0.1';
    const dns = await startDns(this.#context(), listenAddress.length > 0 ? listenAddress : [fallback]);
    this.#dns = dns;
    run.signal.addEventListener(
      'abort',
      onClusterDnsMoved(this.#context(), () => this.#modules.get('dns')?.restart('the cluster DNS moved')),
    );
    return dns;
  }

  async #startTunnel() {
    const stack = new AsyncDisposableStack();
    const inbound = stack.use(
      createInboundPolicy({
        view: this.#requireDiscovery(),
        nodeName: this.#options.nodeName,
        local: createLocalDialer(),
        metrics: this.#options.metrics,
      }),
    );
    this.#tunnel = stack.use(await startTunnel(this.#context(), inbound));
    stack.defer(() => {
      this.#tunnel = undefined;
    });
    return stack;
  }

  /** Without a tunnel the kernel is all there is; with it, whatever is on another node goes through it. */
  #isRoutable({ nodeName }: { readonly nodeName?: string }): boolean {
    if (!this.#config.modules.edgeTunnel.enable) return true;
    return nodeName === undefined || nodeName === this.#options.nodeName;
  }

  status(): AgentStatus {
    return readStatus({
      nodeName: this.#options.nodeName,
      startedAt: this.#startedAt,
      now: systemClock.now(),
      modules: this.#health.modules,
      discovery: this.#requireDiscovery(),
      tunnel: this.#tunnel,
      flows: this.#proxy?.flows() ?? { tcp: 0, udp: 0 },
      details: {
        dns: this.#dns?.status(),
        proxy: this.#proxy?.details(),
        relay: this.#tunnel?.relayStatus(),
        nat: this.#tunnel?.natKind(),
      },
    });
  }

  reload(config: AgentConfig): void {
    const changes = diffConfig(this.#config, config);
    if (changes.length === 0) return;
    const { log, nodeName } = this.#options;
    this.#config = config;
    const restart = new Set<string>();
    const later: string[] = [];
    for (const { path, apply, module } of changes) {
      if (path === 'modules.edgeTunnel.relayNodes')
        this.#tunnel?.control.setRelays(relaysFor(config.modules.edgeTunnel, nodeName));
      else if (apply === 'process' || path.endsWith('.enable')) later.push(path);
      else restart.add(module ?? '');
    }
    log.info('configuration changed', { changes: changes.map(({ path }) => path), needsRestartOfAgent: later });
    const names: Record<string, string> = { edgeDNS: 'dns', edgeProxy: 'proxy', edgeTunnel: 'tunnel' };
    for (const module of restart) this.#modules.get(names[module] ?? '')?.restart('the configuration changed');
  }

  /** Rules go first, then connections may end, then the tunnel that carries them; what watches goes last. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of ['proxy', 'tunnel', 'dns', 'kernel', 'admin'])
      await this.#modules.get(name)?.[Symbol.asyncDispose]();
    await this.#discovery?.[Symbol.asyncDispose]();
    this.#process[Symbol.dispose]();
  }
}
