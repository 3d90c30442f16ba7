import { CNI_DEFAULTS, NETWORK_DEFAULTS } from '@edgemesh/cni';
import { messageOf } from '@edgemesh/core';
import { type CleanupStep, mustRun, type Runner } from '@edgemesh/linux';
import { parseList } from './uplink-mtu.ts';

const PROTOCOL = String(NETWORK_DEFAULTS.routeProtocol);
const FAMILIES = ['-4', '-6'] as const;

interface LinkJson {
  readonly ifname?: string;
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

/**
 * Removes what the pod network may have left in the kernel, tables of the agent aside: routes and rules of our protocol number, the
 * bridge with the guards of its ports, the TUN device. Pods that still run lose their network. Never throws; each step is tried whatever became of the others.
 */
export async function cleanupPods(runner: Runner): Promise<readonly CleanupStep[]> {
  const { bridge, linkAlias, spoofTable } = CNI_DEFAULTS;
  const { tunName, vxlanName } = NETWORK_DEFAULTS;
  return [
    await step('routes to pods', () => removeMarked(runner, 'route')),
    await step('rules for pods', () => removeMarked(runner, 'rule')),
    await step(`guards of pods' addresses`, () => removeGuards(runner, `bridge ${spoofTable}`)),
    await step(`device ${vxlanName}`, () =>
      removeLink(runner, vxlanName, (link) => link.linkinfo?.info_kind === 'vxlan'),
    ),
    await step(`bridge ${bridge}`, () => removeLink(runner, bridge, ({ ifalias }) => ifalias === linkAlias)),
    await step(`device ${tunName}`, () => removeLink(runner, tunName, (link) => link.linkinfo?.info_kind === 'tun')),
  ];
}

async function step(what: string, work: () => Promise<boolean>): Promise<CleanupStep> {
  try {
    return { what, result: (await work()) ? 'removed' : 'absent' };
  } catch (error) {
    return { what, result: messageOf(error) };
  }
}

async function removeMarked(runner: Runner, kind: 'route' | 'rule'): Promise<boolean> {
  let found = false;
  for (const family of FAMILIES) {
    const lines = kind === 'route' ? await markedRoutes(runner, family) : await markedRules(runner, family);
    if (lines.length === 0) continue;
    await mustRun(runner, 'ip', [family, '-force', '-batch', '-'], { input: `${lines.join('\n')}\n` });
    found = true;
  }
  return found;
}

async function markedRoutes(runner: Runner, family: string): Promise<string[]> {
  const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'route', 'show', 'table', 'main', 'proto', PROTOCOL]);
  return parseList<{ readonly dst?: string }>(stdout).map(({ dst }) => `route del ${dst} proto ${PROTOCOL}`);
}

async function markedRules(runner: Runner, family: string): Promise<string[]> {
  const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'rule', 'show']);
  const rules = parseList<{ readonly priority?: number; readonly protocol?: string }>(stdout);
  return rules
    .filter(({ protocol }) => protocol === PROTOCOL)
    .map(({ priority }) => `rule del priority ${priority} protocol ${PROTOCOL}`);
}

/** The one table of ours that is not of the family inet. */
async function removeGuards(runner: Runner, table: string): Promise<boolean> {
  const { stdout } = await mustRun(runner, 'nft', ['list', 'tables']);
  if (!stdout.split('\n').includes(`table ${table}`)) return false;
  await mustRun(runner, 'nft', ['-f', '-'], { input: `delete table ${table}\n` });
  return true;
}

/** Removes a link of this name if it is ours; false where there is none. */
async function removeLink(runner: Runner, name: string, isOurs: (link: LinkJson) => boolean): Promise<boolean> {
  const { stdout } = await mustRun(runner, 'ip', ['-j', '-d', 'link', 'show']);
  const link = parseList<LinkJson>(stdout).find(({ ifname }) => ifname === name);
  if (link === undefined) return false;
  if (!isOurs(link)) throw new Error('is not ours, left alone');
  await mustRun(runner, 'ip', ['link', 'del', 'dev', name]);
  return true;
}
