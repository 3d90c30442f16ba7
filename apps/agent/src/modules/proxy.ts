import { isIPv6 } from 'node:net';
import type { AgentConfig } from '@edgemesh/config';
import { type Dialer, detach, type Endpoint, formatCidr, parseCidr, type Service, serviceId } from '@edgemesh/core';
import { isProxiedService } from '@edgemesh/discovery';
import type { KernelRules } from '@edgemesh/linux';
import { createRulePlanner, createServiceProxy, type RuleExclusion, type ServiceProxy } from '@edgemesh/proxy-l4';
import type { AgentContext } from '../context.ts';
import { createBalancing, type MeshBalancing } from './balancing.ts';

/** Services that no agent may capture: without them neither the node nor the mesh could be repaired. */
const NEVER_CAPTURED: ReadonlySet<string> = new Set([
  serviceId('default', 'kubernetes'),
  serviceId('kubeedge', 'cloudcore'),
]);

export interface ProxyModule extends AsyncDisposable {
  readonly services: ServiceProxy;
  readonly balancing: MeshBalancing;
  /** Connections and flows that the agent carries itself. */
  flows(): { readonly tcp: number; readonly udp: number };
  details(): Readonly<Record<string, unknown>>;
}

export interface ProxyDeps {
  readonly dialer: Dialer;
  /** Undefined without kernel rules: listeners on the ClusterIPs themselves, where these are loopback addresses. */
  readonly kernel: KernelRules | undefined;
  /** True when the local kernel reaches the endpoint without the tunnel. */
  readonly isRoutable: (endpoint: Endpoint) => boolean;
}

/** Starts the Service proxy and, with a kernel side, keeps the rules in line with catalog and listeners. */
export async function startProxy(context: AgentContext, deps: ProxyDeps): Promise<ProxyModule> {
  const { config, view, nodeName, log, metrics } = context;
  const { kernel, isRoutable } = deps;
  const mode = config.modules.edgeProxy.serviceFilterMode;
  const include = (service: Service) => isProxiedService(service, mode) && !NEVER_CAPTURED.has(service.id);
  const balancing = createBalancing({
    view,
    nodeName,
    clusterDomain: config.commonConfig.clusterDomain,
    ...(kernel && { servedByKernel: isRoutable }),
  });
  const listeners = kernel
    ? ({ mode: 'mapped', address: config.commonConfig.bridgeDeviceIP } as const)
    : ({ mode: 'loopback' } as const);
  const services = await createServiceProxy(
    { listeners, include },
    { catalog: view, balancing, dialer: deps.dialer, log, metrics },
  );
  const rules = kernel && followRules(context, { services, balancing, kernel, include, isRoutable });
  await rules?.applied;
  return {
    services,
    balancing,
    flows: () => services.active,
    details: () => ({
      mode: kernel ? 'kernel' : 'loopback',
      listeners: services.mappings.length,
      problems: services.problems,
      conditions: balancing.conditions(),
      ...(kernel && { kernel: kernel.status }),
    }),
    async [Symbol.asyncDispose]() {
      await rules?.stop();
      await services[Symbol.asyncDispose]();
    },
  };
}

interface RulesDeps {
  readonly services: ServiceProxy;
  readonly balancing: MeshBalancing;
  readonly kernel: KernelRules;
  readonly include: (service: Service) => boolean;
  readonly isRoutable: (endpoint: Endpoint) => boolean;
}

/** Applies a plan after every change of the catalog or the listeners; several changes of one turn become one plan. */
function followRules(
  context: AgentContext,
  deps: RulesDeps,
): { readonly applied: Promise<void>; stop(): Promise<void> } {
  const { view, config, log } = context;
  const { kernel, services } = deps;
  const makePlanner = () => createRulePlanner(planContext(context, deps));
  let planner = makePlanner();
  let scheduled = false;
  let stopped = false;
  let routed = '';
  const apply = async () => {
    const ranges = serviceRanges(view.current.services.values());
    if (ranges.join() !== routed) {
      await kernel.setFallbackRoutes(ranges);
      routed = ranges.join();
    }
    // A failure is in the kernel's own status, and it tries again by itself.
    await kernel.apply(planner.plan(view.current)).catch(() => undefined);
  };
  const schedule = () => {
    if (scheduled || stopped) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (!stopped) detach('apply kernel rules', log, apply());
    });
  };
  const renew = () => {
    planner = makePlanner();
    schedule();
  };
  const unsubscribe = [
    services.onMappings(renew),
    view.subscribe((_, change) => (change.objects.size > 0 || change.nodes.size > 0 ? renew() : schedule())),
  ];
  return {
    applied: apply(),
    async stop() {
      stopped = true;
      for (const end of unsubscribe) end();
      await kernel.apply({ rules: [], exclusions: exclusionsOf(config), internalSources: [] }).catch(() => undefined);
    },
  };
}

/** The /16 and /112 ranges in which ClusterIPs are: few, and close to what clusters are given. */
export function serviceRanges(services: Iterable<Pick<Service, 'clusterIPs'>>): string[] {
  const ranges = new Set<string>();
  for (const { clusterIPs } of services) {
    for (const ip of clusterIPs) {
      const range = parseCidr(`${ip}/${ip.includes(':') ? 112 : 16}`);
      if (range !== undefined) ranges.add(formatCidr(range));
    }
  }
  return [...ranges].sort();
}

function planContext({ config, nodeName }: AgentContext, { services, balancing, include, isRoutable }: RulesDeps) {
  const ports = new Map(services.mappings.map((m) => [`${m.serviceId} ${m.portName} ${m.protocol}`, m.listenPort]));
  return {
    nodeName,
    bridgeIP: config.commonConfig.bridgeDeviceIP,
    listenPortOf: (id: string, portName: string, protocol: string) => ports.get(`${id} ${portName} ${protocol}`),
    isRoutable,
    eligible: balancing.eligibleAll,
    filter: include,
    pickOf: balancing.kernelPick,
    exclusions: exclusionsOf(config),
  };
}

/** What is never captured, whatever a Service may claim: our own ports, the API server and the metaServer. */
export function exclusionsOf(config: AgentConfig): RuleExclusion[] {
  const { kubeAPIConfig, commonConfig, modules } = config;
  const exclusions: RuleExclusion[] = [
    { kind: 'address', address: commonConfig.bridgeDeviceIP, protocol: 'UDP', port: modules.edgeDNS.listenPort },
    { kind: 'address', address: commonConfig.bridgeDeviceIP, protocol: 'TCP', port: modules.edgeDNS.listenPort },
    { kind: 'localPort', protocol: 'TCP', port: modules.edgeTunnel.listenPort },
  ];
  const servers = [kubeAPIConfig.master, kubeAPIConfig.metaServer.server];
  for (const server of servers) {
    if (!URL.canParse(server)) continue;
    const { hostname, port, protocol } = new URL(server);
    const host = hostname.replace(/^\[|\]$/g, '');
    if (!/^[\d.]+$/.test(host) && !isIPv6(host)) continue;
    exclusions.push({
      kind: 'address',
      address: host,
      protocol: 'TCP',
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
    });
  }
  return exclusions;
}
