import { mkdir, writeFile } from 'node:fs/promises';
import type { LabLan, LabLayout, LabNode } from './addressing.ts';
import { LAB_DEFAULTS } from './options.ts';
import type { LabPlan } from './plan.ts';
import { pollUntil } from './poll.ts';
import { mustExec } from './process.ts';

/** Names of namespaces by what they are: `r-` and `h-` keep routers and hosts of one name apart. */
export const namespaceOf = {
  lan: (prefix: string, name: string) => `${prefix}s-${name}`,
  node: (prefix: string, node: Pick<LabNode, 'kind' | 'name'>) => `${prefix}${node.kind[0]}-${node.name}`,
};

/** All namespaces of a scenario. */
export function namespacesOf(prefix: string, layout: LabLayout): string[] {
  return [
    ...layout.lans.map((lan) => namespaceOf.lan(prefix, lan.name)),
    ...layout.nodes.map((node) => namespaceOf.node(prefix, node)),
  ];
}

const PORTS_POLL_MS = 50;

/** Creates namespaces and cables in two `ip -batch` runs, then configures each namespace by one shell script. */
export async function buildLab(prefix: string, plan: LabPlan, layout: LabLayout): Promise<void> {
  const names = namespacesOf(prefix, layout);
  await mustExec('ip', ['-batch', '-'], { input: names.map((name) => `netns add ${name}\n`).join('') });
  const cables = layout.nodes.flatMap((node) =>
    node.interfaces.map(
      (link) =>
        `link add name ${link.name} netns ${namespaceOf.node(prefix, node)} type veth ` +
        `peer name ${link.port} netns ${namespaceOf.lan(prefix, link.lan)}\n`,
    ),
  );
  if (cables.length > 0) await mustExec('ip', ['-batch', '-'], { input: cables.join('') });
  const scripts: [string, string][] = [
    ...layout.lans.map((lan): [string, string] => [namespaceOf.lan(prefix, lan.name), switchScript(lan, layout)]),
    ...layout.nodes.map((node): [string, string] => [namespaceOf.node(prefix, node), nodeScript(node, plan, layout)]),
  ];
  await inParallel(scripts, async ([name, script]) => {
    await mustExec('ip', ['netns', 'exec', name, 'sh', '-e'], { input: script });
  });
  await inParallel(layout.lans, (lan) => portsForward(namespaceOf.lan(prefix, lan.name)));
  await Promise.all(Object.entries(plan.hosts).map(([name]) => writeResolvConf(prefix, plan, name)));
}

/** The kernel tells a switch of its cables up to a second late. What is sent before that is lost, ARP requests for one. */
async function portsForward(switchNs: string): Promise<void> {
  const look = async () => {
    const shown = await mustExec('ip', ['-n', switchNs, '-j', 'link', 'show', 'master', 'br0']);
    const ports = JSON.parse(shown || '[]') as { readonly operstate?: string }[];
    return ports.every(({ operstate }) => operstate === 'UP');
  };
  await pollUntil(look, { intervalMs: PORTS_POLL_MS, what: `the ports of ${switchNs} are up` });
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: LAB_DEFAULTS.parallelSetup }, worker));
}

function switchScript(lan: LabLan, layout: LabLayout): string {
  const mtu = lan.mtu === undefined ? '' : `mtu ${lan.mtu}`;
  const ports = layout.nodes.flatMap((node) => node.interfaces.filter((link) => link.lan === lan.name));
  const commands = [
    'link set lo up',
    // Snooping would drop multicast (mDNS) until a querier shows up.
    'link add br0 type bridge forward_delay 0 mcast_snooping 0',
    `link set br0 up ${mtu}`,
    ...ports.map((link) => `link set ${link.port} master br0 up ${mtu}`),
  ];
  return `sysctl -qw net.ipv6.conf.all.disable_ipv6=1\nip -batch - <<'END'\n${commands.join('\n')}\nEND\n`;
}

function nodeScript(node: LabNode, plan: LabPlan, layout: LabLayout): string {
  const host = node.kind === 'host' ? plan.hosts[node.name] : undefined;
  const commands = ['link set lo up', ...(host?.loopback ?? []).map((address) => `addr add ${address} dev lo`)];
  for (const link of node.interfaces) {
    const mtu = layout.lans.find((lan) => lan.name === link.lan)?.mtu;
    commands.push(`addr add ${link.ipv4}/${link.prefix4} dev ${link.name}`);
    if (link.ipv6 !== undefined) commands.push(`addr add ${link.ipv6}/64 dev ${link.name} nodad`);
    commands.push(`link set ${link.name} up${mtu === undefined ? '' : ` mtu ${mtu}`}`);
  }
  if (node.gateway4 !== undefined) commands.push(`route add default via ${node.gateway4}`);
  if (node.gateway6 !== undefined) commands.push(`-6 route add default via ${node.gateway6}`);
  for (const route of node.routes) {
    commands.push(`${route.subnet.includes(':') ? '-6 ' : ''}route add ${route.subnet} via ${route.via}`);
  }
  // `ip -batch` takes no per-line options; IPv6 lines name their addresses, so the family is clear without -6.
  const batch = commands.map((line) => line.replace(/^-6 /, '')).join('\n');
  return [
    plan.ipv6 ? '' : 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1',
    node.kind === 'router' || host?.forwarding ? 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1' : '',
    `ip -batch - <<'END'\n${batch}\nEND`,
    '',
  ].join('\n');
}

async function writeResolvConf(prefix: string, plan: LabPlan, name: string): Promise<void> {
  const host = plan.hosts[name];
  if (host?.dns === undefined) return;
  const folder = `/etc/netns/${namespaceOf.node(prefix, { kind: 'host', name })}`;
  const search = host.search === undefined ? [] : [`search ${host.search.join(' ')}`, 'options ndots:5'];
  await mkdir(folder, { recursive: true });
  await writeFile(
    `${folder}/resolv.conf`,
    `${[...host.dns.map((ip) => `nameserver ${ip}`), ...search, ''].join('\n')}`,
  );
}
