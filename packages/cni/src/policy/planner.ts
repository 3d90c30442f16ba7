import type { Catalog } from '@edgemesh/core';
import { POLICY_DEFAULTS } from '../options.ts';
import {
  type Labels,
  type Peer,
  type PodInfo,
  type PolicyInfo,
  type PolicyPort,
  type PolicyRule,
  readNamespaces,
  readPods,
  readPolicies,
  selects,
} from './model.ts';

export type Direction = 'ingress' | 'egress';

/** Addresses of the other side: in one of `include` and in none of `except`. */
export interface AddressBlock {
  readonly include: readonly string[];
  readonly except: readonly string[];
}

export interface PortRange {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly first: number;
  readonly last: number;
}

/** One way to be allowed: any of the blocks, and any of the ports. `any` stands for no condition. */
export interface Allow {
  readonly blocks: 'any' | readonly AddressBlock[];
  readonly ports: 'any' | readonly PortRange[];
}

/** A pod that something is denied to. A direction that is not there is open. */
export interface IsolatedPod {
  readonly pod: string;
  readonly ips: readonly string[];
  readonly ingress?: readonly Allow[];
  readonly egress?: readonly Allow[];
}

export interface PolicyPlan {
  /** By namespace and name. */
  readonly pods: readonly IsolatedPod[];
  /** What is not as the policies say; such pods are closed rather than open. */
  readonly problems: readonly string[];
}

const PROTOCOLS = new Set(['TCP', 'UDP', 'SCTP']);

interface World {
  readonly pods: readonly PodInfo[];
  readonly byNamespace: ReadonlyMap<string, readonly PodInfo[]>;
  readonly namespaces: ReadonlyMap<string, Labels>;
}

/** What each pod of this node may receive and send, by the rules of networking.k8s.io/v1 NetworkPolicy. Pure. */
export function planPolicies(catalog: Catalog, nodeName: string): PolicyPlan {
  const policies = readPolicies(catalog);
  if (policies.length === 0) return { pods: [], problems: [] };
  const pods = readPods(catalog);
  const world: World = { pods, byNamespace: group(pods), namespaces: readNamespaces(catalog) };
  const problems: string[] = [];
  const isolated: IsolatedPod[] = [];
  const local = pods.filter((pod) => pod.nodeName === nodeName && pod.ips.length > 0).sort(byName);
  if (local.length > POLICY_DEFAULTS.maxPods)
    problems.push(`only ${POLICY_DEFAULTS.maxPods} pods have policies (maxPods)`);
  for (const pod of local.slice(0, POLICY_DEFAULTS.maxPods)) {
    const mine = policies.filter(
      (policy) => policy.namespace === pod.namespace && selects(policy.podSelector, pod.labels),
    );
    const [ingress, egress] = (['ingress', 'egress'] as const).map((direction) =>
      allowsOf(world, pod, mine, direction, problems),
    );
    if (ingress === undefined && egress === undefined) continue;
    isolated.push({
      pod: `${pod.namespace}/${pod.name}`,
      ips: pod.ips,
      ...(ingress === undefined ? {} : { ingress }),
      ...(egress === undefined ? {} : { egress }),
    });
  }
  return { pods: isolated, problems };
}

const byName = (a: PodInfo, b: PodInfo) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1);

function group(pods: readonly PodInfo[]): Map<string, PodInfo[]> {
  const groups = new Map<string, PodInfo[]>();
  for (const pod of pods) {
    const list = groups.get(pod.namespace);
    if (list === undefined) groups.set(pod.namespace, [pod]);
    else list.push(pod);
  }
  return groups;
}

/** Undefined: no policy isolates the pod in this direction. */
function allowsOf(
  world: World,
  pod: PodInfo,
  policies: readonly PolicyInfo[],
  direction: Direction,
  problems: string[],
): Allow[] | undefined {
  const applying = policies.filter((policy) => policy[direction] !== undefined);
  if (applying.length === 0) return undefined;
  const rules = applying.flatMap((policy) =>
    (policy[direction] as readonly PolicyRule[]).map((rule) => ({ policy, rule })),
  );
  const name = `${pod.namespace}/${pod.name}`;
  if (rules.length > POLICY_DEFAULTS.maxRulesPerPod) {
    problems.push(`${name}: ${rules.length} ${direction} rules, closed (maxRulesPerPod)`);
    return [];
  }
  const allows = rules.flatMap(({ policy, rule }) =>
    direction === 'ingress' ? ingressAllow(world, pod, policy, rule) : egressAllows(world, policy, rule),
  );
  const isTooLarge = ({ blocks }: Allow) =>
    blocks !== 'any' && blocks.some(({ include }) => include.length > POLICY_DEFAULTS.maxAddressesPerRule);
  if (!allows.some(isTooLarge)) return allows;
  problems.push(`${name}: a ${direction} rule has too many peers and is left out (maxAddressesPerRule)`);
  return allows.filter((allow) => !isTooLarge(allow));
}

function ingressAllow(world: World, pod: PodInfo, policy: PolicyInfo, rule: PolicyRule): Allow[] {
  const ports = rule.ports.length === 0 ? 'any' : rule.ports.flatMap((port) => rangesOn(port, pod));
  const blocks = rule.peers.length === 0 ? 'any' : rule.peers.flatMap((peer) => blocksOf(world, policy, peer));
  return nonEmpty({ blocks, ports });
}

/** A named port of an egress rule means another number with every destination: such rules are split by number. */
function egressAllows(world: World, policy: PolicyInfo, rule: PolicyRule): Allow[] {
  const fixed = rule.ports.filter(({ port }) => typeof port !== 'string');
  const named = rule.ports.filter(({ port }) => typeof port === 'string');
  const blocks = rule.peers.length === 0 ? 'any' : rule.peers.flatMap((peer) => blocksOf(world, policy, peer));
  const allows: Allow[] = [];
  if (rule.ports.length === 0) allows.push({ blocks, ports: 'any' });
  else if (fixed.length > 0) allows.push({ blocks, ports: fixed.flatMap((port) => rangesOn(port, undefined)) });
  if (named.length > 0) {
    const targets = rule.peers.length === 0 ? world.pods : rule.peers.flatMap((peer) => podsOf(world, policy, peer));
    const byRange = new Map<string, { range: PortRange; ips: string[] }>();
    for (const target of targets) {
      for (const range of named.flatMap((port) => rangesOn(port, target))) {
        const key = `${range.protocol} ${range.first}`;
        const entry = byRange.get(key) ?? { range, ips: [] };
        entry.ips.push(...target.ips);
        byRange.set(key, entry);
      }
    }
    for (const { range, ips } of byRange.values())
      allows.push({ blocks: [{ include: ips, except: [] }], ports: [range] });
  }
  return allows.flatMap(nonEmpty);
}

/** A rule whose selectors match nobody allows nobody. */
function nonEmpty(allow: Allow): Allow[] {
  const blocks = allow.blocks === 'any' ? 'any' : allow.blocks.filter(({ include }) => include.length > 0);
  if (blocks.length === 0 || allow.ports.length === 0) return [];
  return [{ blocks, ports: allow.ports }];
}

function blocksOf(world: World, policy: PolicyInfo, peer: Peer): AddressBlock[] {
  if (peer.ipBlock !== undefined) return [{ include: [peer.ipBlock.cidr], except: peer.ipBlock.except }];
  return [{ include: podsOf(world, policy, peer).flatMap(({ ips }) => ips), except: [] }];
}

function podsOf(world: World, policy: PolicyInfo, { podSelector, namespaceSelector, ipBlock }: Peer): PodInfo[] {
  if (ipBlock !== undefined || (podSelector === undefined && namespaceSelector === undefined)) return [];
  const namespaces =
    namespaceSelector === undefined
      ? [policy.namespace]
      : [...world.namespaces].filter(([, labels]) => selects(namespaceSelector, labels)).map(([name]) => name);
  return namespaces.flatMap((namespace) =>
    (world.byNamespace.get(namespace) ?? []).filter(
      (pod) => podSelector === undefined || selects(podSelector, pod.labels),
    ),
  );
}

/** The ports that a policy's entry means on a pod; named ones need the pod that has them. */
function rangesOn({ protocol, port, endPort }: PolicyPort, pod: PodInfo | undefined): PortRange[] {
  if (!PROTOCOLS.has(protocol)) return [];
  const of = (first: number, last: number) => [{ protocol: protocol as PortRange['protocol'], first, last }];
  if (port === undefined) return of(0, 65_535);
  if (typeof port === 'number')
    return isPort(port) && (endPort ?? port) >= port ? of(port, Math.min(endPort ?? port, 65_535)) : [];
  return (pod?.ports ?? [])
    .filter((candidate) => candidate.name === port && candidate.protocol === protocol && isPort(candidate.port))
    .flatMap((candidate) => of(candidate.port, candidate.port));
}

const isPort = (port: number) => Number.isInteger(port) && port > 0 && port <= 65_535;
