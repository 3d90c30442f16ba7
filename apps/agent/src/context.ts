import type { NetworkPolicies, PodNetwork } from '@edgemesh/cni';
import type { AgentConfig } from '@edgemesh/config';
import type { CatalogView, Dialer, Logger, Metrics, ServiceId } from '@edgemesh/core';
import type { FollowRef, KubeConnection } from '@edgemesh/discovery/kubernetes';
import type { DnsServer } from '@edgemesh/dns';
import type { KernelRules } from '@edgemesh/linux';
import type { HealthChecker, ServiceProxy } from '@edgemesh/proxy-l4';
import type { Health, MetricsRegistry, ModuleContext, StartModule } from '@edgemesh/telemetry';
import type { Tunnel } from '@edgemesh/tunnel';
import type { MeshBalancing } from './modules/balancing.ts';
import type { ConnectionPolicy } from './pods/connection-policy.ts';
import type { Reachability } from './reachability.ts';
import type { AgentStatus } from './status.ts';
import type { VirtualServices } from './virtual/virtual-services.ts';

/** What every module of the agent is started with. */
export interface AgentContext {
  readonly config: AgentConfig;
  readonly nodeName: string;
  /** What the cluster says, with endpoints that fail our own checks marked not ready. */
  readonly view: CatalogView;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The running Service proxy. */
export interface ProxyPart extends AsyncDisposable {
  readonly services: ServiceProxy;
  readonly balancing: MeshBalancing;
  /** Connections and flows that the agent carries itself. */
  flows(): { readonly tcp: number; readonly udp: number };
  details(): Readonly<Record<string, unknown>>;
}

/** What modules make for each other; a part is undefined while its module is not running. */
export interface AgentParts {
  kernel?: KernelRules | undefined;
  dns?: DnsServer | undefined;
  proxy?: ProxyPart | undefined;
  tunnel?: Tunnel | undefined;
  checker?: HealthChecker | undefined;
  podNetwork?: PodNetwork | undefined;
  networkPolicies?: NetworkPolicies | undefined;
}

/** The cluster that the catalog comes from, for modules that want more of it. */
export interface ClusterAccess {
  /** Names what sources of clusters must bring beside what they read anyway. */
  readonly follow: (refs: readonly FollowRef[]) => void;
  /** Where statuses can be written: an API server, never a metaServer. */
  readonly apiServer?: KubeConnection;
  /** The agent's own namespace. */
  readonly namespace: string;
}

/** Where modules live: the configuration as it is now, and their neighbours. */
export interface AgentRoom {
  context(): AgentContext;
  /** NetworkPolicy for what the agent connects on behalf of others. */
  readonly connectionPolicy: ConnectionPolicy;
  /** Traffic is captured by kernel rules; without, there are listeners on loopback addresses only. */
  readonly kernelMode: boolean;
  readonly parts: AgentParts;
  /** Which endpoints of other nodes the kernel reaches without the tunnel. */
  readonly reachability: Reachability;
  /** The catalog as the cluster has it; everybody but the checks themselves reads the view of the context. */
  readonly clusterCatalog: CatalogView;
  /** Marks endpoints of a Service not ready, by `endpointKey`; an empty set gives them back. */
  readonly leaveOut: (service: ServiceId, keys: ReadonlySet<string>) => void;
  /** The catalog with a ClusterIP of this node for each endpoint of headless Services that needs one. */
  readonly services: VirtualServices;
  /** Dials endpoints by the kernel or through the tunnel. */
  readonly dialer: Dialer;
  readonly cluster: ClusterAccess;
  readonly telemetry: { readonly health: Health; readonly metrics: MetricsRegistry };
  status(): AgentStatus;
  restart(module: string, reason: string): void;
  /** Adds a part to the status document; called anew for each run of a module. */
  describe(name: string, read: () => unknown): void;
}

/** `edgeProxy`, or a part of it such as `edgeProxy.socks5Proxy`. */
export type ModulePath = keyof AgentConfig['modules'] | `${keyof AgentConfig['modules']}.${string}`;

/** One module of the agent. It starts, fails and is retried on its own; none can stop the others. */
export interface AgentModule {
  /** As in status and logs. */
  readonly name: string;
  /** Path under `modules` whose changes start it anew; of several modules, the one with the longest path takes a change. */
  readonly section?: ModulePath;
  /** False: readiness does not wait for it. Default true. */
  readonly critical?: boolean;
  isWanted(config: AgentConfig, kernelMode: boolean): boolean;
  start(room: AgentRoom, run: ModuleContext): ReturnType<StartModule>;
}
