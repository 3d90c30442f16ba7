import type { KubeObject, Service, ServicePort } from '@edgemesh/core';
import { readLoadBalancer, readOutlierDetection } from './destination-rule-parts.ts';
import type { BalancerPolicy, LbPolicy, OutlierPolicy, PlainPolicy } from './policy.ts';
import {
  type Conditions,
  childOf,
  type RuleNode,
  readCount,
  readList,
  readObject,
  readText,
  refuseOthers,
} from './rule-reader.ts';

/** A named group of endpoints of a rule: those whose pods carry the labels, with the policy for them. */
export interface SubsetPolicy {
  readonly labels: Readonly<Record<string, string>>;
  readonly policy: LbPolicy;
}

/** What a rule means for one Service port. */
export interface CompiledPolicy {
  readonly policy: LbPolicy;
  /** By subset name, for routes that name one. */
  readonly subsets: ReadonlyMap<string, SubsetPolicy>;
  /** What the rule asks for and does not get, each as `path: reason`. Empty: everything is understood. */
  readonly conditions: readonly string[];
}

/** The policy of Services that ask for nothing, as in EdgeMesh 1.x. */
export const DEFAULT_POLICY: PlainPolicy = { kind: 'roundRobin' };

type AffinityOwner = Pick<Service, 'sessionAffinity'>;

/** The policy of a Service port that no rule binds to: its session affinity over the default. */
export function policyFromService(service: AffinityOwner, byDefault: PlainPolicy = DEFAULT_POLICY): LbPolicy {
  return { balancer: withAffinity(service, byDefault) };
}

/**
 * Compiles an Istio DestinationRule (networking.istio.io v1alpha3, v1beta1, v1) for one port of the Service it binds to.
 * Never throws: what is unknown or unsupported keeps its default and is told by a condition. ClientIP affinity of the
 * Service itself stays in force and takes the rule's policy for placing new clients.
 */
export function policyFromDestinationRule(
  rule: KubeObject,
  service: AffinityOwner,
  port: Pick<ServicePort, 'port'>,
  byDefault: PlainPolicy = DEFAULT_POLICY,
): CompiledPolicy {
  const conditions: Conditions = [];
  const spec: RuleNode = { path: 'spec', value: (rule as { spec?: unknown } | null | undefined)?.spec };
  readObject(spec, conditions);
  refuseOthers(spec, ['host', 'trafficPolicy', 'subsets', 'exportTo'], 'not supported', conditions);
  const base = readTrafficPolicy(childOf(spec, 'trafficPolicy'), port.port, { balancer: byDefault }, conditions);
  const subsets = new Map<string, SubsetPolicy>();
  for (const node of readList(childOf(spec, 'subsets'), conditions)) {
    readObject(node, conditions);
    refuseOthers(node, ['name', 'labels', 'trafficPolicy'], 'not supported', conditions);
    const name = readText(childOf(node, 'name'), conditions);
    if (name === undefined) {
      conditions.push(`${node.path}.name: is required, subset ignored`);
      continue;
    }
    const own = readTrafficPolicy(childOf(node, 'trafficPolicy'), port.port, base, conditions);
    subsets.set(name, { labels: readLabels(childOf(node, 'labels'), conditions), policy: finish(service, own) });
  }
  return { policy: finish(service, base), subsets, conditions };
}

interface Settings {
  readonly balancer: PlainPolicy;
  readonly outlier?: OutlierPolicy;
}

const NOT_OURS = 'not supported by the load balancer';

/** A traffic policy over what it inherits; the settings of our port replace the general ones one by one. */
function readTrafficPolicy(node: RuleNode, port: number, inherited: Settings, conditions: Conditions): Settings {
  readObject(node, conditions);
  refuseOthers(node, ['loadBalancer', 'outlierDetection', 'portLevelSettings'], NOT_OURS, conditions);
  let settings = readSettings(node, inherited, conditions);
  for (const entry of readList(childOf(node, 'portLevelSettings'), conditions)) {
    readObject(entry, conditions);
    const target = childOf(entry, 'port');
    readObject(target, conditions);
    const number = readCount(childOf(target, 'number'), 65_535, conditions);
    if (number === undefined) conditions.push(`${entry.path}.port.number: is required, entry ignored`);
    if (number !== port) continue;
    refuseOthers(entry, ['port', 'loadBalancer', 'outlierDetection'], NOT_OURS, conditions);
    settings = readSettings(entry, settings, conditions);
  }
  return settings;
}

function readSettings(node: RuleNode, inherited: Settings, conditions: Conditions): Settings {
  const balancer = readLoadBalancer(childOf(node, 'loadBalancer'), conditions) ?? inherited.balancer;
  const outlier = readOutlierDetection(childOf(node, 'outlierDetection'), conditions) ?? inherited.outlier;
  return { balancer, ...(outlier && { outlier }) };
}

function finish(service: AffinityOwner, settings: Settings): LbPolicy {
  return {
    balancer: withAffinity(service, settings.balancer),
    ...(settings.outlier && { outlier: settings.outlier }),
  };
}

function withAffinity(service: AffinityOwner, otherwise: PlainPolicy): BalancerPolicy {
  const { sessionAffinity } = service;
  if (sessionAffinity.type !== 'ClientIP') return otherwise;
  return { kind: 'clientIP', timeoutSeconds: sessionAffinity.timeoutSeconds, otherwise };
}

function readLabels(node: RuleNode, conditions: Conditions): Readonly<Record<string, string>> {
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(readObject(node, conditions))) {
    if (typeof value === 'string') labels[name] = value;
    else conditions.push(`${node.path}.${name}: must be a string, ignored`);
  }
  return labels;
}
