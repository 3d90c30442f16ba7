import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import { createRuntime, type Runtime, type RuntimeHost } from './runtime.ts';

const NODE_MAIN = fileURLToPath(new URL('./node-main.ts', import.meta.url));

export interface NodeProcess {
  readonly pid: number;
  readonly lines: readonly string[];
  write(text: string): void;
  waitForLine(pattern: RegExp | string, options?: { readonly timeoutMs?: number }): Promise<string>;
  kill(): Promise<number>;
}

export interface MeshHost extends RuntimeHost {
  readonly name: string;
  address(): string;
  address6(): string;
  node(file: string, args: readonly string[]): NodeProcess;
}

export interface NodeSpec {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly internalIPs: readonly string[];
  readonly podCIDRs: readonly string[];
}

export interface NodeStatus {
  readonly own: readonly string[];
  readonly paths: readonly { readonly node: string; readonly cidr: string; readonly kind: string }[];
  readonly skipped: readonly { readonly cidr: string; readonly reason: string }[];
  readonly channels: readonly string[];
  readonly error?: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly peers: readonly { readonly node: string; readonly path?: string }[];
}

/** A node with its agent's pod network and a runtime that makes pods on it. */
export interface LabNode {
  readonly name: string;
  readonly process: NodeProcess;
  readonly runtime: Runtime;
  setNodes(nodes: readonly NodeSpec[]): void;
  status(): Promise<NodeStatus>;
}

export const nodeSpec = (host: MeshHost, n: number, ipv6 = true): NodeSpec => ({
  name: host.name,
  labels: {},
  internalIPs: [host.address(), ...(ipv6 ? [host.address6()] : [])],
  podCIDRs: [`10.244.${n}.0/24`, `fd44:${n}::/64`],
});

export interface StartOptions {
  readonly host: MeshHost;
  readonly folder: string;
  readonly prefix: string;
  readonly nodes: readonly NodeSpec[];
  readonly relays?: readonly string[];
  readonly more?: object;
  /** Added to the plugin's configuration. */
  readonly plugin?: object;
}

export async function startRelay(host: MeshHost, folder: string): Promise<NodeProcess> {
  const options = { role: 'relay', nodeName: host.name, stateDir: `${folder}/${host.name}`, listen: host.address() };
  const child = host.node(NODE_MAIN, [JSON.stringify(options)]);
  await child.waitForLine('ready');
  return child;
}

export async function startNode({
  host,
  folder,
  prefix,
  nodes,
  relays = [],
  more = {},
  plugin: moreOfPlugin = {},
}: StartOptions): Promise<LabNode> {
  const stateDir = `${folder}/${host.name}`;
  const options = { role: 'node', nodeName: host.name, stateDir, listen: '0.0.0.0', nodes, relays, ...more };
  const child = host.node(NODE_MAIN, [JSON.stringify(options)]);
  await child.waitForLine('ready');
  const plugin = {
    type: 'edgemesh-cni',
    nodeFile: `${stateDir}/cni-node.json`,
    ipam: { dataDir: `${stateDir}/leases` },
    ...moreOfPlugin,
  };
  const list = { cniVersion: '1.1.0', name: 'pods', plugins: [plugin] };
  const runtime = createRuntime({ host, list, prefix, ip: (...args) => run('ip', args) });
  let asked = 0;
  return {
    name: host.name,
    process: child,
    runtime,
    setNodes: (next) => child.write(`${JSON.stringify({ nodes: next })}\n`),
    async status() {
      const id = `${++asked}`;
      child.write(`${JSON.stringify({ status: id })}\n`);
      const line = await child.waitForLine(`status ${id} `);
      return JSON.parse(line.slice(`status ${id} `.length)) as NodeStatus;
    },
  };
}

/** True when all of a few pings were answered. */
export async function pings(runtime: Runtime, from: string, to: string, ...more: string[]): Promise<boolean> {
  const { stdout } = await runtime.exec(from, 'ping', '-c', '3', '-i', '0.1', '-W', '2', ...more, to);
  return / 0% packet loss/.test(stdout);
}
