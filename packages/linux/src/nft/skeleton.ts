import { LINUX_DEFAULTS } from '../options.ts';
import { daddr, keyExpression, keyType, SPACES, type Space, saddr, slotsMap, slotsType } from './spaces.ts';

export interface SkeletonOptions {
  readonly table: string;
  readonly natPriority: number;
  readonly masqueradeMark: number;
  /** The agent's own addresses: never node ports, masqueraded when they leave the node as a source. */
  readonly linkAddresses: readonly string[];
  readonly linkName: string;
}

/** Names of sets and maps that hold elements from the plan, beside those of the spaces. */
export const SHARED_SETS = {
  exclude: (family: 4 | 6) => `exclude${family}`,
  excludeRange: (family: 4 | 6) => `exclude_range${family}`,
  excludePort: 'exclude_port',
  internal: (family: 4 | 6) => `internal${family}`,
  hairpin: (family: 4 | 6) => `hairpin${family}`,
  limited: (family: 4 | 6) => `limited${family}`,
  allowed: (family: 4 | 6) => `allowed${family}`,
} as const;

const FAMILIES = [4, 6] as const;
const addr = (family: 4 | 6) => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** Declarations of all sets and maps: `[kind, name, body]`. */
export function declarations(): [string, string, string][] {
  const list: [string, string, string][] = [
    // Both hold `tcp` and `udp`. `alive` expires when the agent stops refreshing it, `fresh` only if so configured.
    ['set', 'alive', 'type inet_proto; flags timeout;'],
    ['set', 'fresh', 'type inet_proto; flags timeout;'],
    ['set', SHARED_SETS.excludePort, 'type inet_proto . inet_service;'],
  ];
  for (const family of FAMILIES) {
    const service = `${addr(family)} . inet_proto . inet_service`;
    list.push(
      ['set', SHARED_SETS.exclude(family), `type ${service};`],
      ['set', SHARED_SETS.excludeRange(family), `type ${addr(family)}; flags interval;`],
      ['set', SHARED_SETS.internal(family), `type ${addr(family)}; flags interval;`],
      ['set', SHARED_SETS.hairpin(family), `type ${addr(family)} . ${addr(family)};`],
      ['set', SHARED_SETS.limited(family), `type ${service};`],
      ['set', SHARED_SETS.allowed(family), `type ${service} . ${addr(family)}; flags interval;`],
    );
  }
  for (const space of SPACES) {
    const key = keyType(space);
    list.push(
      ['map', `${space.name}_live`, `type ${key} : verdict; counter;`],
      ['map', `${space.name}_kernel`, `type ${key} : verdict; counter;`],
      ['map', slotsMap(space, 'tcp'), `${slotsType(space, 'tcp')};`],
      ['map', slotsMap(space, 'udp'), `${slotsType(space, 'udp')};`],
      ['set', `${space.name}_bare`, `type ${key};`],
      ['set', `${space.name}_masq`, `type ${key};`],
    );
  }
  return list;
}

/** One chain with its rules; `hook` for base chains. */
export interface ChainText {
  readonly name: string;
  readonly hook?: string;
  readonly rules: readonly string[];
}

/**
 * The fixed chains. Constant cost per new connection: a handful of hash lookups, whatever the number of Services.
 * Packets of established connections do not see the nat hooks at all, and one rule on their way through the node.
 */
export function skeletonChains(options: SkeletonOptions): ChainText[] {
  const nat = options.natPriority;
  const bare = Math.max(nat + 1, AFTER_OTHERS);
  return [
    ...FAMILIES.flatMap((family) => familyChains(family, options)),
    { name: 'refuse', rules: ['meta l4proto tcp reject with tcp reset', 'reject with icmpx type port-unreachable'] },
    // A rule that refers to an empty chain: when someone flushes our rules, the reference is gone (see `isFlushed`).
    { name: 'guarded', rules: [] },
    { name: 'sentinel', rules: ['jump guarded'] },
    { name: 'nat_prerouting', hook: `type nat hook prerouting priority ${nat}`, rules: natRules(true) },
    { name: 'nat_output', hook: `type nat hook output priority ${nat}`, rules: natRules(false) },
    { name: 'nat_postrouting', hook: `type nat hook postrouting priority ${nat + 200}`, rules: postrouting(options) },
    { name: 'bare_prerouting', hook: `type nat hook prerouting priority ${bare}`, rules: bareRules },
    { name: 'bare_output', hook: `type nat hook output priority ${bare}`, rules: bareRules },
  ];
}

/** After kube-proxy and container port mappings (-100): what they have translated does not come to further nat chains. */
const AFTER_OTHERS = -50;

/** What nobody has translated. In nat chains, which see first packets only: packets of established connections pay nothing for it. */
const bareRules = [
  'meta l4proto != { tcp, udp } return',
  'meta nfproto ipv4 goto bare4',
  'meta nfproto ipv6 goto bare6',
];

function natRules(fromOutside: boolean): string[] {
  return [
    'meta l4proto != { tcp, udp } return',
    'meta l4proto . th dport @exclude_port fib daddr type local return',
    `meta nfproto ipv4 goto ${fromOutside ? 'arrive4' : 'services4'}`,
    `meta nfproto ipv6 goto ${fromOutside ? 'arrive6' : 'services6'}`,
  ];
}

function familyChains(family: 4 | 6, options: SkeletonOptions): ChainText[] {
  const d = daddr({ family });
  const service = `${d} . meta l4proto . th dport`;
  const spaces = (origin: Space['origin']) =>
    SPACES.filter((space) => space.family === family && space.origin === origin);
  const excluded = [
    `${d} @${SHARED_SETS.excludeRange(family)} return`,
    `${service} @${SHARED_SETS.exclude(family)} return`,
  ];
  const mark = `meta mark set meta mark or 0x${options.masqueradeMark.toString(16)}`;
  const loopback = family === 4 ? '127.0.0.0/8' : '::1';
  const own = options.linkAddresses.filter((address) => address.includes(':') === (family === 6));
  const notNodePort = `${d} { ${[loopback, ...own].join(', ')} } return`;
  const lookups = (space: Space) => {
    const key = keyExpression(space);
    return [
      `${key} @${space.name}_masq ${mark}`,
      `meta l4proto @alive ${key} vmap @${space.name}_live`,
      `meta l4proto @fresh ${key} vmap @${space.name}_kernel`,
    ];
  };
  /** A chain for the addresses of an origin, and one for its node ports: looking up what is local costs a search for a route. */
  const chainsOf = (origin: Space['origin'], name: string): ChainText[] => {
    const [address, port] = spaces(origin) as [Space, Space];
    return [
      { name: `${name}_ports${family}`, rules: lookups(port) },
      {
        name: `${name}${family}`,
        rules: [...excluded, ...lookups(address), notNodePort, `fib daddr type local goto ${name}_ports${family}`],
      },
    ];
  };
  const [byAddress, byPort] = spaces('any') as [Space, Space];
  return [
    {
      name: `bare${family}`,
      rules: [
        ...excluded,
        `${service} @${byAddress.name}_bare goto refuse`,
        notNodePort,
        'meta l4proto . th dport @exclude_port return',
        `meta l4proto . th dport @${byPort.name}_bare fib daddr type local goto refuse`,
      ],
    },
    ...chainsOf('any', 'services'),
    ...chainsOf('external', 'external'),
    {
      name: `arrive${family}`,
      rules: [
        // In a nat chain, because those see first packets only. A dropped one leaves no trace, so the next is a first one too.
        `${service} @${SHARED_SETS.limited(family)} ${service} . ${saddr({ family })} != @${SHARED_SETS.allowed(family)} drop`,
        `${saddr({ family })} != @${SHARED_SETS.internal(family)} jump external${family}`,
        `goto services${family}`,
      ],
    },
  ];
}

function postrouting(options: SkeletonOptions): string[] {
  const bit = `0x${options.masqueradeMark.toString(16)}`;
  const rules = [
    // A pod that reaches itself through its Service must not see its own address as the client's.
    'ct status dnat ip saddr . ip daddr @hairpin4 masquerade',
    'ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade',
    `meta mark and ${bit} == ${bit} meta mark set meta mark xor ${bit} masquerade fully-random`,
  ];
  for (const address of options.linkAddresses) {
    const ip = address.includes(':') ? 'ip6' : 'ip';
    // Chosen as the source when a Service address was routed through our link (no default route); useless elsewhere.
    rules.push(`${ip} saddr ${address} oifname != { "lo", "${options.linkName}" } fib daddr type != local masquerade`);
  }
  return rules;
}

/** Statements that make the fixed chains what they should be, whether they exist or not. Atomic in one transaction. */
export function assertSkeleton(options: SkeletonOptions): string[] {
  const t = `inet ${options.table}`;
  const chains = skeletonChains(options);
  return [
    ...chains.map((chain) => `add chain ${t} ${chain.name}${chain.hook ? ` { ${chain.hook}; policy accept; }` : ''}`),
    ...chains.map((chain) => `flush chain ${t} ${chain.name}`),
    ...chains.flatMap((chain) => chain.rules.map((rule) => `add rule ${t} ${chain.name} ${rule}`)),
  ];
}

/** Statements that refresh the heartbeat. Flush and add: nft before 1.1 cannot prolong an element. */
export function heartbeat(table: string, agentTimeoutSeconds: number, staleAfterSeconds: number | undefined): string[] {
  const both = (seconds?: number) => {
    const timeout = seconds === undefined ? '' : ` timeout ${seconds}s`;
    return `{ tcp${timeout}, udp${timeout} }`;
  };
  return [
    `flush set inet ${table} alive`,
    `add element inet ${table} alive ${both(agentTimeoutSeconds)}`,
    `flush set inet ${table} fresh`,
    `add element inet ${table} fresh ${both(staleAfterSeconds)}`,
  ];
}

/** Options with the defaults filled in. */
export function skeletonOptions(partial: Partial<SkeletonOptions> = {}): SkeletonOptions {
  return {
    table: partial.table ?? LINUX_DEFAULTS.table,
    natPriority: partial.natPriority ?? LINUX_DEFAULTS.natPriority,
    masqueradeMark: partial.masqueradeMark ?? LINUX_DEFAULTS.masqueradeMark,
    linkAddresses: partial.linkAddresses ?? [LINUX_DEFAULTS.linkAddress],
    linkName: partial.linkName ?? LINUX_DEFAULTS.linkName,
  };
}
