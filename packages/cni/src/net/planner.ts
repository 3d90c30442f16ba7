import { type Cidr, cidrContains, formatCidr, type NodeInfo, parseCidr, parseIp } from '@edgemesh/core';
import { NETWORK_DEFAULTS } from '../options.ts';
import type { MeshRanges, RouteSurvey } from './types.ts';
import { type VxlanPath, vxlanHop } from './vxlan-peers.ts';

/** How packets get to the pods of a node. */
export type NodePath =
  | { readonly node: string; readonly cidr: string; readonly kind: 'lan'; readonly gateway: string }
  | VxlanPath
  | { readonly node: string; readonly cidr: string; readonly kind: 'tunnel' };

/** How packets reach nodes of the LAN: by plain routes, or encapsulated where the network takes none from pods. */
export type LanMode = 'host-gw' | 'vxlan';

/**
 * Why a range is not routed by us.
 *
 * | reason | meaning |
 * | --- | --- |
 * | `invalid` | it is no CIDR, or the node has too many |
 * | `own` | it overlaps the ranges of this node |
 * | `overlap` | it overlaps a range of another node, which is older by name |
 * | `outside` | it lies outside the configured cloudCIDR and edgeCIDR |
 * | `cloud` | this node and that one are cloud nodes: their own CNI connects them |
 * | `foreign` | somebody else has a route to exactly this range |
 * | `limit` | there are more nodes than this one keeps routes for |
 */
export type SkipReason = 'invalid' | 'own' | 'overlap' | 'outside' | 'cloud' | 'foreign' | 'limit';

export interface NetworkPlan {
  /** Ranges of this node. */
  readonly own: readonly string[];
  readonly paths: readonly NodePath[];
  readonly skipped: readonly { readonly node: string; readonly cidr: string; readonly reason: SkipReason }[];
  /** Every node's valid ranges, this one's included: who may send from where. */
  readonly rangesOf: ReadonlyMap<string, readonly string[]>;
}

export interface PlanInput {
  readonly nodeName: string;
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  readonly ranges: MeshRanges;
  readonly survey: RouteSurvey;
  /** Default `host-gw`. */
  readonly lanMode?: LanMode;
  /** Addresses at which a node was proved to be on our LAN. */
  readonly reachable: (nodeName: string) => readonly string[];
}

/** Decides for every node how its pods are reached. Pure; the same whatever the order in which nodes appeared. */
export function planNetwork(input: PlanInput): NetworkPlan {
  const { nodeName, nodes, ranges, survey } = input;
  const own = validRanges(nodes.get(nodeName)?.podCIDRs ?? []).valid;
  const cloud = ranges.cloudCIDR.flatMap((text) => parseCidr(text) ?? []);
  const edge = ranges.edgeCIDR.flatMap((text) => parseCidr(text) ?? []);
  const isCloudNode = own.some((cidr) => within(cidr, cloud));
  const paths: NodePath[] = [];
  const skipped: { node: string; cidr: string; reason: SkipReason }[] = [];
  const rangesOf = new Map<string, readonly string[]>();
  const taken = new OverlapFinder();
  if (own.length > 0) rangesOf.set(nodeName, own.map(formatCidr));
  for (const node of [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (node.name === nodeName) continue;
    const { valid, invalid } = validRanges(node.podCIDRs);
    const skip = (cidr: string, reason: SkipReason) => skipped.push({ node: node.name, cidr, reason });
    for (const cidr of invalid) skip(cidr, 'invalid');
    for (const range of valid) {
      const cidr = formatCidr(range);
      if (rangesOf.size >= NETWORK_DEFAULTS.maxNodes && !rangesOf.has(node.name)) skip(cidr, 'limit');
      else if (own.some((mine) => overlaps(mine, range))) skip(cidr, 'own');
      else if (cloud.length + edge.length > 0 && !within(range, cloud) && !within(range, edge)) skip(cidr, 'outside');
      else if (!taken.add(range)) skip(cidr, 'overlap');
      else {
        rangesOf.set(node.name, [...(rangesOf.get(node.name) ?? []), cidr]);
        if (isCloudNode && within(range, cloud)) skip(cidr, 'cloud');
        else if (survey.foreign.has(cidr)) skip(cidr, 'foreign');
        else paths.push(choosePath(input, node.name, range));
      }
    }
  }
  return { own: own.map(formatCidr), paths, skipped, rangesOf };
}

/** The LAN where the node answers on our subnet: in the range's address family, or in IPv4 for VXLAN; the tunnel otherwise. */
function choosePath({ reachable, survey, lanMode = 'host-gw' }: PlanInput, node: string, range: Cidr): NodePath {
  const cidr = formatCidr(range);
  const length = lanMode === 'vxlan' ? 4 : range.bytes.length;
  const near = reachable(node).find((address) => {
    const bytes = parseIp(address);
    return bytes !== undefined && bytes.length === length && isOnLink(survey, bytes);
  });
  if (near === undefined) return { node, cidr, kind: 'tunnel' };
  if (lanMode === 'host-gw') return { node, cidr, kind: 'lan', gateway: near };
  return { node, cidr, kind: 'vxlan', gateway: vxlanHop(node, range), remote: near };
}

/** Nodes whose InternalIP is on one of our subnets: candidates for direct routes, to be proved by asking them. */
export function lanCandidates(input: Omit<PlanInput, 'reachable'>): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const node of input.nodes.values()) {
    if (node.name === input.nodeName || node.podCIDRs.length === 0) continue;
    const addresses = node.internalIPs.filter((address) => {
      const bytes = parseIp(address);
      return bytes !== undefined && isOnLink(input.survey, bytes);
    });
    if (addresses.length > 0) found.set(node.name, addresses);
  }
  return found;
}

function isOnLink({ subnets }: RouteSurvey, address: Uint8Array): boolean {
  return subnets.some(({ cidr }) => {
    const subnet = parseCidr(cidr);
    return subnet !== undefined && cidrContains(subnet, address);
  });
}

function validRanges(cidrs: readonly string[]): { valid: Cidr[]; invalid: string[] } {
  const valid: Cidr[] = [];
  const invalid: string[] = [];
  for (const text of cidrs) {
    const cidr = parseCidr(text);
    // A default route as somebody's pod range would take all traffic of the node.
    if (cidr === undefined || cidr.prefix === 0 || valid.length >= NETWORK_DEFAULTS.maxRangesPerNode)
      invalid.push(text);
    else valid.push(cidr);
  }
  return { valid, invalid };
}

/** True when one of the ranges contains it. */
function within(cidr: Cidr, ranges: readonly Cidr[]): boolean {
  return ranges.some((range) => range.prefix <= cidr.prefix && cidrContains(range, cidr.bytes));
}

function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? cidrContains(a, b.bytes) : cidrContains(b, a.bytes);
}

/** Ranges that do not overlap, by hash instead of all against all: 5,000 nodes are planned in milliseconds. */
class OverlapFinder {
  readonly #byPrefix = new Map<number, Set<string>>();
  /** Networks that contain a range taken, by their own prefix: filled only for prefix lengths that are in use. */
  readonly #ranges: Cidr[] = [];

  /** False when it overlaps one that was added before. */
  add(range: Cidr): boolean {
    const bits = range.bytes.length * 1000;
    for (const [key, taken] of this.#byPrefix) {
      const prefix = key % 1000;
      if (key - prefix !== bits) continue;
      if (prefix <= range.prefix && taken.has(formatCidr(cut(range, prefix)))) return false;
      if (prefix > range.prefix && this.#ranges.some((one) => overlaps(one, range))) return false;
    }
    const key = bits + range.prefix;
    const set = this.#byPrefix.get(key) ?? new Set();
    set.add(formatCidr(range));
    this.#byPrefix.set(key, set);
    this.#ranges.push(range);
    return true;
  }
}

const cut = (range: Cidr, prefix: number): Cidr =>
  parseCidr(`${formatCidr(range).split('/')[0]}/${prefix}`) as NonNullable<ReturnType<typeof parseCidr>>;
