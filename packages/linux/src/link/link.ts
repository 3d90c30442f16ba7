import { LinuxError } from '../errors.ts';
import { mustRun, type Runner } from '../exec.ts';
import { LINUX_DEFAULTS } from '../options.ts';

/** The agent's own link: a dummy device (or, where the kernel has none, a bridge without ports) that carries the addresses on which DNS and the proxy listen. */
export interface LinkPlan {
  readonly name: string;
  /** Addresses without prefix; each becomes a /32 or /128. */
  readonly addresses: readonly string[];
  /**
   * Service ranges (CIDRs) that are routed to the link when the node has no other route to them, not even a default one:
   * otherwise connect() fails before any rule sees the packet. Kept in a table of its own behind `main`, so the choice of
   * source addresses on healthy nodes does not change.
   */
  readonly fallbackRoutes?: readonly string[];
}

/** What `ensureLink` had to do; empty when all was there. */
export interface LinkReport {
  readonly changes: readonly string[];
}

interface AddressInfo {
  readonly local?: string;
  readonly prefixlen?: number;
  readonly scope?: string;
}

interface LinkInfo {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly AddressInfo[];
}

interface RouteInfo {
  readonly dst: string;
}

interface RuleInfo {
  readonly priority: number;
  readonly table: string;
}

/** Alias of a link of ours that is no dummy. */
const ALIAS = 'edgemesh';
/** A dummy of this name is taken for ours, also when an older agent made it. */
const isOurs = (link: LinkInfo) => link.linkinfo?.info_kind === 'dummy' || link.ifalias === ALIAS;
const table = String(LINUX_DEFAULTS.routeTable);
const familyOf = (address: string) => (address.includes(':') ? '-6' : '-4');
const hostPrefix = (address: string) => `${address}/${address.includes(':') ? 128 : 32}`;

/** Creates what is missing, removes our addresses and routes that the plan no longer has. Idempotent. */
export async function ensureLink(runner: Runner, plan: LinkPlan): Promise<LinkReport> {
  const changes: string[] = [];
  const existing = await showLink(runner, plan.name);
  if (existing !== undefined && !isOurs(existing)) {
    throw new LinuxError('plan', `link ${plan.name} exists and is not ours: choose another name or remove it`);
  }
  if (existing === undefined) changes.push(await createDevice(runner, plan.name));
  const present = (existing?.addr_info ?? []).filter((info) => info.scope !== 'link' && info.local !== undefined);
  for (const address of plan.addresses) {
    if (present.some((info) => info.local === address)) continue;
    changes.push(`addr add ${hostPrefix(address)} dev ${plan.name}${address.includes(':') ? ' nodad' : ''}`);
  }
  for (const info of present) {
    if (plan.addresses.includes(info.local as string)) continue;
    changes.push(`addr del ${info.local}/${info.prefixlen} dev ${plan.name}`);
  }
  if (!existing?.flags.includes('UP')) changes.push(`link set ${plan.name} up`);
  changes.push(...(await routeChanges(runner, plan)));
  if (changes.length > 0) await batch(runner, changes);
  return { changes };
}

/** Removes the link, its addresses, our routes and rules. What is not there is fine. */
export async function removeLink(runner: Runner, name: string): Promise<LinkReport> {
  const changes: string[] = [];
  for (const family of ['-4', '-6']) {
    for (const rule of await ourRules(runner, family))
      changes.push(`${family} rule del priority ${rule} lookup ${table}`);
    for (const dst of await ourRoutes(runner, family)) changes.push(`${family} route del ${dst} table ${table}`);
  }
  const link = await showLink(runner, name);
  if (link !== undefined && isOurs(link)) changes.push(`link del ${name}`);
  if (changes.length > 0) await batch(runner, changes);
  return { changes };
}

/** Makes the device at once, because only trying tells what the kernel can; returns what it did. */
async function createDevice(runner: Runner, name: string): Promise<string> {
  const dummy = await runner.run('ip', ['link', 'add', 'name', name, 'type', 'dummy']);
  if (dummy.code === 0) return `link add ${name} type dummy`;
  if (!/unknown device type|not supported/i.test(dummy.stderr)) {
    await mustRun(runner, 'ip', ['link', 'add', 'name', name, 'type', 'dummy']); // fails again, as a LinuxError
  }
  await mustRun(runner, 'ip', ['link', 'add', 'name', name, 'type', 'bridge']);
  await mustRun(runner, 'ip', ['link', 'set', name, 'alias', ALIAS]);
  return `link add ${name} type bridge`;
}

async function routeChanges(runner: Runner, plan: LinkPlan): Promise<string[]> {
  const changes: string[] = [];
  for (const family of ['-4', '-6']) {
    const wanted = (plan.fallbackRoutes ?? []).filter((cidr) => familyOf(cidr) === family);
    const source = plan.addresses.find((address) => familyOf(address) === family);
    const present = wanted.length > 0 || plan.fallbackRoutes !== undefined ? await ourRoutes(runner, family) : [];
    for (const dst of present) if (!wanted.includes(dst)) changes.push(`${family} route del ${dst} table ${table}`);
    for (const cidr of wanted) {
      if (present.includes(cidr)) continue;
      const src = source === undefined ? '' : ` src ${source}`;
      changes.push(`${family} route add ${cidr} dev ${plan.name}${src} table ${table}`);
    }
    const rules = present.length > 0 || wanted.length > 0 ? await ourRules(runner, family) : [];
    if (wanted.length > 0 && rules.length === 0) {
      changes.push(`${family} rule add priority ${LINUX_DEFAULTS.routePreference} lookup ${table}`);
    }
    if (wanted.length === 0)
      for (const rule of rules) changes.push(`${family} rule del priority ${rule} lookup ${table}`);
  }
  return changes;
}

async function showLink(runner: Runner, name: string): Promise<LinkInfo | undefined> {
  const result = await runner.run('ip', ['-j', '-d', 'addr', 'show', 'dev', name]);
  if (result.code !== 0) {
    if (/does not exist/.test(result.stderr)) return undefined;
    throw new LinuxError('failed', `ip addr show dev ${name} failed: ${result.stderr.trim()}`, {
      command: `ip addr show dev ${name}`,
      stderr: result.stderr,
      exitCode: result.code,
    });
  }
  // Old versions pad the list with empty objects.
  return parseJson<Partial<LinkInfo>>(result.stdout).find((info): info is LinkInfo => info.ifname === name);
}

async function ourRoutes(runner: Runner, family: string): Promise<string[]> {
  const result = await runner.run('ip', [family, '-j', 'route', 'show', 'table', table]);
  // A table without routes does not exist.
  return result.code === 0 ? parseJson<RouteInfo>(result.stdout).map((route) => route.dst) : [];
}

async function ourRules(runner: Runner, family: string): Promise<number[]> {
  const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'rule', 'show']);
  return parseJson<RuleInfo>(stdout)
    .filter((rule) => rule.table === table)
    .map((rule) => rule.priority);
}

function parseJson<T>(text: string): T[] {
  if (text.trim() === '') return [];
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? (value as T[]) : [];
  } catch (cause) {
    throw new LinuxError('unsupported', 'ip did not answer in JSON: iproute2 is too old', { cause });
  }
}

/** One `ip -batch` run per family: the family is an option of the command, not of a line. Links first, routes need them. */
async function batch(runner: Runner, changes: readonly string[]): Promise<void> {
  const plain = changes.filter((line) => !line.startsWith('-') && !line.startsWith('link add'));
  // The link goes last when it is deleted, first when it is made.
  const deletes = plain.some((line) => line.startsWith('link del'));
  const run = async (family: readonly string[], lines: readonly string[]) => {
    if (lines.length === 0) return;
    await mustRun(runner, 'ip', [...family, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  };
  if (!deletes) await run([], plain);
  for (const family of ['-4', '-6']) {
    await run(
      [family],
      changes.filter((line) => line.startsWith(family)).map((line) => line.slice(3)),
    );
  }
  if (deletes) await run([], plain);
}
