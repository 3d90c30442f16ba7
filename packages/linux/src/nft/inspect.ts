import { mustRun, type Runner } from '../exec.ts';
import { LINUX_DEFAULTS } from '../options.ts';
import { listElements } from './listing.ts';
import { SPACES } from './spaces.ts';

/** A base chain of somebody else that sees packets before or beside ours. */
export interface NatChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: string;
  readonly priority: number;
  /** It comes first: whatever it translates, we do not see. */
  readonly beforeUs: boolean;
}

const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};

/** Lists the nat chains of other tables: who else translates Service addresses here, and in which order. For `doctor`. */
export async function inspectNatChains(
  runner: Runner,
  options: { readonly table?: string; readonly natPriority?: number } = {},
): Promise<readonly NatChain[]> {
  const { stdout } = await mustRun(runner, 'nft', ['list', 'chains']);
  const own = options.table ?? LINUX_DEFAULTS.table;
  const ourPriority = options.natPriority ?? LINUX_DEFAULTS.natPriority;
  const chains: NatChain[] = [];
  let family = '';
  let table = '';
  let chain = '';
  for (const line of stdout.split('\n')) {
    const start = /^table (\S+) (\S+) \{/.exec(line);
    if (start !== null) [, family, table] = start as unknown as [string, string, string];
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    const hook = /type nat hook (\S+) priority ([^;]+);/.exec(line);
    if (hook === null || table === own) continue;
    const priority = parsePriority(hook[2] as string);
    chains.push({ family, table, chain, hook: hook[1] as string, priority, beforeUs: priority < ourPriority });
  }
  return chains.filter(({ hook }) => hook === 'prerouting' || hook === 'output');
}

/** `-110`, `dstnat`, `dstnat - 10`. */
function parsePriority(text: string): number {
  const match = /^([a-z]+)?\s*([+-]?)\s*(\d+)?$/.exec(text.trim());
  if (match === null) return 0;
  const base = PRIORITIES[match[1] ?? ''] ?? 0;
  return base + (match[2] === '-' ? -1 : 1) * Number(match[3] ?? 0);
}

/** New connections of a frontend since its element was made. */
export interface FrontendCount {
  /** `address . protocol . port`, or `protocol . port` for node ports. */
  readonly frontend: string;
  /** With the agent (`live`: the Service port has endpoints behind the tunnel) or by the kernel alone. */
  readonly by: 'live' | 'kernel';
  readonly connections: number;
}

/** Reads the kernel's counters of new connections. Costs 0.15 s at 10,000 Services: for status pages, not for loops. */
export async function readFrontendCounts(
  runner: Runner,
  table: string = LINUX_DEFAULTS.table,
): Promise<readonly FrontendCount[]> {
  const counts: FrontendCount[] = [];
  for (const space of SPACES) {
    for (const by of ['live', 'kernel'] as const) {
      for (const element of await listElements(runner, table, 'map', `${space.name}_${by}`)) {
        counts.push({ frontend: element.key, by, connections: element.packets ?? 0 });
      }
    }
  }
  return counts;
}
