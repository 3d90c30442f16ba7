import { parseIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { CNI_DEFAULTS } from '../options.ts';
import type { CommandResult, Execute } from '../ports.ts';
import type { PodLink } from './links.ts';

/*
 * A pod may send from its own addresses only: neither as another pod, whose policies would then be its own, nor as the node.
 * Each bridge port has a chain of its name in one table of the bridge family. All rules of a port are replaced in one
 * transaction, so ADD and DEL may be repeated and run at the same time.
 */

const TABLE = CNI_DEFAULTS.spoofTable;
/** Bits of a neighbour advertisement's target that say whether it is link-local (fe80::/10). */
const LINK_LOCAL = '0x3fa';

const declare = (chain: string) => [
  `table bridge ${TABLE} {`,
  '  map ports { type ifname : verdict; }',
  // Before the bridge learns from a frame, and before any other rule.
  '  chain from_pods { type filter hook prerouting priority -300; policy accept; }',
  `  chain ${chain} { }`,
  '}',
];

/** The nft script that lets a port send with the pod's MAC and addresses and nothing else. */
export function guardScript({
  hostName,
  podMac,
  addresses,
}: Pick<PodLink, 'hostName' | 'podMac' | 'addresses'>): string {
  const v4 = addresses.map(({ address }) => address).filter((address) => !address.includes(':'));
  const v6 = addresses.map(({ address }) => address).filter((address) => address.includes(':'));
  const rules = [
    `ether saddr != ${podMac} counter drop`,
    ...(v4.length === 0
      ? []
      : [`ip saddr { ${v4.join(', ')} } accept`, `arp saddr ip { ${v4.join(', ')} } arp saddr ether ${podMac} accept`]),
    ...(v6.length === 0
      ? []
      : [
          // Whose link-layer address is told; the target stands 8 bytes into the message (RFC 4861, section 4.4).
          `icmpv6 type nd-neighbor-advert @th,64,10 != ${LINK_LOCAL} ${v6.map((address) => `@th,64,128 != ${hex(address)}`).join(' ')} counter drop`,
          `ip6 saddr { ${v6.join(', ')} } accept`,
          // Neighbour discovery and its like, which never leave the link.
          'ip6 saddr { ::, fe80::/10 } ip6 daddr { fe80::/10, ff02::/16 } accept',
        ]),
    'counter drop',
  ];
  return [
    ...declare(hostName),
    `flush chain bridge ${TABLE} from_pods`,
    `add rule bridge ${TABLE} from_pods iifname vmap @ports`,
    `flush chain bridge ${TABLE} ${hostName}`,
    ...rules.map((rule) => `add rule bridge ${TABLE} ${hostName} ${rule}`),
    `add element bridge ${TABLE} ports { "${hostName}" : goto ${hostName} }`,
    '',
  ].join('\n');
}

/** The nft script that forgets ports, whether they are known or not. */
export function unguardScript(hostNames: readonly string[]): string {
  const lines = hostNames.flatMap((name) => [
    // What is deleted must be there: so it is made first.
    ...declare(name),
    `add element bridge ${TABLE} ports { "${name}" : goto ${name} }`,
    `delete element bridge ${TABLE} ports { "${name}" }`,
    `flush chain bridge ${TABLE} ${name}`,
    `delete chain bridge ${TABLE} ${name}`,
  ]);
  return `${lines.join('\n')}\n`;
}

/** Guards a port, from before it exists. */
export async function guard(execute: Execute, link: PodLink): Promise<void> {
  const { code, stderr } = await nft(execute, guardScript(link)).catch((cause: unknown) => {
    throw refused('nft cannot be run', cause);
  });
  if (code !== 0) throw refused(stderr.trim().slice(0, 500));
}

function refused(why: string, cause?: unknown): CniError {
  const details = `${why}; needed are nftables and the bridge family in the kernel, or spoofCheck: false`;
  return new CniError('command', 'the pod cannot be kept from using addresses of others', { details, cause });
}

/** Forgets ports that are gone. What cannot be removed does no harm: names of ports are never used again. */
export async function unguard(execute: Execute, hostNames: readonly string[]): Promise<void> {
  if (hostNames.length === 0) return;
  await nft(execute, unguardScript(hostNames)).catch(() => undefined);
}

function nft(execute: Execute, script: string): Promise<CommandResult> {
  return execute('nft', ['-f', '-'], { input: script });
}

function hex(address: string): string {
  return `0x${Buffer.from(parseIp(address) as Uint8Array).toString('hex')}`;
}
