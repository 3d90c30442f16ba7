import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';
import type { Mesh, MeshAgent } from './mesh.ts';
import { machineIn } from './pods.ts';

/** A pod whose network the CNI plugin made. */
export interface CniPod {
  readonly machine: LabMachine;
  readonly address: string;
  /** As the runtime does: DEL, then the namespace ends. */
  remove(): Promise<void>;
}

/** Makes a pod on the agent's node as a container runtime does: a namespace, then ADD of the plugin. */
export async function startCniPod(mesh: Mesh, agent: MeshAgent, name: string): Promise<CniPod> {
  const { machine: node, dataDir } = agent;
  const holder = node.spawn('unshare', ['-n', 'sh', '-c', 'echo ready; exec sleep 100000']);
  await holder.waitForLine('ready');
  const call = (verb: string) =>
    node.must(process.execPath, mesh.cniCommand, {
      env: {
        CNI_COMMAND: verb,
        CNI_CONTAINERID: `${node.name}-${name}`,
        CNI_IFNAME: 'eth0',
        CNI_NETNS: `/proc/${holder.pid}/ns/net`,
        CNI_PATH: '/opt/cni/bin',
      },
      // Nodes of the lab share one file system, so nothing can be where it is on a node of its own.
      input: JSON.stringify({
        cniVersion: '1.1.0',
        name: 'edgemesh',
        type: 'edgemesh-cni',
        nodeFile: `${dataDir}/cni-node.json`,
        ipam: { dataDir: `${dataDir}/leases` },
      }),
    });
  const { ips } = JSON.parse(await call('ADD')) as { readonly ips: readonly { readonly address: string }[] };
  const address = ips[0]?.address.split('/')[0];
  if (address === undefined) throw new Error(`the plugin gave ${name} no address`);
  return {
    machine: machineIn(node, name, holder),
    address,
    async remove() {
      await call('DEL');
      await holder.kill();
    },
  };
}

/** Starts HTTP on 8080 and TCP echo on 7000 in a pod. */
export async function serveInPod(mesh: Mesh, { machine, address }: CniPod, node: string): Promise<LabProcess> {
  const args = ['--node', node, '--address', address, '--http', '8080', '--tcp', '7000', '--udp', '7001'];
  const child = machine.spawn(process.execPath, [...mesh.backendCommand, ...args]);
  await child.waitForLine('ready');
  return child;
}
