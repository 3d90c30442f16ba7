import type { Balancer, CatalogView, Endpoint, KubeObject, Service, ServicePort } from '@edgemesh/core';
import { policyFromDestinationRule, policyFromService, type SubsetPolicy } from './destination-rule.ts';
import { DESTINATION_RULE_KIND, destinationRuleFor } from './destination-rule-binding.ts';
import { eligibleEndpoints } from './eligible-endpoints.ts';
import type { LbPolicy, OutlierPolicy, PlainPolicy } from './policy.ts';
import { createServiceBalancer, type ServiceBalancerDeps } from './service-balancer.ts';

/** Whose traffic is balanced, and with what. */
export interface CatalogBalancingOptions extends ServiceBalancerDeps {
  readonly catalog: CatalogView;
  /** Our node; its zone and labels come from the catalog. */
  readonly nodeName: string;
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Where neither a rule nor the Service says how to choose. Default round robin. */
  readonly defaultPolicy?: PlainPolicy;
  /** Ejects failing endpoints also where no rule asks for it. Default: only where one does. */
  readonly outlier?: OutlierPolicy;
  /** Prefers near endpoints for Services that want it; wins over `locality`, which is for all. */
  readonly localityOf?: (service: Service, port: ServicePort) => ServiceBalancerDeps['locality'];
}

/** What is in force for one Service port, and why. */
export interface PortPolicy {
  readonly policy: LbPolicy;
  readonly subsets: ReadonlyMap<string, SubsetPolicy>;
  /** `namespace/name` of the DestinationRule that binds. */
  readonly rule?: string;
  /** What that rule asks for and does not get, each as `path: reason`. */
  readonly conditions: readonly string[];
}

/** Everything a proxy asks about balancing, answered from the catalog as it is now. */
export interface CatalogBalancing {
  policyOf(service: Service, port: ServicePort): PortPolicy;
  /** Equal while the same policy is in force, whatever else changes. A subset has the rule's where it has none of its own. */
  policyKey(service: Service, port: ServicePort, subset?: string): string;
  createBalancer(service: Service, port: ServicePort, subset?: string): Balancer;
  eligible(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
}

interface Compiled extends PortPolicy {
  readonly key: string;
}

/** Plain policies kept: one for each affinity timeout that Services name, nearly always one. */
const MAX_PLAIN_POLICIES = 1_000;

/** Policies of Services without a rule. There are few of them and thousands of such Services: all share them. */
function createPlainPolicies(byDefault: PlainPolicy | undefined): (service: Service) => Compiled {
  const known = new Map<number, Compiled>();
  return (service) => {
    const { sessionAffinity } = service;
    const timeout = sessionAffinity.type === 'ClientIP' ? sessionAffinity.timeoutSeconds : 0;
    const found = known.get(timeout);
    if (found !== undefined) return found;
    const policy = policyFromService(service, byDefault);
    const made = { policy, subsets: new Map(), conditions: [], key: JSON.stringify(policy) };
    if (known.size < MAX_PLAIN_POLICIES) known.set(timeout, made);
    return made;
  };
}

/** Rules and Services are compiled once per version of either. */
export function createCatalogBalancing(options: CatalogBalancingOptions): CatalogBalancing {
  const { catalog, nodeName, clusterDomain, defaultPolicy } = options;
  const plainPolicy = createPlainPolicies(defaultPolicy);
  let rules: ReadonlyMap<string, KubeObject> | undefined;
  let memo = new WeakMap<Service, Map<string, Compiled>>();

  const compile = (service: Service, port: ServicePort): Compiled => {
    const rule = rules && destinationRuleFor(service, rules.values(), clusterDomain);
    if (rule === undefined) return plainPolicy(service);
    const compiled = policyFromDestinationRule(rule, service, port, defaultPolicy);
    const name = `${rule.metadata.namespace ?? 'default'}/${rule.metadata.name}`;
    return { ...compiled, rule: name, key: JSON.stringify(compiled.policy) };
  };

  const compiledFor = (service: Service, port: ServicePort): Compiled => {
    const present = catalog.current.objects.get(DESTINATION_RULE_KIND);
    if (present !== rules) {
      rules = present;
      memo = new WeakMap();
    }
    if (rules === undefined || rules.size === 0) return plainPolicy(service);
    let ports = memo.get(service);
    if (ports === undefined) {
      ports = new Map();
      memo.set(service, ports);
    }
    const portKey = `${port.port} ${port.protocol}`;
    let compiled = ports.get(portKey);
    if (compiled === undefined) {
      compiled = compile(service, port);
      ports.set(portKey, compiled);
    }
    return compiled;
  };

  return {
    policyOf: compiledFor,
    policyKey: (service, port, subset) => {
      const compiled = compiledFor(service, port);
      const own = subset === undefined ? undefined : compiled.subsets.get(subset);
      return own === undefined ? compiled.key : JSON.stringify(own.policy);
    },
    createBalancer(service, port, subset) {
      const { subsets, ...compiled } = compiledFor(service, port);
      const policy = (subset === undefined ? undefined : subsets.get(subset)?.policy) ?? compiled.policy;
      const locality = options.localityOf?.(service, port) ?? options.locality;
      const withDefault = options.outlier === undefined ? policy : { outlier: options.outlier, ...policy };
      return createServiceBalancer(withDefault, { ...options, ...(locality && { locality }) });
    },
    eligible(service, endpoints, port) {
      const { nodes } = catalog.current;
      const node = nodes.get(nodeName);
      return eligibleEndpoints(service, endpoints, port.name, {
        nodeName,
        nodes,
        protocol: port.protocol,
        ...(node && { nodeLabels: node.labels }),
        ...(node?.zone !== undefined && { zone: node.zone }),
      });
    },
  };
}
