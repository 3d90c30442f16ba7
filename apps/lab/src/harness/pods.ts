import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { findProcessGroups } from '@edgemesh/linux';
import {
  execCommand,
  type LabMachine,
  type LabProcess,
  mustExec,
  pollUntil,
  spawnProcess,
} from '@edgemesh/testkit/netns';

/** Where pods of every node live, as docker would place them: the same everywhere. */
export const POD_GATEWAY = '172.17.0.1';

/** A bridge for pods on a node, as docker0: the node forwards, and hides pods behind its own address on their way out. */
export async function preparePods(node: LabMachine, gateway = `${POD_GATEWAY}/16`): Promise<void> {
  const range = gateway.replace(/\d+\/(\d+)$/, '0/$1');
  const commands = [
    'ip link add docker0 type bridge',
    `ip addr add ${gateway} dev docker0`,
    'ip link set docker0 up',
    'sysctl -qw net.ipv4.ip_forward=1',
    'nft add table ip docker',
    "nft 'add chain ip docker post { type nat hook postrouting priority 100; }'",
    `nft 'add rule ip docker post ip saddr ${range} oifname != "docker0" masquerade'`,
  ];
  await node.must('sh', ['-ec', commands.join('\n')]);
}

/** A pod: a network namespace of its own on the node's bridge, which uses the node's resolv.conf. It ends with the lab. */
export async function startPod(
  node: LabMachine,
  name: string,
  address: string,
  gateway = POD_GATEWAY,
  prefix = 16,
  group?: PodGroup,
): Promise<LabMachine> {
  const holder = node.spawn('unshare', ['-n', 'sh', '-c', 'echo ready; exec sleep 100000']);
  await holder.waitForLine('ready');
  const link = `v${address.split('.').slice(2).join('x')}`;
  await node.must('sh', [
    '-ec',
    `ip link add ${link} type veth peer name eth0 netns ${holder.pid}
     ip link set ${link} master docker0 up
     bridge link set dev ${link} hairpin on`,
  ]);
  await mustExec('nsenter', [
    ...insideOf(holder),
    'sh',
    '-ec',
    `ip link set lo up; ip addr add ${address}/${prefix} dev eth0; ip link set eth0 up; ip route add default via ${gateway}`,
  ]);
  return machineIn(node, name, holder, group);
}

/**
 * The namespace that a process of the node holds, as a machine of its own; what it runs ends with the holder, and belongs to the
 * control group.
 */
export function machineIn(node: LabMachine, name: string, holder: LabProcess, group?: PodGroup): LabMachine {
  const inside = ['nsenter', ...insideOf(holder)];
  const [file, ...first] =
    group === undefined ? inside : ['sh', '-c', JOIN, join(group.folder, 'cgroup.procs'), ...inside];
  const spawn: LabMachine['spawn'] = (command, args = [], options) => {
    const child = spawnProcess(file as string, [...first, command, ...args], options);
    holder.exited.then(
      () => child.kill('SIGKILL'),
      () => undefined,
    );
    return child;
  };
  return {
    ...node,
    name,
    exec: (command, args = [], options) => execCommand(file as string, [...first, command, ...args], options),
    must: (command, args = [], options) => mustExec(file as string, [...first, command, ...args], options),
    spawn,
    node: (script, args = [], options) =>
      spawn(process.execPath, ['--conditions=@edgemesh/source', script, ...args], options),
  };
}

/** Joins the group, then becomes the command. */
const JOIN = 'echo $$ > "$0"; exec "$@"';

/** A control group such as kubelet makes for pods. */
export interface PodGroup extends AsyncDisposable {
  /** As the agent's `podGroup` wants it. */
  readonly name: string;
  readonly folder: string;
}

let groups = 0;

/** Makes a group; dispose of it after what is in it. */
export async function createPodGroup(): Promise<PodGroup> {
  const { all } = await findProcessGroups();
  const name = `edgemesh-lab-${process.pid}-${groups++}`;
  const folder = join(all, name);
  await mkdir(folder);
  return {
    name,
    folder,
    // Processes that were killed are in it until the kernel is done with them.
    [Symbol.asyncDispose]: () =>
      pollUntil(
        () =>
          rmdir(folder).then(
            () => true,
            (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
          ),
        {
          timeoutMs: 5_000,
          what: `the end of ${name}`,
        },
      ).then(() => undefined),
  };
}

const insideOf = (holder: LabProcess) => ['-t', String(holder.pid), '-n', '-m'];
