import type { CatalogView, Endpoint, Logger, Service, ServicePort } from '@edgemesh/core';
import { protocolOf } from '@edgemesh/gateway';
import {
  type BalancerPolicy,
  type CatalogBalancing,
  createCatalogBalancing,
  type PlainPolicy,
  requestKeyOf,
} from '@edgemesh/lb';
import type { SessionCookie } from '@edgemesh/proxy-http';
import type { KernelPick } from '@edgemesh/proxy-l4';
import { PATH_KINDS, type PathKind } from '@edgemesh/tunnel';

export interface BalancingOptions {
  readonly view: CatalogView;
  readonly nodeName: string;
  readonly clusterDomain: string;
  /** Endpoints that the kernel serves by itself; the listeners leave those to it. Absent: there is no kernel side. */
  readonly servedByKernel?: (endpoint: Endpoint) => boolean;
  /** Where neither a rule nor the Service says how to choose. Default round robin. */
  readonly defaultPolicy?: PlainPolicy;
  /** Services that prefer near endpoints: those that ask for it by trafficDistribution, all, or none. Default `asked`. */
  readonly locality?: 'asked' | 'always' | 'never';
  /** The tunnel's path to a node; undefined while there is none. */
  readonly pathTo?: (nodeName: string) => PathKind | undefined;
  /** Grows when paths change. */
  readonly pathsVersion?: () => number;
  /** True where somebody reads requests of this port, so that policies which look at them work. Default: nobody does. */
  readonly readsRequests?: (service: Service, port: ServicePort) => boolean;
  readonly log?: Logger;
}

/** Policies, conditions and eligible endpoints of Services, as the catalog has them. */
export interface MeshBalancing extends CatalogBalancing {
  /** How the kernel shall choose for a Service port. */
  kernelPick(service: Service, port: ServicePort): KernelPick;
  /** Whether the port's policy looks at requests, and somebody reads them. */
  needsRequests(service: Service, port: ServicePort): boolean;
  /** The cookie to make for clients that bring none, where the policy hashes by it and gives it a lifetime. */
  sessionCookie(service: Service, port: ServicePort, subset?: string): SessionCookie | undefined;
  /** Endpoints that a listener falls back to. */
  reserve(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
  /** All eligible endpoints, the kernel's included. */
  eligibleAll(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
  /** What DestinationRules ask for and do not get, by `namespace/name` of the Service. */
  conditions(): Readonly<Record<string, readonly string[]>>;
}

export function createBalancing(options: BalancingOptions): MeshBalancing {
  const { view, nodeName, clusterDomain, servedByKernel, log, locality = 'asked' } = options;
  const isNear = ({ trafficDistribution }: Service) =>
    locality === 'always' || (locality === 'asked' && trafficDistribution !== undefined);
  const tierOf = (endpoint: Endpoint) => tierOfPath(endpoint.nodeName, options);
  const tiers = { tierOf, ...(options.pathsVersion && { version: options.pathsVersion }) };
  const catalogBalancing = createCatalogBalancing({
    catalog: view,
    nodeName,
    clusterDomain,
    ...(options.defaultPolicy && { defaultPolicy: options.defaultPolicy }),
    // Dead pods stay in the catalog until somebody notices: found out by dialling them, whatever the rules say.
    outlier: {},
    localityOf: (service) => (isNear(service) ? tiers : undefined),
    onEjected: ({ address, port, nodeName: node }) =>
      log?.warn('an endpoint keeps failing, left out for a while', { address, port, node }),
  });
  const { policyOf } = catalogBalancing;

  const eligibleAll = (service: Service, endpoints: readonly Endpoint[], port: ServicePort) => {
    const all = catalogBalancing.eligible(service, endpoints, port);
    if (locality !== 'always') return all;
    // The kernel knows two tiers only: here, and the listener. As long as there is one here, it gets everything.
    const here = all.filter((endpoint) => endpoint.nodeName === nodeName);
    return here.length > 0 ? here : all;
  };
  /** Hashing by what a request says, and gRPC with a rule: its requests share one connection. */
  const needsRequests = (service: Service, port: ServicePort) => {
    if (options.readsRequests?.(service, port) !== true) return false;
    const { policy, rule } = policyOf(service, port);
    return requestKeyOf(policy.balancer) !== undefined || (rule !== undefined && protocolOf(port) === 'h2');
  };
  const kernelPick = (service: Service, port: ServicePort) => {
    if (needsRequests(service, port)) return 'listener';
    const { balancer } = policyOf(service, port).policy;
    return requestKeyOf(balancer) === undefined ? kernelPickOf(balancer) : 'random';
  };
  return {
    ...catalogBalancing,
    eligible(service, endpoints, port) {
      const all = eligibleAll(service, endpoints, port);
      if (servedByKernel === undefined || kernelPick(service, port) === 'listener') return all;
      // The kernel has given the others their share already. Picking them again here would give them more.
      const rest = all.filter((endpoint) => !servedByKernel(endpoint));
      return rest.length > 0 ? rest : all;
    },
    // The kernel does not notice a dead endpoint, the listener does: then any other will do.
    reserve: eligibleAll,
    eligibleAll,
    kernelPick,
    needsRequests,
    sessionCookie: (service, port, subset) => {
      const { policy, subsets } = policyOf(service, port);
      return sessionCookieOf(((subset === undefined ? undefined : subsets.get(subset)?.policy) ?? policy).balancer);
    },
    conditions: () => conditionsOf(view, policyOf, options),
  };
}

function sessionCookieOf(policy: BalancerPolicy): SessionCookie | undefined {
  const plain = policy.kind === 'clientIP' ? policy.otherwise : policy;
  if (plain?.kind !== 'consistentHash' || plain.key.from !== 'cookie' || plain.key.ttlMs === undefined)
    return undefined;
  const { name, path, ttlMs } = plain.key;
  return { name, ttlMs, ...(path !== undefined && { path }) };
}

/** 0 is this node, then the paths from best to worst; nodes without a session count as relayed until they have one. */
function tierOfPath(node: string | undefined, { nodeName, pathTo }: BalancingOptions): number {
  if (node === undefined || node === nodeName) return 0;
  return 1 + PATH_KINDS.indexOf(pathTo?.(node) ?? 'relayed');
}

/** What the kernel can do by itself; everything else is for the listener. */
function kernelPickOf(policy: BalancerPolicy): KernelPick {
  switch (policy.kind) {
    case 'roundRobin':
      return 'roundRobin';
    case 'random':
    case 'passthrough':
      return 'random';
    case 'clientIP':
      return policy.otherwise === undefined ? 'random' : kernelPickOf(policy.otherwise);
    case 'consistentHash':
    case 'leastRequest':
      return 'listener';
  }
}

function conditionsOf(
  view: CatalogView,
  policyOf: CatalogBalancing['policyOf'],
  { readsRequests }: BalancingOptions,
): Record<string, readonly string[]> {
  const found: Record<string, readonly string[]> = {};
  for (const service of view.current.services.values()) {
    const list = new Set<string>();
    for (const port of service.ports) {
      const { rule, conditions, policy, subsets } = policyOf(service, port);
      if (rule === undefined) continue;
      for (const condition of conditions) list.add(`DestinationRule ${rule}: ${condition}`);
      const what = `DestinationRule ${rule}, port ${port.port}`;
      if (readsRequests?.(service, port)) continue;
      const key = requestKeyOf(policy.balancer);
      if (key !== undefined)
        list.add(
          `${what}: consistentHash by ${key} needs HTTP requests, this port is forwarded as ${port.protocol} connections: endpoints are chosen at random`,
        );
      if (subsets.size > 0) list.add(`${what}: subsets are for HTTP routes, connections go to all endpoints`);
    }
    if (list.size > 0) found[service.id] = [...list];
  }
  return found;
}
