import { type Cidr, formatCidr, parseCidr } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import type { Files } from '../ports.ts';

/** What the agent tells the plugin about this node, in a file: the plugin must work when there is no API server. */
export interface NodeFacts {
  readonly nodeName: string;
  /** Node.spec.podCIDRs, IPv4 and IPv6. */
  readonly podCIDRs: readonly string[];
  /** MTU for pod links. */
  readonly mtu?: number;
}

/** The file's text. */
export function renderNodeFile(facts: NodeFacts): string {
  return `${JSON.stringify({ version: 1, ...facts })}\n`;
}

/** The facts, checked; undefined when there is no file. Throws `decode` for anything else than a file of ours. */
export function readNodeFile(
  files: Files,
  path: string,
): { ranges: readonly Cidr[]; mtu: number | undefined } | undefined {
  const text = files.read(path);
  if (text === undefined) return undefined;
  try {
    const { podCIDRs, mtu } = JSON.parse(text) as Partial<NodeFacts>;
    if (!Array.isArray(podCIDRs)) throw new TypeError('podCIDRs is no list');
    const ranges = podCIDRs.map((cidr: unknown) => {
      const range = typeof cidr === 'string' ? parseCidr(cidr) : undefined;
      if (range === undefined || range.prefix > range.bytes.length * 8 - 2) throw new TypeError(`podCIDR ${cidr}`);
      return range;
    });
    return { ranges: unique(ranges), mtu: typeof mtu === 'number' && mtu >= 576 && mtu <= 65_535 ? mtu : undefined };
  } catch (cause) {
    throw new CniError('decode', `${path} is not what the agent writes`, { details: String(cause), cause });
  }
}

function unique(ranges: readonly Cidr[]): Cidr[] {
  return [...new Map(ranges.map((range) => [formatCidr(range), range])).values()];
}
