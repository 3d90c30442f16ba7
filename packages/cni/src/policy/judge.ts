import { type Cidr, canonicalIp, cidrContains, parseCidr, parseIp } from '@edgemesh/core';
import type { AddressBlock, Allow, Direction, IsolatedPod, PolicyPlan, PortRange } from './planner.ts';

/** A connection that somebody else than the kernel makes on behalf of a pod, or to one. */
export interface PolicyFlow {
  /** `ingress`: the pod is the server; `egress`: it is the client. */
  readonly direction: Direction;
  /** Address of the pod whose policies are asked. */
  readonly pod: string;
  /** Addresses of the other side; one that is allowed is enough. */
  readonly peers: readonly string[];
  readonly protocol: PortRange['protocol'];
  /** The server's port. */
  readonly port: number;
}

interface Blocks {
  readonly single: ReadonlySet<string>;
  readonly ranges: readonly { readonly include: readonly Cidr[]; readonly except: readonly Cidr[] }[];
}

interface Rule {
  readonly blocks: 'any' | Blocks;
  readonly ports: Allow['ports'];
}

/** Answers what the nftables rules of a plan would: for connections that the agent carries, which those rules never see. */
export class PolicyJudge {
  readonly #pods: ReadonlyMap<string, IsolatedPod>;
  /** Rules as they are asked for: a plan has many, and most are the kernel's affair alone. */
  readonly #rules = new Map<string, readonly Rule[]>();

  constructor(plan: PolicyPlan) {
    this.#pods = new Map(plan.pods.flatMap((pod) => pod.ips.map((ip) => [canonicalIp(ip) ?? ip, pod] as const)));
  }

  /** True as well for pods that no policy isolates, and for addresses that are no pod's of this node. */
  permits({ direction, pod, peers, protocol, port }: PolicyFlow): boolean {
    const isolated = this.#pods.get(canonicalIp(pod) ?? pod);
    const allows = isolated?.[direction];
    if (isolated === undefined || allows === undefined) return true;
    const key = `${direction} ${isolated.pod}`;
    let rules = this.#rules.get(key);
    if (rules === undefined) {
      rules = allows.map((allow) => ({
        ports: allow.ports,
        blocks: allow.blocks === 'any' ? 'any' : read(allow.blocks),
      }));
      this.#rules.set(key, rules);
    }
    return rules.some(({ blocks, ports }) => hasPort(ports, protocol, port) && hasPeer(blocks, peers));
  }
}

function hasPort(ports: Allow['ports'], protocol: PortRange['protocol'], port: number): boolean {
  if (ports === 'any') return true;
  return ports.some((range) => range.protocol === protocol && range.first <= port && port <= range.last);
}

function hasPeer(blocks: 'any' | Blocks, peers: readonly string[]): boolean {
  if (blocks === 'any') return true;
  return peers.some((peer) => {
    const address = parseIp(peer);
    if (address === undefined) return false;
    const within = (range: Cidr) => cidrContains(range, address);
    if (blocks.single.has(canonicalIp(peer) as string)) return true;
    return blocks.ranges.some(({ include, except }) => include.some(within) && !except.some(within));
  });
}

/** Splits single addresses, of which a selector gives thousands, from ranges. */
function read(blocks: readonly AddressBlock[]): Blocks {
  const single = new Set<string>();
  const ranges: Blocks['ranges'][number][] = [];
  for (const { include, except } of blocks) {
    if (except.length === 0) for (const text of include) single.add(canonicalIp(text) ?? text);
    ranges.push({ include: include.flatMap(toRange), except: except.flatMap(toRange) });
  }
  return { single, ranges: ranges.filter(({ include }) => include.length > 0) };
}

function toRange(text: string): Cidr[] {
  const range = text.includes('/') ? parseCidr(text) : undefined;
  return range === undefined ? [] : [range];
}
