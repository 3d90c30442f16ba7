import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createLab,
  type Lab,
  type LabMachine,
  type LabPlan,
  type LabProcess,
  labMissing,
  pollUntil,
} from '@edgemesh/testkit/netns';
import { type ServicePlan, serviceObjects, writeManifests } from './manifests.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
/** Where the bundled apps are; another folder of the same shape when long runs must not see a new build. */
const apps = process.env.EDGEMESH_LAB_APPS ?? join(root, 'apps');
/** The built entry of an app. */
export const app = (name: string, entry = 'main') => join(apps, name, 'dist', `${entry}.js`);

/** How bin/edgemesh-agent starts Node. */
const AGENT_FLAGS = ['--max-semi-space-size=4'];

/** The mesh secret of every lab mesh that names no other. */
export const LAB_SECRET = 'lab-secret-of-this-run-only';
/** Pod address of every backend, the same on each node: legal in a mesh, as docker hands it out everywhere. */
export const POD_IP = '172.17.0.2';
export const ADMIN = 'http://127.0.0.1:10551';

/** Nodes `a` and `b` behind a NAT each, and two servers on the internet. */
export const TWO_NATS_TWO_SERVERS = {
  hosts: {
    a: { lan: 'home' },
    b: { lan: 'office' },
    'server-0': { lan: 'internet' },
    'server-1': { lan: 'internet' },
  },
  routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
} satisfies LabPlan;

/** The `/status` document, as far as scenarios look at it. */
export interface Status {
  readonly node: string;
  readonly modules: readonly { readonly name: string; readonly state: string; readonly reason?: string }[];
  readonly catalog: {
    readonly services: number;
    readonly endpoints: number;
    readonly source: string;
    readonly ageMs: number;
  };
  readonly relays: readonly {
    readonly nodeName?: string;
    readonly state: string;
    readonly rttMs?: number;
    readonly reason?: string;
  }[];
  readonly peers: readonly {
    readonly node: string;
    readonly path?: string;
    /** Where the carrier's socket leads to: the peer, or the relay. */
    readonly address?: string;
    readonly state: string;
    readonly rttMs?: number;
    readonly streams: number;
    readonly bytesIn: number;
    readonly bytesOut: number;
    readonly reason?: string;
  }[];
  readonly flows?: { readonly tcp: number; readonly udp: number };
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface AgentOptions {
  /** Services that this agent reads from its folder of manifests. */
  readonly services?: readonly ServicePlan[];
  /** More objects for the folder. */
  readonly objects?: readonly object[];
  /** Public addresses of the relays. */
  readonly relays?: readonly string[];
  readonly secret?: string;
  /** Merged over the configuration's `modules.edgeTunnel`. */
  readonly tunnel?: Readonly<Record<string, unknown>>;
  /** Merged over the configuration's `modules`. */
  readonly modules?: Readonly<Record<string, unknown>>;
  /** Merged over the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Take objects from `config.kubeAPIConfig` instead of a folder of manifests. */
  readonly kubernetes?: boolean;
  /** How long it may take to start, in milliseconds; a large folder takes its time. */
  readonly readyMs?: number;
}

export interface MeshAgent {
  readonly machine: LabMachine;
  process: LabProcess;
  readonly manifestDir: string;
  readonly dataDir: string;
  readonly configFile: string;
  status(): Promise<Status>;
  /** Resolves when the agent is ready and the predicate holds. */
  until(what: string, predicate: (status: Status) => boolean | Promise<boolean>, timeoutMs?: number): Promise<Status>;
  /** Starts it again after its process ended. */
  restart(): Promise<void>;
  /** Replaces the configuration file's text as kubelet does in a ConfigMap volume: by swapping a symlink. */
  swapConfig(text: string): Promise<void>;
  /** The configuration with other relays and another secret. */
  configWith(change: { readonly relays?: readonly string[]; readonly secret?: string }): Promise<string>;
}

/** A lab with agents, servers and backends in it; everything ends with it. */
export interface Mesh extends AsyncDisposable {
  readonly lab: Lab;
  readonly folder: string;
  /** Arguments of Node that run the agent's other commands. */
  readonly agentCommand: readonly string[];
  /** Arguments of Node that run the CNI plugin, and a backend. */
  readonly cniCommand: readonly string[];
  readonly backendCommand: readonly string[];
  host(name: string): LabMachine;
  server(host: string, options?: { readonly secret?: string; readonly args?: readonly string[] }): Promise<LabProcess>;
  agent(host: string, options?: AgentOptions): Promise<MeshAgent>;
  /** A pod on a host: HTTP on 8080, TCP echo on 7000, UDP echo on 7001. */
  backend(host: string, address?: string): Promise<LabProcess>;
}

/** Builds the network and an empty mesh on it. Fails in CI where the machine cannot do it; a developer's run is told why. */
export async function createMesh(plan: LabPlan): Promise<Mesh> {
  const missing = await labMissing({ ci: process.env.CI !== undefined });
  if (missing !== undefined) throw new Error(`the lab cannot run here: ${missing}`);
  const lab = await createLab(plan);
  const folder = await mkdtemp(join(tmpdir(), 'edgemesh-lab-'));
  return {
    lab,
    folder,
    agentCommand: [app('agent')],
    cniCommand: [app('cni')],
    backendCommand: [app('demo', 'backend')],
    host: (name) => lab.host(name),
    server: (host, options) => startServer(lab.host(host), folder, options),
    agent: (host, options) => startAgent(lab.host(host), folder, options),
    backend: (host, address) => startBackend(lab.host(host), address),
    async [Symbol.asyncDispose]() {
      await lab[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function secretFile(folder: string, secret = LAB_SECRET): Promise<string> {
  const file = join(folder, `psk-${createHash('sha256').update(secret).digest('hex').slice(0, 16)}`);
  await writeFile(file, secret, { mode: 0o600 });
  return file;
}

async function startServer(
  machine: LabMachine,
  folder: string,
  options: { readonly secret?: string; readonly args?: readonly string[] } = {},
): Promise<LabProcess> {
  const psk = await secretFile(folder, options.secret);
  const address = machine.address();
  const child = machine.spawn(process.execPath, [
    app('server'),
    ...['--node-name', machine.name, '--listen', '0.0.0.0:20006', '--advertise', address, '--psk-file', psk],
    ...['--data-dir', join(folder, `server-${machine.name}`), ...(options.args ?? [])],
  ]);
  await child.waitForLine(/relay is listening/);
  return child;
}

/** `ip netns exec` hides control groups, which are there on every node. */
const WITH_CGROUPS = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$0" "$@"';

async function startAgent(machine: LabMachine, folder: string, options: AgentOptions = {}): Promise<MeshAgent> {
  const home = join(folder, `agent-${machine.name}`);
  const manifestDir = join(home, 'manifests');
  const dataDir = join(home, 'data');
  const configFile = join(home, 'config.yaml');
  await mkdir(dataDir, { recursive: true });
  const byService = (options.services ?? []).map((plan) => [plan.name, serviceObjects(plan)] as const);
  await writeManifests(manifestDir, {
    ...Object.fromEntries(byService),
    ...(options.objects && { objects: options.objects }),
  });
  const configOf = async ({ relays = options.relays ?? [], secret = options.secret }) => ({
    apiVersion: 'agent.edgemesh.config.kubeedge.io/v1alpha1',
    kind: 'EdgeMeshAgent',
    modules: {
      edgeDNS: { enable: true },
      edgeProxy: { enable: true },
      edgeTunnel: {
        enable: true,
        psk: { path: await secretFile(folder, secret) },
        relayNodes: relays.map((address, i) => ({
          nodeName: `relay-${i}`,
          advertiseAddress: [address],
        })),
        ...options.tunnel,
      },
      ...options.modules,
    },
    ...options.config,
    commonConfig: {
      dataDir,
      logLevel: 'debug',
      ...(options.kubernetes ? {} : { manifestDir }),
      ...(options.config?.commonConfig as object | undefined),
    },
  });
  let version = 0;
  const configWith: MeshAgent['configWith'] = async (change) => JSON.stringify(await configOf(change), null, 2);
  const swapConfig = async (text: string) => {
    const folderOfVersion = `..version-${version++}`;
    await mkdir(join(home, folderOfVersion));
    await writeFile(join(home, folderOfVersion, 'config.yaml'), text);
    await symlink(folderOfVersion, join(home, '..data_tmp'));
    await rename(join(home, '..data_tmp'), join(home, '..data'));
  };
  await swapConfig(await configWith({}));
  await symlink(join('..data', 'config.yaml'), configFile);
  const launch = () =>
    machine.spawn(
      'sh',
      ['-c', WITH_CGROUPS, process.execPath, ...AGENT_FLAGS, app('agent'), '--config-file', configFile],
      {
        env: { NODE_NAME: machine.name, ...options.env },
      },
    );
  const agent: MeshAgent = {
    machine,
    process: launch(),
    manifestDir,
    dataDir,
    configFile,
    status: async () => JSON.parse(await machine.must('curl', ['-sS', '--max-time', '5', `${ADMIN}/status`])) as Status,
    swapConfig,
    configWith,
    async until(what, predicate, timeoutMs = 30_000) {
      let last: Status | undefined;
      await pollUntil(
        async () => {
          last = await agent.status().catch(() => undefined);
          return last !== undefined && (await predicate(last));
        },
        { timeoutMs, what },
      ).catch((error: unknown) => {
        const log = agent.process.lines.slice(-40).join('\n');
        throw new Error(`${machine.name}: ${String(error)}\nstatus: ${JSON.stringify(last, null, 1)}\nlog:\n${log}`);
      });
      return last as Status;
    },
    async restart() {
      agent.process = launch();
      await agent.process.waitForLine(/agent is ready/);
    },
  };
  await agent.process.waitForLine(/agent is ready/, {
    ...(options.readyMs !== undefined && { timeoutMs: options.readyMs }),
  });
  return agent;
}

async function startBackend(machine: LabMachine, address = POD_IP): Promise<LabProcess> {
  await machine.exec('ip', ['addr', 'add', `${address}/32`, 'dev', 'lo']);
  const ports = ['--http', '8080', '--tcp', '7000', '--udp', '7001'];
  const child = machine.spawn(process.execPath, [
    app('demo', 'backend'),
    '--node',
    machine.name,
    '--address',
    address,
    ...ports,
  ]);
  await child.waitForLine('ready');
  return child;
}
