import type { CatalogView, Endpoint, Service, ServicePort } from '@edgemesh/core';
import {
  type BalancerPolicy,
  createServiceBalancer,
  DESTINATION_RULE_KIND,
  destinationRuleFor,
  eligibleEndpoints,
  type LbPolicy,
  policyFromDestinationRule,
  policyFromService,
} from '@edgemesh/lb';
import type { Balancing, KernelPick } from '@edgemesh/proxy-l4';

export interface BalancingOptions {
  readonly view: CatalogView;
  readonly nodeName: string;
  readonly clusterDomain: string;
  /** Endpoints that the kernel serves by itself; the listeners leave those to it. Absent: there is no kernel side. */
  readonly servedByKernel?: (endpoint: Endpoint) => boolean;
}

/** Policies, conditions and eligible endpoints of Services, as the catalog has them. */
export interface MeshBalancing extends Balancing {
  /** How the kernel shall choose for a Service port. */
  kernelPick(service: Service, port: ServicePort): KernelPick;
  /** All eligible endpoints, the kernel's included. */
  eligibleAll(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
  /** What DestinationRules ask for and do not get, by `namespace/name`. */
  conditions(): Readonly<Record<string, readonly string[]>>;
}

export function createBalancing(options: BalancingOptions): MeshBalancing {
  const { view, nodeName, clusterDomain } = options;
  const policyOf = (service: Service, port: ServicePort): LbPolicy => {
    const rules = view.current.objects.get(DESTINATION_RULE_KIND);
    const rule = rules && destinationRuleFor(service, rules.values(), clusterDomain);
    return rule === undefined ? policyFromService(service) : policyFromDestinationRule(rule, service, port).policy;
  };
  const eligibleAll = (service: Service, endpoints: readonly Endpoint[], port: ServicePort) => {
    const own = view.current.nodes.get(nodeName);
    return eligibleEndpoints(service, endpoints, port.name, {
      nodeName,
      nodes: view.current.nodes,
      protocol: port.protocol,
      ...(own && { nodeLabels: own.labels }),
      ...(own?.zone !== undefined && { zone: own.zone }),
    });
  };
  const kernelPick = (service: Service, port: ServicePort) => kernelPickOf(policyOf(service, port).balancer);
  return {
    policyKey: (service, port) => JSON.stringify(policyOf(service, port)),
    createBalancer: (service, port) => createServiceBalancer({ outlier: {}, ...policyOf(service, port) }),
    eligible(service, endpoints, port) {
      const all = eligibleAll(service, endpoints, port);
      const { servedByKernel } = options;
      if (servedByKernel === undefined || kernelPick(service, port) === 'listener') return all;
      // The kernel has given the others their share already. Picking them again here would give them more.
      const rest = all.filter((endpoint) => !servedByKernel(endpoint));
      return rest.length > 0 ? rest : all;
    },
    eligibleAll,
    kernelPick,
    conditions: () => conditionsOf(view),
  };
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

function conditionsOf(view: CatalogView): Record<string, readonly string[]> {
  const found: Record<string, readonly string[]> = {};
  const any = { sessionAffinity: { type: 'None' } } as const;
  for (const [name, rule] of view.current.objects.get(DESTINATION_RULE_KIND) ?? []) {
    const { conditions } = policyFromDestinationRule(rule, any, { port: 0 });
    if (conditions.length > 0) found[name] = conditions;
  }
  return found;
}
