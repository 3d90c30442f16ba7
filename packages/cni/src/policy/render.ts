import { type Cidr, cidrContains, formatCidr, parseCidr } from '@edgemesh/core';
import { hash64 } from '../plugin/links.ts';
import type { AddressBlock, Allow, Direction, PolicyPlan, PortRange } from './planner.ts';

type Family = 4 | 6;
const FAMILIES = [4, 6] as const;

/**
 * The plan as one nftables transaction that replaces our table. Only forwarded packets are looked at: what the node itself
 * sends to its pods (probes of the kubelet), and what pods send to their node, is always allowed, as Kubernetes wants it.
 * Pods with the same rules share a chain.
 */
export function renderPolicies(plan: PolicyPlan, table: string): string {
  const chains = new Map<string, readonly string[]>();
  const maps: Record<string, string[]> = { ingress4: [], ingress6: [], egress4: [], egress6: [] };
  for (const pod of plan.pods) {
    for (const direction of ['ingress', 'egress'] as const) {
      const allows = pod[direction];
      if (allows === undefined) continue;
      const rules = allows.flatMap((allow) => renderAllow(allow, direction));
      const name = `${direction}_${hash64(rules.join('\n')).toString(36)}`;
      chains.set(name, rules);
      for (const ip of pod.ips) maps[`${direction}${ip.includes(':') ? 6 : 4}`]?.push(`${ip} : jump ${name}`);
    }
  }
  const map = (name: string, type: string) => [
    `  map ${name} {`,
    `    type ${type} : verdict`,
    ...(maps[name]?.length ? [`    elements = { ${[...new Set(maps[name])].join(', ')} }`] : []),
    '  }',
  ];
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...[...chains].flatMap(([name, rules]) => [
      `  chain ${name} {`,
      ...rules.map((rule) => `    ${rule} return`),
      '    counter drop',
      '  }',
    ]),
    ...map('ingress4', 'ipv4_addr'),
    ...map('ingress6', 'ipv6_addr'),
    ...map('egress4', 'ipv4_addr'),
    ...map('egress6', 'ipv6_addr'),
    '  chain forward {',
    '    type filter hook forward priority filter - 5; policy accept;',
    '    ct state established,related accept',
    '    ip saddr vmap @egress4',
    '    ip6 saddr vmap @egress6',
    '    ip daddr vmap @ingress4',
    '    ip6 daddr vmap @ingress6',
    '  }',
    '}',
    '',
  ].join('\n');
}

/** The matches of one allow; each becomes a rule. */
function renderAllow({ blocks, ports }: Allow, direction: Direction): string[] {
  const portMatches = ports === 'any' ? [''] : renderPorts(ports);
  const addressMatches = blocks === 'any' ? [''] : blocks.flatMap((block) => renderBlock(block, direction));
  return addressMatches.flatMap((address) => portMatches.map((port) => [address, port].filter(Boolean).join(' ')));
}

function renderBlock({ include, except }: AddressBlock, direction: Direction): string[] {
  return FAMILIES.flatMap((family) => {
    const inside = ranges(include, family);
    if (inside.length === 0) return [];
    const field = `${family === 4 ? 'ip' : 'ip6'} ${direction === 'ingress' ? 'saddr' : 'daddr'}`;
    const outside = ranges(except, family);
    return [`${field} ${set(inside)}${outside.length > 0 ? ` ${field} != ${set(outside)}` : ''}`];
  });
}

const set = (ranges: readonly Cidr[]) => `{ ${ranges.map(short).join(', ')} }`;
const short = (range: Cidr) => {
  const text = formatCidr(range);
  const all = `/${range.bytes.length * 8}`;
  return text.endsWith(all) ? text.slice(0, -all.length) : text;
};

/** Ranges of one family without those inside others, which nft refuses to have beside each other. Malformed ones are no range. */
function ranges(texts: readonly string[], family: Family): Cidr[] {
  const all = new Map<string, Cidr>();
  for (const text of texts) {
    const cidr = parseCidr(text);
    if (cidr !== undefined && cidr.bytes.length === (family === 4 ? 4 : 16)) all.set(formatCidr(cidr), cidr);
  }
  const wide = [...all.values()].filter((range) => range.prefix < range.bytes.length * 8);
  return [...all.values()].filter(
    (range) =>
      !wide.some((other) => other !== range && other.prefix < range.prefix && cidrContains(other, range.bytes)),
  );
}

function renderPorts(ports: readonly PortRange[]): string[] {
  return (['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol) => {
    const merged = mergeRanges(ports.filter((port) => port.protocol === protocol));
    if (merged.length === 0) return [];
    const name = protocol.toLowerCase();
    if (merged[0]?.first === 0) return [`meta l4proto ${name}`];
    return [
      `${name} dport { ${merged.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(', ')} }`,
    ];
  });
}

function mergeRanges(ports: readonly PortRange[]): { first: number; last: number }[] {
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of [...ports].sort((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged;
}
