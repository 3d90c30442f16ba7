/**
 * A mesh on this machine: a server, three agents and two backends as separate processes, fed from a folder of
 * Kubernetes YAML. Calls every Service through edge-a, stops a backend, and shows what happened. `--keep` leaves it on.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { call, resolve } from './calls.ts';
import { builtApp, type DemoProcess, StepError, start } from './processes.ts';
import { bold, cyan, dim, green, heading, milliseconds, red, say, table } from './report.ts';
import { configOf, makeTopology, manifestOf, type ServicePlan, type Topology } from './topology.ts';

const keep = process.argv.includes('--keep');
const CALLS_AFTER_LOSS = 20;
const started = performance.now();
const processes: DemoProcess[] = [];

async function main(folder: string): Promise<void> {
  const topology = makeTopology();
  await startMesh(topology, folder);
  await callServices(topology);
  await loseBackend(topology);
  await summarise();
  if (keep) await stayOpen(topology, folder);
}

async function startMesh(topology: Topology, folder: string): Promise<void> {
  say(bold('EdgeMesh on this machine: one server, three nodes, no cluster, no root'));
  await mkdir(join(folder, 'manifests'), { recursive: true });
  await writeFile(join(folder, 'psk'), randomBytes(32).toString('hex'), { mode: 0o600 });
  for (const service of topology.services) {
    await writeFile(join(folder, 'manifests', `${service.name}.yaml`), manifestOf(service, topology.backends));
  }
  const { server, agents, backends } = topology;
  const backendStarts = backends.map(({ node, address, http, tcp, udp }) => {
    const ports = ['--http', `${http}`, '--tcp', `${tcp}`, '--udp', `${udp}`];
    return launch(`backend on ${node}`, /ready/, [
      builtApp('demo', 'backend'),
      '--node',
      node,
      '--address',
      address,
      ...ports,
    ]);
  });
  const listen = ['--listen', `${server.address}:${server.port}`, '--advertise', server.address];
  const secret = ['--psk-file', join(folder, 'psk'), '--data-dir', join(folder, 'server'), '--admin-listen', ''];
  const serverStart = launch('server', /relay is listening/, [builtApp('server'), ...listen, ...secret]);
  const agentStarts = agents.map(async (agent) => {
    const config = join(folder, `${agent.node}.yaml`);
    await writeFile(config, configOf(agent, topology, folder));
    await launch(agent.node, /agent is ready/, [builtApp('agent'), '--config-file', config], { NODE_NAME: agent.node });
  });
  await Promise.all([...backendStarts, serverStart, ...agentStarts]);
  const rows = agents.map(({ node, address, role }) => [node, address, role]);
  table([['process', 'address', 'what it stands for'], ['server', server.address, 'the public relay'], ...rows]);
  say(dim(`  all ready after ${milliseconds(performance.now() - started)}`));
}

async function launch(
  name: string,
  ready: RegExp,
  args: readonly string[],
  env?: Record<string, string>,
): Promise<void> {
  processes.push(await start(name, ready, args, env));
}

async function callServices(topology: Topology): Promise<void> {
  heading("Every Service by name, through edge-a's DNS and proxy");
  const rows = [['name', 'ClusterIP', 'endpoint', 'node', 'path', 'first', 'again']];
  for (const service of topology.services) {
    const name = `${service.name}.default.svc.cluster.local`;
    const address = await step(`resolve ${name}`, () => resolve(name, topology.dns));
    if (address !== service.clusterIP)
      throw new StepError(`resolve ${name}: got ${address}, expected ${service.clusterIP}`);
    for (const _ of service.nodes) rows.push(await callOnce(topology, service, name, address));
  }
  table(rows);
  say(dim('  direct: the node has a public address. relayed: through the server, which sees only ciphertext.'));
}

async function callOnce(topology: Topology, service: ServicePlan, name: string, address: string): Promise<string[]> {
  const what = `call ${service.name} at ${address}:${service.port}`;
  const first = await timed(() => step(what, () => call(service, address)));
  const node = nodeOf(first.result, what);
  const path = await pathTo(topology, node);
  // A Service of several nodes takes turns: the same node comes again after all the others.
  let again = await timed(() => step(what, () => call(service, address)));
  for (let i = 0; i < 5 && nodeOf(again.result, what) !== node; i++)
    again = await timed(() => step(what, () => call(service, address)));
  const backend = topology.backends.find((candidate) => candidate.node === node);
  const endpoint = `${backend?.address}:${service.targetPort}/${service.portName}`;
  const clusterIP = `${address}:${service.port}`;
  return [name, clusterIP, endpoint, node, path, milliseconds(first.ms), milliseconds(again.ms)];
}

function nodeOf(greeting: string, what: string): string {
  const node = /^hello from (\S+)/.exec(greeting)?.[1];
  if (node === undefined) throw new StepError(`${what}: unexpected answer ${JSON.stringify(greeting)}`);
  return node;
}

async function pathTo(topology: Topology, node: string): Promise<string> {
  const admin = `http://${topology.agents[0]?.address}:10551/status`;
  const status = (await step('read the status of edge-a', async () => (await fetch(admin)).json())) as {
    peers: { node: string; path?: string }[];
  };
  const path = status.peers.find((peer) => peer.node === node)?.path;
  if (path === undefined) throw new StepError(`read the status of edge-a: it knows no path to ${node}`);
  return path;
}

async function loseBackend(topology: Topology): Promise<void> {
  const service = topology.services[0] as ServicePlan;
  heading(`The backend on cloud stops; ${CALLS_AFTER_LOSS} calls to ${service.name} go on`);
  await processes.find(({ name }) => name === 'backend on cloud')?.stop();
  const answered = new Map<string, number>();
  let slowest = 0;
  for (let i = 0; i < CALLS_AFTER_LOSS; i++) {
    const { result, ms } = await timed(() =>
      step(`call ${service.name} without cloud`, () => call(service, service.clusterIP)),
    );
    const node = nodeOf(result, `call ${service.name}`);
    answered.set(node, (answered.get(node) ?? 0) + 1);
    slowest = Math.max(slowest, ms);
  }
  const who = [...answered].map(([node, count]) => `${node} answered ${count}`).join(', ');
  say(`  ${green('no call failed')}: ${who}; the slowest took ${milliseconds(slowest)}`);
}

async function summarise(): Promise<void> {
  heading('Summary');
  const memory: string[] = [];
  for (const { name, pid } of processes) {
    if (name.startsWith('backend')) continue;
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const kilobytes = /VmRSS:\s+(\d+)/.exec(status)?.[1];
    if (kilobytes !== undefined) memory.push(`${name} ${Math.round(Number(kilobytes) / 1024)} MB`);
  }
  if (memory.length > 0) say(`  memory: ${memory.join(', ')}`);
  say(`  ${green('everything worked')}, in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

async function stayOpen(topology: Topology, folder: string): Promise<void> {
  const [hello] = topology.services as [ServicePlan];
  heading('Still running. Try');
  say(`  ${cyan(`dig @${topology.dns.address} -p ${topology.dns.port} hello.default.svc.cluster.local`)}`);
  say(`  ${cyan(`curl http://${hello.clusterIP}:${hello.port}/`)}`);
  const admin = `--admin ${topology.agents[0]?.address}:10551`;
  say(
    `  ${cyan(`bin/edgemesh status ${admin}`)}  ${dim('modules, relays, peers; also: why hello, ping cloud, doctor')}`,
  );
  say(`  ${cyan(`ls ${folder}/manifests`)}  ${dim('edit them: the agents follow')}`);
  say(dim('  Ctrl-C ends it.'));
  await new Promise<void>((resolveSignal) => {
    process.once('SIGINT', () => resolveSignal());
    process.once('SIGTERM', () => resolveSignal());
  });
}

async function timed<T>(run: () => Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const before = performance.now();
  return { result: await run(), ms: performance.now() - before };
}

/** Runs one step; a failure says which one it was. */
async function step<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof StepError) throw error;
    throw new StepError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const folder = await mkdtemp(join(tmpdir(), 'edgemesh-demo-'));
try {
  await main(folder);
} catch (error) {
  process.exitCode = 1;
  const where = error instanceof StepError ? error.message : String(error instanceof Error ? error.stack : error);
  say(`\n${red('The demo failed')} at: ${where}`);
  for (const { name, tail } of processes.filter((p) => !p.name.startsWith('backend')))
    say(`\n${dim(`last lines of ${name}:`)}\n${tail()}`);
} finally {
  await Promise.all(processes.map((running) => running.stop()));
  await rm(folder, { recursive: true, force: true });
}
