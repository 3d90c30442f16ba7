import { ipVersion } from '@edgemesh/core';
import type { NetworkPlan, NodePath } from './planner.ts';
import type { VxlanPort } from './types.ts';

/** VNI of a VXLAN header, bits of the UDP datagram (RFC 7348, section 5). */
const VNI = '@th,96,24';

/**
 * The nftables script that says who may use our VXLAN device: it has no authentication of its own. Only nodes that have proved to be on
 * the LAN, by the address on which they did; and inside only packets from their pod ranges to ours. Other VXLAN devices
 * at the same port are left alone. Replaces the table as a whole.
 */
export function renderVxlanGuard(table: string, { name, id, port }: VxlanPort, plan: NetworkPlan): string {
  const peers = plan.paths.filter((path) => path.kind === 'vxlan');
  const remotes = [...new Set(peers.map(({ remote }) => remote))];
  const outside = `udp dport ${port} ${VNI} ${id}`;
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    '  chain input {',
    // Before connection tracking: nothing of it is remembered.
    '    type filter hook prerouting priority raw; policy accept;',
    `    iifname "${name}" jump inside`,
    `    meta nfproto ipv6 ${outside} counter drop`,
    `    ${outside} ip saddr != { ${remotes.join(', ')} } counter drop`,
    '  }',
    '  chain inside {',
    ...[4, 6].flatMap((family) => insideRules(family as 4 | 6, peers, plan.own)),
    '    counter drop',
    '  }',
    '}',
    '',
  ].join('\n');
}

function insideRules(family: 4 | 6, peers: readonly NodePath[], own: readonly string[]): string[] {
  const ofFamily = (cidrs: readonly string[]) =>
    cidrs.filter((cidr) => ipVersion(cidr.slice(0, cidr.indexOf('/'))) === family).join(', ');
  const [from, to] = [ofFamily(peers.map(({ cidr }) => cidr)), ofFamily(own)];
  if (from === '' || to === '') return [];
  const field = family === 4 ? 'ip' : 'ip6';
  return [`    ${field} saddr { ${from} } ${field} daddr { ${to} } accept`];
}
