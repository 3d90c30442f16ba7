import type { Catalog, Endpoint, Service, ServiceId, ServicePort } from '@edgemesh/core';
import type { PathKind, PeerStatus } from '@edgemesh/tunnel';
import type { MeshBalancing } from '../modules/balancing.ts';

/** What is known about one endpoint, and whether traffic goes there. */
export interface EndpointExplanation {
  readonly address: string;
  readonly port: number;
  readonly node: string | null;
  /** `namespace/name` of the pod. */
  readonly pod: string | null;
  readonly used: boolean;
  /** Why it is not used; empty when it is. */
  readonly reason: string;
  /** How it is reached: on this node, by the node's own routes, or through the tunnel. */
  readonly via: 'this node' | 'route' | 'tunnel';
  readonly path: PathKind | null;
  readonly rttMs: number | null;
}

export interface PortExplanation {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
  /** Who chooses the endpoint: kernel rules, or the agent connection by connection. */
  readonly chosenBy: 'kernel' | 'agent' | 'nobody';
  /** The policy in force: `roundRobin`, `random`, `clientIP`, ... */
  readonly policy: string;
  /** `namespace/name` of the DestinationRule that made it. */
  readonly rule: string | null;
  readonly endpoints: readonly EndpointExplanation[];
}

/** Where a Service leads from this node, and what is wrong with it. */
export interface ServiceExplanation {
  readonly service: ServiceId;
  readonly type: string;
  readonly addresses: readonly string[];
  readonly name: string;
  readonly ports: readonly PortExplanation[];
  /** In words, each with what to do. Empty: nothing is wrong. */
  readonly problems: readonly string[];
}

export interface ExplainContext {
  readonly nodeName: string;
  readonly clusterDomain: string;
  readonly catalog: Catalog;
  /** Services that this agent serves. */
  readonly include: (service: Service) => boolean;
  /** True where kernel rules capture ClusterIPs. */
  readonly kernelMode: boolean;
  /** Undefined while the proxy is not running. */
  readonly balancing: Pick<MeshBalancing, 'eligibleAll' | 'kernelPick' | 'policyOf' | 'conditions'> | undefined;
  readonly isRoutable: (endpoint: Endpoint) => boolean;
  /** Why health checks of this node leave an endpoint out; undefined when they do not. */
  readonly failedCheck?: (endpoint: Endpoint, service: ServiceId) => string | undefined;
  /** Undefined while the tunnel is not running. */
  readonly peers: readonly PeerStatus[] | undefined;
}

/** Explains a Service as this node sees it; a pure reading of what the modules work with. */
export function explainService(service: Service, context: ExplainContext): ServiceExplanation {
  const all = context.catalog.endpoints.get(service.id) ?? [];
  const ports = service.ports.map((port) => explainPort(service, port, all, context));
  return {
    service: service.id,
    type: service.headless ? 'headless' : service.type,
    addresses: service.clusterIPs,
    name: `${service.name}.${service.namespace}.svc.${context.clusterDomain}`,
    ports,
    problems: [...problemsOf(service, context), ...ports.flatMap((port) => problemsOfPort(port, context))],
  };
}

function explainPort(
  service: Service,
  port: ServicePort,
  all: readonly Endpoint[],
  context: ExplainContext,
): PortExplanation {
  const { balancing } = context;
  const own = all.filter((e) => e.portName === port.name && e.protocol === port.protocol);
  const eligible = new Set(balancing?.eligibleAll(service, own, port) ?? []);
  const policy = balancing?.policyOf(service, port);
  const served = balancing !== undefined && context.include(service);
  const kernel = context.kernelMode && balancing?.kernelPick(service, port) !== 'listener';
  return {
    name: port.name,
    port: port.port,
    protocol: port.protocol,
    chosenBy: !served ? 'nobody' : kernel && own.every(context.isRoutable) ? 'kernel' : 'agent',
    policy: policy?.policy.balancer.kind ?? 'unknown',
    rule: policy?.rule ?? null,
    endpoints: own.map((endpoint) => explainEndpoint(service.id, endpoint, eligible.has(endpoint), context)),
  };
}

function explainEndpoint(
  service: ServiceId,
  endpoint: Endpoint,
  used: boolean,
  context: ExplainContext,
): EndpointExplanation {
  const { address, port, nodeName, targetRef } = endpoint;
  const isHere = nodeName === undefined || nodeName === context.nodeName;
  const via = isHere ? 'this node' : context.isRoutable(endpoint) ? 'route' : 'tunnel';
  const peer = via === 'tunnel' ? context.peers?.find(({ node }) => node === nodeName) : undefined;
  return {
    address,
    port,
    node: nodeName ?? null,
    pod: targetRef?.kind === 'Pod' ? `${targetRef.namespace}/${targetRef.name}` : null,
    used,
    reason: used ? '' : whyUnused(endpoint, context.failedCheck?.(endpoint, service)),
    via,
    path: peer?.path ?? null,
    rttMs: peer?.rttMs ?? null,
  };
}

function whyUnused({ ready, serving, terminating }: Endpoint, failedCheck: string | undefined): string {
  if (failedCheck !== undefined) return `fails the health checks of this node: ${failedCheck}`;
  if (terminating) return serving ? 'terminating' : 'terminating, no longer serving';
  if (!ready) return 'not ready: look at the pod';
  return 'left out by traffic policy, topology hints or locality';
}

function problemsOf(service: Service, { include, balancing }: ExplainContext): string[] {
  const problems = [...(balancing?.conditions()[service.id] ?? [])];
  if (balancing === undefined) problems.push('the proxy of this agent is not running: see `edgemesh status`');
  else if (service.type === 'ExternalName') problems.push('an ExternalName is an answer of DNS, nothing is proxied');
  else if (!include(service))
    problems.push('this agent leaves the Service alone: see serviceFilterMode and its labels');
  if (service.ports.length === 0 && service.type !== 'ExternalName') problems.push('the Service has no ports');
  return problems;
}

function problemsOfPort({ port, protocol, endpoints }: PortExplanation, { peers }: ExplainContext): string[] {
  const where = `port ${port}/${protocol}`;
  if (protocol === 'SCTP') return [`${where}: SCTP is not proxied`];
  if (endpoints.length === 0) return [`${where}: no endpoints: does the selector match pods, and are they scheduled?`];
  const used = endpoints.filter((endpoint) => endpoint.used);
  if (used.length === 0) return [`${where}: none of ${endpoints.length} endpoints is in use: connections are refused`];
  const problems: string[] = [];
  const far = new Set(used.filter(({ via, path }) => via === 'tunnel' && path === null).map(({ node }) => node));
  for (const node of far) {
    const reason = peers?.find((peer) => peer.node === node)?.reason;
    if (peers === undefined) problems.push(`${where}: node ${node} is behind the tunnel, which is not running`);
    else if (reason !== undefined) problems.push(`${where}: no path to node ${node}: ${reason}`);
  }
  return problems;
}
