import { parseCidr } from '@edgemesh/core';

/**
 * The nftables script by which pods reach what knows nothing of pod addresses, the internet for example: with the node's
 * address. Between pods nothing is translated. Replaces the table as a whole.
 */
export function renderMasquerade(
  table: string,
  own: readonly string[],
  mesh: readonly string[],
  links: readonly string[],
): string {
  const families = [
    {
      field: 'ip',
      type: 'ipv4_addr',
      is: (cidr: string) => !cidr.includes(':'),
      never: ['224.0.0.0/4', '169.254.0.0/16'],
    },
    { field: 'ip6', type: 'ipv6_addr', is: (cidr: string) => cidr.includes(':'), never: ['ff00::/8', 'fe80::/10'] },
  ];
  const valid = (cidrs: readonly string[]) => [...new Set(cidrs.filter((cidr) => parseCidr(cidr) !== undefined))];
  const set = (name: string, type: string, cidrs: readonly string[]) => [
    `  set ${name} {`,
    `    type ${type}; flags interval; auto-merge`,
    ...(cidrs.length > 0 ? [`    elements = { ${cidrs.join(', ')} }`] : []),
    '  }',
  ];
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...families.flatMap(({ field, type, is, never }) => [
      ...set(`own_${field}`, type, valid(own).filter(is)),
      ...set(`mesh_${field}`, type, [...valid([...own, ...mesh]).filter(is), ...never]),
    ]),
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    oifname { ${links.map((link) => `"${link}"`).join(', ')} } return`,
    ...families.map(({ field }) => `    ${field} saddr @own_${field} ${field} daddr != @mesh_${field} masquerade`),
    '  }',
    '}',
    '',
  ].join('\n');
}

/** The script that removes the table, whether it is there or not. */
export function removeTableScript(table: string): string {
  return `table inet ${table}\ndelete table inet ${table}\n`;
}
