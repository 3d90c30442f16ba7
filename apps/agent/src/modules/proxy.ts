import { isIPv6 } from 'node:net';
import type { AgentConfig } from '@edgemesh/config';
import {
  type Catalog,
  type Dialer,
  detach,
  type Endpoint,
  formatCidr,
  ipVersion,
  parseCidr,
  type RuleExclusion,
  type Service,
  serviceId,
} from '@edgemesh/core';
import { isProxiedService } from '@edgemesh/discovery';
import { saysHttp } from '@edgemesh/gateway';
import { DESTINATION_RULE_KIND } from '@edgemesh/lb';
import type { KernelRules } from '@edgemesh/linux';
import { createRulePlanner, createServiceProxy, type ServiceProxy } from '@edgemesh/proxy-l4';
import type { AgentContext, AgentModule, ProxyPart } from '../context.ts';
import type { Reachability } from '../reachability.ts';
import { createBalancing, type MeshBalancing } from './balancing.ts';
import { hasIpv6 } from './kernel.ts';
import { createRequestProxy } from './requests.ts';

/** Services that no agent may capture: without them neither the node nor the mesh could be repaired. */
const NEVER_CAPTURED: ReadonlySet<string> = new Set([
  serviceId('default', 'kubernetes'),
  serviceId('kubeedge', 'cloudcore'),
]);

/** Which Services are ours to serve. */
export function isOurs(config: AgentConfig): (service: Service) => boolean {
  const mode = config.modules.edgeProxy.serviceFilterMode;
  return (service) => isProxiedService(service, mode) && !NEVER_CAPTURED.has(service.id);
}

/** The Service proxy and, with a kernel side, the rules that follow catalog and listeners. */
export const proxyModule: AgentModule = {
  name: 'proxy',
  section: 'edgeProxy',
  isWanted: ({ modules }) => modules.edgeProxy.enable,
  async start(room, run) {
    if (room.kernelMode && room.parts.kernel === undefined) throw new Error('the kernel side is not ready');
    const { config, nodeName, log } = room.context();
    const { kernel } = room.parts;
    const isRoutable = (endpoint: Endpoint) => room.reachability.isRoutable(endpoint);
    const balancing = createBalancing({
      view: room.services,
      nodeName,
      clusterDomain: config.commonConfig.clusterDomain,
      locality: config.modules.edgeProxy.locality,
      pathTo: (node) => room.parts.tunnel?.pathTo(node),
      pathsVersion: () => room.reachability.pathsVersion,
      readsRequests: (_, port) => saysHttp(port),
      log,
      ...(kernel && { servedByKernel: isRoutable }),
    });
    const proxy = await startProxy({ ...room.context(), view: room.services }, { ...room, kernel, balancing });
    room.parts.proxy = proxy;
    run.signal.addEventListener('abort', () => {
      if (room.parts.proxy === proxy) room.parts.proxy = undefined;
    });
    room.describe('proxy', () => ({
      ...proxy.details(),
      routable: room.reachability.status,
      virtualAddresses: room.services.status,
    }));
    return proxy;
  },
};

interface ProxyDeps {
  readonly dialer: Dialer;
  readonly balancing: MeshBalancing;
  /** Undefined without kernel rules: listeners on the ClusterIPs themselves, where these are loopback addresses. */
  readonly kernel: KernelRules | undefined;
  readonly reachability: Reachability;
}

async function startProxy(context: AgentContext, deps: ProxyDeps): Promise<ProxyPart> {
  const { config, view, log, metrics } = context;
  const { kernel, balancing } = deps;
  const include = isOurs(config);
  const { bridgeDeviceIP: address, bridgeDeviceIPv6 } = config.commonConfig;
  const otherAddress = bridgeDeviceIPv6 !== '' && (await hasIpv6()) ? bridgeDeviceIPv6 : undefined;
  const listeners = kernel
    ? ({ mode: 'mapped', address, ...(otherAddress !== undefined && { otherAddress }) } as const)
    : ({ mode: 'loopback' } as const);
  const requests = createRequestProxy({
    ...context,
    balancing,
    dialer: deps.dialer,
    upstream: (...key) => services.upstream(...key),
  });
  const services = await createServiceProxy(
    {
      listeners,
      include: kernel ? needsListener(context, deps, include) : include,
      udpIdleMs: config.modules.edgeProxy.udpIdleTimeout * 1000,
      ownAddress: () => view.current.nodes.get(context.nodeName)?.internalIPs[0],
    },
    { catalog: view, balancing, dialer: deps.dialer, takeOver: requests.takeOver, log, metrics },
  );
  const rules = kernel && followRules(context, { ...deps, services, kernel, include });
  await rules?.applied;
  return {
    services,
    balancing,
    flows: () => services.active,
    details: () => ({
      mode: kernel ? 'kernel' : 'loopback',
      listeners: services.mappings.length,
      requests: requests.status,
      problems: services.problems,
      conditions: balancing.conditions(),
      ...(kernel && { kernel: kernel.status }),
    }),
    async [Symbol.asyncDispose]() {
      await rules?.stop();
      await services[Symbol.asyncDispose]();
      await requests[Symbol.asyncDispose]();
    },
  };
}

/** Services that the kernel cannot serve alone. A node with 10,000 Services does not need 10,000 sockets for it. */
function needsListener(
  { view }: AgentContext,
  { balancing, reachability }: ProxyDeps,
  include: (service: Service) => boolean,
): (service: Service) => boolean {
  const isFar = (endpoint: Endpoint) => !reachability.isRoutable(endpoint);
  return (service) => {
    if (!include(service)) return false;
    if (service.ports.some((port) => balancing.kernelPick(service, port) === 'listener')) return true;
    return view.current.endpoints.get(service.id)?.some(isFar) ?? false;
  };
}

interface RulesDeps {
  readonly services: ServiceProxy;
  readonly balancing: MeshBalancing;
  readonly kernel: KernelRules;
  readonly include: (service: Service) => boolean;
  readonly reachability: Reachability;
}

/** Applies a plan after every change of the catalog or the listeners; several changes of one turn become one plan. */
function followRules(
  context: AgentContext,
  deps: RulesDeps,
): { readonly applied: Promise<void>; stop(): Promise<void> } {
  const { view, log } = context;
  const { kernel, services } = deps;
  const planner = createRulePlanner(planContext(context, deps));
  let scheduled = false;
  let stopped = false;
  let routed = '';
  let ranged: Catalog['services'] | undefined;
  const apply = async () => {
    // A Service whose endpoints have all moved behind the tunnel would have no rule until its listener is there.
    await services.settled();
    const { services: known } = view.current;
    if (known !== ranged) {
      const ranges = serviceRanges(known.values(), await hasIpv6());
      if (ranges.join() !== routed) await kernel.setFallbackRoutes(ranges);
      routed = ranges.join();
      ranged = known;
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
    services.reconsider();
    planner.forget();
    schedule();
  };
  const unsubscribe = [
    services.onMappings((service) => {
      planner.forget(service);
      schedule();
    }),
    deps.reachability.onChange(renew),
    view.subscribe((_, change) => {
      // Pods and Secrets change all the time; of what is not normalised, only these rules decide about endpoints.
      if (change.objects.has(DESTINATION_RULE_KIND) || change.nodes.size > 0) renew();
      else if (change.services.size > 0) schedule();
    }),
  ];
  return {
    applied: apply(),
    async stop() {
      stopped = true;
      for (const end of unsubscribe) end();
      // What needs no listener goes on, until another run of this module or the end of the kernel side.
      const alone = { ...planContext(context, deps), listenPortOf: () => undefined };
      await kernel.apply(createRulePlanner(alone).plan(view.current)).catch(() => undefined);
    },
  };
}

/**
 * The /16 and /112 ranges in which ClusterIPs are: few, and close to what clusters are given. Where IPv6 is off the kernel refuses
 * routes of it, although a cluster of two families has Services with such addresses.
 */
export function serviceRanges(services: Iterable<Pick<Service, 'clusterIPs'>>, ipv6: boolean): string[] {
  const ranges = new Set<string>();
  for (const { clusterIPs } of services) {
    for (const ip of clusterIPs) {
      const range = rangeOf(ip);
      if (range !== undefined) ranges.add(range);
    }
  }
  return [...ranges].filter((range) => ipv6 || !range.includes(':')).sort();
}

/** ClusterIPs are canonical, so the first half of an IPv4 address can be read off: there are thousands of them. */
function rangeOf(ip: string): string | undefined {
  if (ipVersion(ip) === 4) return `${ip.slice(0, ip.indexOf('.', ip.indexOf('.') + 1))}.0.0/16`;
  const range = parseCidr(`${ip}/112`);
  return range && formatCidr(range);
}

function planContext({ config, nodeName }: AgentContext, { services, balancing, include, reachability }: RulesDeps) {
  const { bridgeDeviceIP, bridgeDeviceIPv6 } = config.commonConfig;
  return {
    nodeName,
    bridgeIP: bridgeDeviceIP,
    ...(bridgeDeviceIPv6 !== '' && { bridgeIPv6: bridgeDeviceIPv6 }),
    listenPortOf: services.listenPortOf,
    isRoutable: (endpoint: Endpoint) => reachability.isRoutable(endpoint),
    onlyWhereNeeded: config.modules.edgeProxy.onlyWhereNeeded,
    eligible: balancing.eligibleAll,
    filter: include,
    pickOf: balancing.kernelPick,
    exclusions: exclusionsOf(config),
  };
}

/** What is never captured, whatever a Service may claim: our own ports, the API server and the metaServer. */
export function exclusionsOf(config: AgentConfig): RuleExclusion[] {
  const { kubeAPIConfig, commonConfig, modules } = config;
  const { edgeDNS, edgeTunnel } = modules;
  // Whoever lets DNS listen on the address of a Service (kube-dns) wants it answered here.
  const names = new Set([commonConfig.bridgeDeviceIP, ...edgeDNS.listenAddress]);
  const exclusions: RuleExclusion[] = [
    ...[...names].flatMap((address) =>
      (['UDP', 'TCP'] as const).map(
        (protocol): RuleExclusion => ({ kind: 'address', address, protocol, port: edgeDNS.listenPort }),
      ),
    ),
    { kind: 'localPort', protocol: 'TCP', port: edgeTunnel.listenPort },
    ...(edgeTunnel.metricConfig.enable
      ? [{ kind: 'localPort', protocol: 'TCP', port: edgeTunnel.metricConfig.port } as const]
      : []),
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
