import {
  type Endpoint,
  ipVersion,
  type RuleEndpoint,
  type RuleExclusion,
  type RulePick,
  type Service,
  type ServiceId,
  type ServicePort,
  type ServiceRule,
} from '@edgemesh/core';
import { planFrontends } from './plan-frontends.ts';

/** How the kernel shall choose for a Service port; `listener`: it cannot, the agent chooses for every connection. */
export type KernelPick = 'random' | 'roundRobin' | 'listener';

/** What the plan depends on beside the catalog. Where a function would answer otherwise than before, the planner must be told. */
export interface PlanContext {
  readonly nodeName: string;
  /** Address of the agent's listeners. */
  readonly bridgeIP: string;
  /** Its IPv6 twin; without it, IPv6 Service addresses get routable endpoints only. */
  readonly bridgeIPv6?: string;
  /** Port of the listener that serves a Service port on the address of this family; undefined: there is none (yet). */
  listenPortOf(id: ServiceId, portName: string, protocol: 'TCP' | 'UDP', family: 4 | 6): number | undefined;
  /** True when the kernel of this node reaches the endpoint without the tunnel. */
  isRoutable(endpoint: Endpoint): boolean;
  /** kube-proxy's rules for `service.internalTrafficPolicy` and topology: `eligibleEndpoints` of `@edgemesh/lb`. */
  eligible(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
  /** False: not our business, leave it to whoever comes after us. */
  filter(service: Service): boolean;
  /**
   * Default `random`. ClientIP affinity of the Service wins over `random` and `roundRobin`; with more than
   * `MAX_ROUND_ROBIN_SERVICES` Services, `roundRobin` is `random`.
   */
  pickOf?(service: Service, port: ServicePort): KernelPick;
  readonly exclusions: readonly RuleExclusion[];
  /** Leave what the kernel can do alone to whoever comes after us (kube-proxy): rules only where the agent is needed. */
  readonly onlyWhereNeeded?: boolean;
  /** Masquerade ClusterIP traffic too, where pods' answers would not come back through this node. Default false. */
  readonly masqueradeAll?: boolean;
}

/** The rules of one Service: at most three per port and address family. */
export function planService(service: Service, endpoints: readonly Endpoint[], context: PlanContext): ServiceRule[] {
  if (service.headless || service.type === 'ExternalName' || !context.filter(service)) return [];
  const rules: ServiceRule[] = [];
  for (const port of service.ports) {
    if (port.protocol === 'SCTP') continue;
    for (const family of [4, 6] as const) {
      for (const part of planFrontends(service, port, family, context.masqueradeAll ?? false)) {
        const rule = planPart(service, endpoints, port, family, part, context);
        if (rule !== undefined) rules.push(rule);
      }
    }
  }
  return rules;
}

type Part = ReturnType<typeof planFrontends>[number];

function planPart(
  service: Service,
  all: readonly Endpoint[],
  port: ServicePort,
  family: 4 | 6,
  part: Part,
  context: PlanContext,
): ServiceRule | undefined {
  const protocol = port.protocol as 'TCP' | 'UDP';
  const eligible = (policy: Service['internalTrafficPolicy']) =>
    ofFamily(service, context.eligible(withPolicy(service, policy), all, port), family);
  const pool = eligible(part.policy);
  const listener = listenerOf(service, port, protocol, family, context);
  const { routable, tunnelled, pick } = split(service, port, family, pool, part, context);
  const left = listener === undefined ? 0 : tunnelled;
  // Endpoints that neither the kernel nor a listener can serve: not "no endpoints". Whoever comes after us may know how.
  if (routable.length === 0 && left === 0 && pool.length > 0) return undefined;
  if (context.onlyWhereNeeded === true && left === 0) return undefined;
  const elsewhere = pool.length === 0 && part.policy === 'Local' && eligible('Cluster').length > 0;
  return {
    // joined, not put together piece by piece: V8 would keep the pieces
    key: [service.id, port.name, protocol, `${family}${part.suffix}`].join(':'),
    family,
    protocol,
    frontends: part.frontends,
    routable,
    tunnelled: left,
    ...(left > 0 && listener !== undefined ? { listener } : {}),
    pick,
    whenEmpty: elsewhere ? 'drop' : 'reject',
  };
}

/** Endpoints of the other family belong to the Service's other address; where it has none, the agent can still dial them. */
function ofFamily(service: Service, endpoints: readonly Endpoint[], family: 4 | 6): readonly Endpoint[] {
  const other = family === 4 ? 6 : 4;
  if (!service.clusterIPs.some((ip) => ipVersion(ip) === other)) return endpoints;
  return endpoints.filter((endpoint) => ipVersion(endpoint.address) !== other);
}

function withPolicy(service: Service, policy: Service['internalTrafficPolicy']): Service {
  return service.internalTrafficPolicy === policy ? service : { ...service, internalTrafficPolicy: policy };
}

function listenerOf(
  service: Service,
  port: ServicePort,
  protocol: 'TCP' | 'UDP',
  family: 4 | 6,
  context: PlanContext,
): ServiceRule['listener'] {
  const address = family === 4 ? context.bridgeIP : context.bridgeIPv6;
  const listenPort = context.listenPortOf(service.id, port.name, protocol, family);
  return address === undefined || listenPort === undefined ? undefined : { address, port: listenPort };
}

function split(
  service: Service,
  port: ServicePort,
  family: 4 | 6,
  pool: readonly Endpoint[],
  part: Part,
  context: PlanContext,
): { routable: RuleEndpoint[]; tunnelled: number; pick: RulePick } {
  const wish = context.pickOf?.(service, port) ?? 'random';
  // The listener picks by the Service's internal policy: what it would pick from must be this pool.
  const listenerKnows = part.policy === service.internalTrafficPolicy;
  if (wish === 'listener' && listenerKnows) {
    return { routable: [], tunnelled: Math.min(1, pool.length), pick: { kind: 'random' } };
  }
  const inKernel = pool.filter((endpoint) => ipVersion(endpoint.address) === family && context.isRoutable(endpoint));
  const { sessionAffinity } = service;
  return {
    routable: inKernel.map((endpoint) => ({
      address: endpoint.address,
      port: endpoint.port,
      local: endpoint.nodeName === context.nodeName,
    })),
    tunnelled: listenerKnows ? pool.length - inKernel.length : 0,
    pick:
      sessionAffinity.type === 'ClientIP'
        ? { kind: 'clientIP', timeoutSeconds: sessionAffinity.timeoutSeconds }
        : { kind: wish === 'roundRobin' ? 'roundRobin' : 'random' },
  };
}
