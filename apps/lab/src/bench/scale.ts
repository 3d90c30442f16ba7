import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { LabMachine } from '@edgemesh/testkit/netns';
import { type KubeProcess, startKubeApi } from '../harness/kube.ts';
import { manifestText, writeManifests } from '../harness/manifests.ts';
import { ADMIN, createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';
import type { Row } from './report.ts';
import type { ProbePlan } from './scale-probe-main.ts';
import { cpuSeconds, familyCpuSeconds, residentMegabytes } from './tools.ts';

/** How much there is. */
export interface ScaleSize {
  readonly services: number;
  readonly endpointsEach: number;
}

/** How much there is, and how long to look at it. */
interface ScaleOptions extends ScaleSize {
  readonly changes: number;
  readonly idleSeconds: number;
}

/** What one run found. */
interface ScaleResult {
  /** From the first request of the agent (API server), or from its start (folder), until the kernel has every rule. */
  readonly loadSeconds: number;
  /** From the start of the process until then. */
  readonly startSeconds: number;
  readonly cpuSeconds: number;
  /** Milliseconds of each change, sorted. */
  readonly changeMs: readonly number[];
  /** Resident memory in megabytes: without the Services, with all rules in place, after the changes and the idle time. */
  readonly residentMB: { readonly empty: number; readonly loaded: number; readonly settled: number };
  /** Share of a core that the agent and the commands it runs use while nothing changes, in percent. */
  readonly idlePercent: number;
}

export type ScaleSource = 'API server' | 'folder of manifests';

const PER_FILE = 500;
/** Until the snapshot is on disk and the heap has come to rest. */
const SETTLE_MS = 15_000;
const PROBE = { address: '10.96.255.1', port: 8080 } as const;
const PODS = ['10.244.200.1', '10.244.200.2'] as const;
const probeMain = fileURLToPath(new URL('scale-probe-main.ts', import.meta.url));

/** A node that knows 10,000 Services with ten endpoints each, from both kinds of source. */
export async function benchScale(): Promise<Row[]> {
  const options = { services: 10_000, endpointsEach: 10, changes: 50, idleSeconds: 20 };
  const rows: Row[] = [];
  for (const source of ['API server', 'folder of manifests'] as const) {
    const result = await runScale(source, options);
    console.error(JSON.stringify({ source, ...result }));
    rows.push(...rowsOf(source, options, result));
  }
  return rows;
}

function rowsOf(source: ScaleSource, { services, endpointsEach }: ScaleOptions, result: ScaleResult): Row[] {
  const number = (value: number) => value.toLocaleString('en');
  const scenario = `${number(services)} Services, ${number(services * endpointsEach)} endpoints, ${source}`;
  const { residentMB, changeMs } = result;
  const row = (what: string, unit: string, value: number, digits = 1): Row => ({
    scenario,
    what,
    unit,
    mesh: Number(value.toFixed(digits)),
  });
  return [
    row('from the first list until the kernel has all rules', 's', result.loadSeconds),
    row('from the start of the agent until then', 's', result.startSeconds),
    row("agent's CPU for that", 's', result.cpuSeconds),
    row('one change until the kernel follows it, median', 'ms', quantile(changeMs, 0.5), 0),
    row('the same, 99th percentile', 'ms', quantile(changeMs, 0.99), 0),
    row('RSS without Services', 'MB', residentMB.empty, 0),
    row('RSS with them', 'MB', residentMB.settled, 0),
    row('RSS for each 1,000 Services', 'MB', ((residentMB.settled - residentMB.empty) * 1_000) / services),
    row('CPU while nothing changes', '% of a core', result.idlePercent),
  ];
}

/** Of sorted values. */
function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] as number;
}

/** Loads, changes and rests once. */
async function runScale(source: ScaleSource, options: ScaleOptions): Promise<ScaleResult> {
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, empty: { lan: 'home' }, api: { lan: 'home' } } });
  const host = mesh.host('a');
  const empty = await emptyResident(mesh, mesh.host('empty'));
  const { agent, loadSeconds, startSeconds, change } = await startScale(mesh, source, options);
  const loaded = await residentMegabytes(host, agent.process.pid);
  const cpu = await cpuSeconds(host, agent.process.pid);
  const changeMs = await change(options.changes);
  await delay(SETTLE_MS);
  const idlePercent = await idle(host, agent.process.pid, options.idleSeconds);
  const settled = await residentMegabytes(host, agent.process.pid);
  return {
    loadSeconds,
    startSeconds,
    cpuSeconds: cpu,
    changeMs,
    residentMB: { empty, loaded, settled },
    idlePercent,
  };
}

/** An agent on host `a` of a mesh that has all rules in the kernel, and the way to change one Service. */
export interface LoadedAgent {
  readonly agent: MeshAgent;
  readonly loadSeconds: number;
  readonly startSeconds: number;
  /** Moves the endpoint of one Service that often; milliseconds until the kernel had followed, sorted. */
  change(rounds: number): Promise<readonly number[]>;
}

/** Starts the agent of host `a`, with an API server on host `api` or with a folder, and waits for the last rule. */
export async function startScale(mesh: Mesh, source: ScaleSource, size: ScaleSize): Promise<LoadedAgent> {
  const host = mesh.host('a');
  for (const address of PODS) await host.must('ip', ['address', 'add', `${address}/32`, 'dev', 'lo']);
  const files = filesOf(size, host.address());
  const api = source === 'API server' ? await startApi(mesh, files) : undefined;
  const began = performance.now();
  const firstList = api === undefined ? Promise.resolve(began) : untilAsked(host, api);
  const agent = await launch(mesh, host, api, files);
  await untilElements(agent, expectedElements(size));
  const done = performance.now();
  return {
    agent,
    loadSeconds: (done - (await firstList)) / 1_000,
    startSeconds: (done - began) / 1_000,
    change: (rounds) => change(host, api, agent, rounds),
  };
}

async function startApi(mesh: Mesh, files: Readonly<Record<string, readonly object[]>>): Promise<KubeProcess> {
  const folder = join(mesh.folder, 'cluster');
  await writeManifests(folder, files);
  return startKubeApi(mesh.host('api'), folder, 'apiserver', 120_000);
}

/** Resident memory of an agent that knows its own node only. */
async function emptyResident(mesh: Mesh, host: LabMachine): Promise<number> {
  const agent = await mesh.agent(host.name, { objects: [makeNode(host.name, host.address())], config: QUIET });
  await delay(5_000);
  const resident = await residentMegabytes(host, agent.process.pid);
  await agent.process.kill();
  return resident;
}

const QUIET = { commonConfig: { logLevel: 'info' } };

async function launch(
  mesh: Mesh,
  host: LabMachine,
  api: KubeProcess | undefined,
  files: Readonly<Record<string, readonly object[]>>,
): Promise<MeshAgent> {
  if (api !== undefined)
    return mesh.agent(host.name, {
      kubernetes: true,
      readyMs: 120_000,
      config: { ...QUIET, kubeAPIConfig: { master: api.url } },
    });
  await writeManifests(join(mesh.folder, `agent-${host.name}`, 'manifests'), files);
  return mesh.agent(host.name, { config: QUIET, readyMs: 120_000 });
}

/** The time at which the agent made its first request. */
async function untilAsked(host: LabMachine, api: KubeProcess): Promise<number> {
  for (;;) {
    const { stdout } = await host.exec('curl', ['-sS', '--max-time', '2', `${api.control}/_control/state`]);
    if (/"requests":[1-9]/.test(stdout)) return performance.now();
    await delay(20);
  }
}

/** Any address of its own. */
const addressOf = (i: number) => `10.${100 + (i >> 14)}.${(i >> 7) & 127}.${(i & 127) + 1}`;
/** Services of which every other endpoint is behind the tunnel. */
const isMixed = (i: number) => i % 5 === 0;

function manyService(i: number, endpoints: number): object[] {
  const name = `s-${i}`;
  return makeService({
    name,
    spec: clusterIP(addressOf(i)),
    ports: [{ name: 'http', port: 80, targetPort: 8080 }],
    endpoints: Array.from({ length: endpoints }, (_, k) => ({
      node: isMixed(i) && k % 2 === 0 ? 'b' : 'a',
      address: `10.${k + 1}.${(i >> 8) & 255}.${i & 255}`,
      pod: `${name}-5d8f7c9b4-${k}`,
    })),
  });
}

/** The Service that changes: one endpoint, here or there. */
const probeObjects = (state: 0 | 1) =>
  makeService({
    name: 'probe',
    spec: clusterIP(PROBE.address),
    ports: [{ name: 'http', port: 80, targetPort: PROBE.port }],
    endpoints: [{ node: 'a', address: PODS[state], pod: `probe-${state}` }],
  });

function filesOf({ services, endpointsEach }: ScaleSize, nodeAddress: string): Record<string, object[]> {
  const files: Record<string, object[]> = { node: [makeNode('a', nodeAddress)], probe: probeObjects(1) };
  for (let i = 0; i < services; i += PER_FILE) {
    const count = Math.min(PER_FILE, services - i);
    files[`many-${i}`] = Array.from({ length: count }, (_, k) => manyService(i + k, endpointsEach)).flat();
  }
  return files;
}

/** What the table holds of them: frontends, slots, and a hairpin for each endpoint of this node. */
function expectedElements({ services, endpointsEach }: ScaleSize): number {
  let sum = 0;
  for (let i = 0; i < services; i++) {
    const far = isMixed(i) ? Math.ceil(endpointsEach / 2) : 0;
    sum += (far > 0 ? 2 : 1) + endpointsEach + (endpointsEach - far);
  }
  return sum;
}

async function untilElements(agent: MeshAgent, count: number): Promise<void> {
  for (;;) {
    const { stdout } = await agent.machine.exec('curl', ['-sS', '--max-time', '2', `${ADMIN}/metrics`]);
    if (Number(/^edgemesh_linux_elements (\d+)/m.exec(stdout)?.[1] ?? 0) >= count) return;
    if (!agent.process.running) throw new Error(`the agent has ended:\n${agent.process.lines.slice(-20).join('\n')}`);
    await delay(50);
  }
}

/** Milliseconds of each change, sorted. */
async function change(host: LabMachine, api: KubeProcess | undefined, agent: MeshAgent, rounds: number) {
  const texts = ([0, 1] as const).map((state) => manifestText(probeObjects(state)));
  const plan: ProbePlan = {
    clusterIP: PROBE.address,
    addresses: PODS,
    port: PROBE.port,
    objects: texts as [string, string],
    tell: api === undefined ? { file: join(agent.manifestDir, 'probe.yaml') } : { control: api.control },
    rounds,
  };
  const probe = host.node(probeMain, [JSON.stringify(plan)]);
  const line = await probe.waitForLine(/^\{"times"/, { timeoutMs: 300_000 });
  const { times } = JSON.parse(line) as { readonly times: readonly number[] };
  return times.toSorted((a, b) => a - b);
}

/** Percent of a core that the agent and what it has started use. */
async function idle(host: LabMachine, pid: number, seconds: number): Promise<number> {
  const before = await familyCpuSeconds(host, pid);
  const started = performance.now();
  await delay(seconds * 1_000);
  const used = (await familyCpuSeconds(host, pid)) - before;
  return (used * 100_000) / (performance.now() - started);
}
