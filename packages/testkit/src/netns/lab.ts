import { type LabInterface, type LabLayout, type LabNode, layOut } from './addressing.ts';
import { LabError } from './errors.ts';
import { cleanupStaleLabs, deleteNamespaces, newLabPrefix } from './names.ts';
import { routerRules } from './nat-rules.ts';
import { LAB_DEFAULTS } from './options.ts';
import type { LabPlan, NatKind } from './plan.ts';
import {
  type ExecOptions,
  type ExecResult,
  execCommand,
  type LabProcess,
  mustExec,
  type SpawnOptions,
  spawnProcess,
} from './process.ts';
import { buildLab, namespaceOf, namespacesOf } from './setup.ts';

export interface BandwidthLimit {
  readonly mbitPerSecond: number;
  readonly burstBytes?: number;
  /** Longest time that a packet waits in the queue before it is dropped. */
  readonly latencyMs?: number;
}

/** A machine of the lab: a network namespace. `lan` arguments default to its first cable. */
export interface LabMachine {
  readonly name: string;
  /** Name of the namespace, for `ip netns exec`. */
  readonly netns: string;
  readonly interfaces: readonly LabInterface[];
  /** IPv4 address on a LAN. */
  address(lan?: string): string;
  /** IPv6 address on a LAN; needs `ipv6: true` in the plan. */
  address6(lan?: string): string;
  /** Runs a command to its end; never rejects for a failing one. */
  exec(command: string, args?: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** Runs a command that must succeed and returns its stdout. */
  must(command: string, args?: readonly string[], options?: ExecOptions): Promise<string>;
  /** Starts a process; it is killed with the lab at the latest. */
  spawn(command: string, args?: readonly string[], options?: SpawnOptions): LabProcess;
  /** Starts a TypeScript or JavaScript file on the Node that runs the tests, against the sources of all packages. */
  node(file: string, args?: readonly string[], options?: SpawnOptions): LabProcess;
  /** Pulls the cable out of the switch (carrier lost, addresses and routes stay), and puts it back. */
  unplug(lan?: string): Promise<void>;
  plug(lan?: string): Promise<void>;
  /** Limits both directions of the cable by tbf; undefined lifts the limit. */
  limit(limit: BandwidthLimit | undefined, lan?: string): Promise<void>;
  /** Forgets all connection tracking, as a rebooted NAT does. */
  flushConntrack(): Promise<void>;
}

/** A router of the lab. */
export interface LabRouter extends LabMachine {
  /** Changes how it translates; running connections keep their mapping until {@link LabMachine.flushConntrack}. */
  setNat(nat: NatKind): Promise<void>;
  /** Gives it another outer IPv4 address, as a provider does at night. */
  renumber(address: string): Promise<void>;
}

/** A running scenario. Dispose of it to delete everything. */
export interface Lab extends AsyncDisposable {
  readonly prefix: string;
  readonly layout: LabLayout;
  host(name: string): LabMachine;
  router(name: string): LabRouter;
}

/** Builds a scenario from data in a fraction of a second. Needs root; see {@link labMissing}. */
export async function createLab(plan: LabPlan): Promise<Lab> {
  const layout = layOut(plan);
  const prefix = newLabPrefix();
  await cleanupStaleLabs();
  const processes = new Set<LabProcess>();
  const dispose = async () => {
    await Promise.all([...processes].map((process) => process.kill()));
    processes.clear();
    await deleteNamespaces(namespacesOf(prefix, layout));
  };
  try {
    await buildLab(prefix, plan, layout);
    const machines = new Map(
      layout.nodes.map((node) => [`${node.kind}:${node.name}`, createMachine(prefix, node, processes)]),
    );
    const find = (kind: string, name: string) => {
      const machine = machines.get(`${kind}:${name}`);
      if (machine === undefined) throw new LabError('plan', `there is no ${kind} ${name} in this lab`);
      return machine;
    };
    const routers = new Map(
      Object.keys(plan.routers ?? {}).map((name) => [name, createRouter(plan, name, find('router', name), find)]),
    );
    await Promise.all(
      [...routers.entries()].map(([name, r]) => r.setNat(plan.routers?.[name]?.nat ?? 'portPreserving')),
    );
    return {
      prefix,
      layout,
      host: (name) => find('host', name),
      router: (name) => routers.get(name) ?? (find('router', name) as LabRouter),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function createMachine(prefix: string, node: LabNode, processes: Set<LabProcess>): LabMachine {
  const netns = namespaceOf.node(prefix, node);
  const inside = (command: string, args: readonly string[]) => ['netns', 'exec', netns, command, ...args];
  const cable = (lan?: string) => {
    const link = lan === undefined ? node.interfaces[0] : node.interfaces.find((one) => one.lan === lan);
    if (link === undefined) throw new LabError('plan', `${node.name} is not plugged into ${lan ?? 'anything'}`);
    return { link, switchNs: namespaceOf.lan(prefix, link.lan) };
  };
  const setPort = async (state: 'up' | 'down', lan?: string) => {
    const { link, switchNs } = cable(lan);
    await mustExec('ip', ['-n', switchNs, 'link', 'set', link.port, state]);
  };
  const start: LabMachine['spawn'] = (command, args = [], options = {}) => {
    const child = spawnProcess('ip', inside(command, args), options);
    processes.add(child);
    void child.exited.then(() => processes.delete(child));
    return child;
  };
  return {
    name: node.name,
    netns,
    interfaces: node.interfaces,
    address: (lan) => cable(lan).link.ipv4,
    address6(lan) {
      const address = cable(lan).link.ipv6;
      if (address === undefined) throw new LabError('plan', 'this lab has no IPv6: set ipv6: true');
      return address;
    },
    exec: (command, args = [], options = {}) => execCommand('ip', inside(command, args), options),
    must: (command, args = [], options = {}) => mustExec('ip', inside(command, args), options),
    spawn: start,
    node: (file, args = [], options = {}) =>
      start(process.execPath, ['--conditions=@edgemesh/source', file, ...args], options),
    unplug: (lan) => setPort('down', lan),
    plug: (lan) => setPort('up', lan),
    async limit(limit, lan) {
      const { link, switchNs } = cable(lan);
      await Promise.all([setTbf(netns, link.name, limit), setTbf(switchNs, link.port, limit)]);
    },
    flushConntrack: async () => void (await mustExec('ip', inside('conntrack', ['-F']))),
  };
}

async function setTbf(netns: string, device: string, limit: BandwidthLimit | undefined): Promise<void> {
  if (limit === undefined) {
    await execCommand('tc', ['-n', netns, 'qdisc', 'del', 'dev', device, 'root']);
    return;
  }
  const burst = limit.burstBytes ?? LAB_DEFAULTS.tbfBurstBytes;
  const latency = limit.latencyMs ?? LAB_DEFAULTS.tbfLatencyMs;
  const shape = ['tbf', 'rate', `${limit.mbitPerSecond}mbit`, 'burst', `${burst}`, 'latency', `${latency}ms`];
  await mustExec('tc', ['-n', netns, 'qdisc', 'replace', 'dev', device, 'root', ...shape]);
}

function createRouter(
  plan: LabPlan,
  name: string,
  machine: LabMachine,
  find: (kind: string, name: string) => LabMachine,
): LabRouter {
  const spec = plan.routers?.[name];
  if (spec === undefined) throw new LabError('plan', `there is no router ${name}`);
  let outer = machine.interfaces.find((link) => link.name === 'wan0') as LabInterface;
  return {
    ...machine,
    address: (lan) => (lan === spec.lan ? machine.address(lan) : outer.ipv4),
    async setNat(nat) {
      const rules = routerRules({ ...spec, nat }, (host) => find('host', host).address(spec.lan));
      await machine.must('nft', ['-f', '-'], { input: rules });
    },
    async renumber(address) {
      const routes = await machine.must('ip', ['-4', 'route', 'show', 'dev', 'wan0', 'proto', 'boot']);
      const commands = [
        `addr del ${outer.ipv4}/${outer.prefix4} dev wan0`,
        `addr add ${address}/${outer.prefix4} dev wan0`,
        ...routes
          .split('\n')
          .filter(Boolean)
          .map((route) => `route replace ${route} dev wan0`),
      ];
      outer = { ...outer, ipv4: address };
      await machine.must('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
    },
  };
}
