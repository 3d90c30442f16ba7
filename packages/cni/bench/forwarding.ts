/**
 * Pod to pod between two nodes, all on this machine: by the wire alone, by direct routes, over the tunnel, and Nebula where it
 * is installed. Root; everything happens in network namespaces of its own. On a busy machine throughput tells little: look at
 * `cpuPerGB`, seconds of CPU that both nodes' processes (agents, Nebula) took per gigabyte of one stream.
 *
 *   node --conditions=@edgemesh/source packages/cni/bench/forwarding.ts [seconds]
 *
 * Needs the bundled plugin (apps/cni/dist/main.js), iperf3 and ping.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLab, type Lab, type LabMachine, pollUntil } from '@edgemesh/testkit/netns';
import { run } from '../../../apps/cni/src/testing/command.ts';
import { type LabNode, nodeSpec, startNode, startRelay } from '../../../apps/cni/src/testing/mesh.ts';

const seconds = process.argv[2] ?? '3';
const ROUNDS = 3;
/** Nebula's device: the tunnel would take it for a LAN, and the way through it. */
const NEBULA = 'neb0';
type Run = (command: string, ...args: string[]) => Promise<{ stdout: string; code: number }>;

interface Numbers {
  readonly oneStream: number;
  readonly fourStreams: number;
  readonly pingMs: number;
  readonly cpuPerGB?: number;
}

/** Ticks per second of /proc/PID/stat, USER_HZ. */
const TICKS = 100;

/** Seconds of CPU that processes have taken so far. */
async function cpuSeconds(pids: readonly number[]): Promise<number> {
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8')));
  // Fields 14 and 15, utime and stime; the name in field 2 may hold blanks.
  const fields = texts.map((text) => text.slice(text.lastIndexOf(')') + 2).split(' '));
  return fields.reduce((sum, field) => sum + (Number(field[11]) + Number(field[12])) / TICKS, 0);
}

const rounded = (n: number) => Math.round(n * 1000) / 1000;

async function iperf(client: Run, server: Run, address: string, ...more: string[]): Promise<number> {
  const listening = server('timeout', '60', 'iperf3', '-s', '-1');
  await pollUntil(async () => (await server('ss', '-Htln')).stdout.includes(':5201'));
  const { stdout } = await client('iperf3', '-c', address, '-t', seconds, '-J', ...more);
  await listening;
  const { end } = JSON.parse(stdout) as { end?: { sum_received?: { bits_per_second: number } } };
  return Math.round((end?.sum_received?.bits_per_second ?? 0) / 1e6);
}

async function ping(client: Run, address: string, count = '200', interval = '0.005'): Promise<number> {
  const { stdout } = await client('ping', '-q', '-c', count, '-i', interval, '-W', '3', address);
  return rounded(Number(/= [\d.]+\/([\d.]+)/.exec(stdout)?.[1] ?? Number.NaN));
}

/** A way from one end to the other. */
interface Way {
  readonly client: Run;
  readonly server: Run;
  readonly address: string;
  /** The processes that carry the packets, where they are not the kernel's alone. */
  readonly carriers?: readonly { readonly pid: number }[];
}

async function oneRound({ client, server, address, carriers = [] }: Way): Promise<Numbers> {
  const pids = carriers.map(({ pid }) => pid);
  const pingMs = await ping(client, address);
  const before = await cpuSeconds(pids);
  const oneStream = await iperf(client, server, address);
  const gigabytes = (oneStream / 8_000) * Number(seconds);
  const cpuPerGB = rounded(((await cpuSeconds(pids)) - before) / gigabytes);
  const fourStreams = await iperf(client, server, address, '-P', '4');
  return { oneStream, fourStreams, pingMs, ...(pids.length > 0 && { cpuPerGB }) };
}

const median = (values: readonly number[]) =>
  rounded(values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN);

/** Medians of rounds in which all ways have their turn: what else the machine does hits all alike. */
async function compare<K extends string>(ways: Readonly<Record<K, Way>>): Promise<Record<K, Numbers>> {
  const names = Object.keys(ways) as K[];
  const rounds = new Map<K, Numbers[]>(names.map((name) => [name, []]));
  for (const name of names) {
    const { client, address } = ways[name];
    await pollUntil(async () => (await client('ping', '-c', '1', '-W', '1', address)).code === 0, {
      timeoutMs: 20_000,
    });
  }
  for (let i = 0; i < ROUNDS; i++) for (const name of names) rounds.get(name)?.push(await oneRound(ways[name]));
  return Object.fromEntries(
    [...rounds].map(([name, all]) => {
      const of = (field: keyof Numbers) => median(all.map((one) => one[field] ?? Number.NaN));
      const cpu = all[0]?.cpuPerGB === undefined ? {} : { cpuPerGB: of('cpuPerGB') };
      return [name, { oneStream: of('oneStream'), fourStreams: of('fourStreams'), pingMs: of('pingMs'), ...cpu }];
    }),
  ) as Record<K, Numbers>;
}

const onHost =
  (host: LabMachine): Run =>
  (command, ...args) =>
    host.exec(command, args, { timeoutMs: 90_000 });
const inPod =
  (node: LabNode): Run =>
  (command, ...args) =>
    node.runtime.exec('pod', command, ...args);

interface Pair {
  readonly left: LabNode;
  readonly right: LabNode;
  readonly address: string;
}

/** Two nodes with a pod each; with `probe` they find out that they share a LAN. */
async function withNodes<T>(lab: Lab, folder: string, probe: boolean, work: (pair: Pair) => Promise<T>): Promise<T> {
  const hosts = [lab.host('left'), lab.host('right')] as const;
  const nodes = [nodeSpec(hosts[0], 1, false), nodeSpec(hosts[1], 2, false)];
  const relays = [`${lab.host('cloud').address()}:20006`];
  const [left, right] = (await Promise.all(
    hosts.map((host) =>
      startNode({
        host,
        folder,
        prefix: `${lab.prefix}${host.name}-`,
        nodes,
        relays,
        more: { probe, filteredInterfaces: [NEBULA] },
      }),
    ),
  )) as [LabNode, LabNode];
  try {
    await left.runtime.add('pod');
    const pod = await right.runtime.add('pod');
    const kind = probe ? 'lan' : 'tunnel';
    await pollUntil(async () =>
      (await left.status()).paths.every((path) => path.kind === kind || path.cidr.includes(':')),
    );
    return await work({ left, right, address: pod.ip() });
  } finally {
    for (const node of [left, right]) {
      await node.runtime.remove('pod');
      await node.process.kill();
    }
  }
}

/** Pods as anyone would connect them by hand: bridges and a route. What the LAN path has to match. */
async function withBridges<T>(lab: Lab, work: (way: Way) => Promise<T>): Promise<T> {
  const ends = [lab.host('left'), lab.host('right')].map((host, i) => ({
    host,
    n: i + 1,
    netns: `${lab.prefix}hand${i}`,
  }));
  for (const { host, n, netns } of ends) {
    await run('ip', ['netns', 'add', netns]);
    const other = ends[2 - n]?.host.address();
    const lines = [
      `link add hand${n} type bridge`,
      `addr add 10.77.${n}.1/24 dev hand${n}`,
      `link set hand${n} up`,
      `link add hport${n} type veth peer name eth0 netns ${netns}`,
      `link set hport${n} master hand${n} up`,
      `route add 10.77.${3 - n}.0/24 via ${other}`,
    ];
    await host.must('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
    await host.must('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    const inside = [`addr add 10.77.${n}.2/24 dev eth0`, 'link set eth0 up', `route add default via 10.77.${n}.1`];
    for (const line of inside) await run('ip', ['-n', netns, ...line.split(' ')]);
  }
  const [client, server] = ends.map(
    ({ host, netns }): Run =>
      (command, ...args) =>
        host.exec('ip', ['netns', 'exec', netns, command, ...args], { timeoutMs: 90_000 }),
  ) as [Run, Run];
  try {
    return await work({ client, server, address: '10.77.2.2' });
  } finally {
    for (const { netns } of ends) await run('ip', ['netns', 'del', netns]);
  }
}

/** Round trips while one stream fills a link of 50 Mbit/s. */
async function underLoad(lab: Lab, { left, right, address }: Pair): Promise<object> {
  await Promise.all(['left', 'right'].map((name) => lab.host(name).limit({ mbitPerSecond: 50, latencyMs: 20 })));
  const idleMs = await ping(inPod(left), address, '20', '0.1');
  const wireMs = await ping(onHost(lab.host('left')), lab.host('right').address(), '20', '0.1');
  const bulk = iperf(inPod(left), inPod(right), address);
  await pollUntil(async () => (await inPod(left)('ss', '-Htn')).stdout.includes(':5201'));
  const loadedMs = await ping(inPod(left), address, `${Math.round(Number(seconds) * 8)}`, '0.1');
  const mbit = await bulk;
  await Promise.all(['left', 'right'].map((name) => lab.host(name).limit(undefined)));
  return { mbit, idleMs, wireMs, loadedMs };
}

/** Nebula between the two hosts, as long as `work` runs; without it where it is not installed. */
async function withNebula<T>(lab: Lab, folder: string, work: (way: Way | undefined) => Promise<T>): Promise<T> {
  const [left, right] = [lab.host('left'), lab.host('right')];
  if ((await left.exec('sh', ['-c', 'command -v nebula nebula-cert'])).code !== 0) return work(undefined);
  const cert = (...args: string[]) => left.must('sh', ['-c', `cd ${folder} && nebula-cert ${args.join(' ')}`]);
  await cert('ca', '-name', 'bench');
  const config = (name: string, other: LabMachine, otherIp: string, lighthouse: boolean) => `
pki: { ca: ${folder}/ca.crt, cert: ${folder}/${name}.crt, key: ${folder}/${name}.key }
static_host_map: { "${otherIp}": ["${other.address()}:4242"] }
lighthouse: { am_lighthouse: ${lighthouse}, hosts: [${lighthouse ? '' : `"${otherIp}"`}] }
listen: { host: 0.0.0.0, port: 4242 }
tun: { dev: ${NEBULA}, mtu: 1300 }
firewall: { outbound: [{ port: any, proto: any, host: any }], inbound: [{ port: any, proto: any, host: any }] }
`;
  await cert('sign', '-name', 'left', '-ip', '10.66.0.1/24');
  await cert('sign', '-name', 'right', '-ip', '10.66.0.2/24');
  await writeFile(join(folder, 'left.yml'), config('left', right, '10.66.0.2', true));
  await writeFile(join(folder, 'right.yml'), config('right', left, '10.66.0.1', false));
  const running = [
    left.spawn('nebula', ['-config', join(folder, 'left.yml')]),
    right.spawn('nebula', ['-config', join(folder, 'right.yml')]),
  ];
  try {
    return await work({ client: onHost(left), server: onHost(right), address: '10.66.0.2', carriers: running });
  } finally {
    await Promise.all(running.map((child) => child.kill()));
  }
}

const lab = await createLab({
  hosts: { left: { lan: 'internet' }, right: { lan: 'internet' }, cloud: { lan: 'internet' } },
});
const folder = await mkdtemp(join(tmpdir(), 'cni-bench-'));
try {
  const [left, right] = [lab.host('left'), lab.host('right')];
  await startRelay(lab.host('cloud'), folder);
  const direct: Way = { client: onHost(left), server: onHost(right), address: right.address() };
  const near = await withNodes(lab, folder, true, ({ left: a, right: b, address }) =>
    withBridges(lab, (byHand) =>
      compare({ wire: direct, byHand, lan: { client: inPod(a), server: inPod(b), address } }),
    ),
  );
  const far = await withNodes(lab, folder, false, (pair) =>
    withNebula(lab, folder, async (nebula) => {
      const carriers = [pair.left.process, pair.right.process];
      const tunnel: Way = { client: inPod(pair.left), server: inPod(pair.right), address: pair.address, carriers };
      const own = { wire: direct, tunnel };
      const numbers: Record<keyof typeof own, Numbers> & { nebula?: Numbers } =
        nebula === undefined ? await compare(own) : await compare({ ...own, nebula });
      const { peers } = await pair.left.status();
      return { ...numbers, path: peers[0]?.path, loaded: await underLoad(lab, pair) };
    }),
  );
  console.log(JSON.stringify({ near, far }, null, 1));
  const { wire, tunnel, nebula } = far;
  const [ofHand, ofWire] = [near.byHand, near.wire].map(({ oneStream }) => rounded(near.lan.oneStream / oneStream));
  console.log(`LAN path: ${ofHand} of pods connected by hand, ${ofWire} of the wire without pods`);
  console.log(`tunnel: ${rounded(tunnel.oneStream / wire.oneStream)} of the wire, ${tunnel.cpuPerGB} s of CPU per GB`);
  if (nebula !== undefined) {
    const [speed, cpu] = [tunnel.oneStream / nebula.oneStream, (nebula.cpuPerGB ?? 0) / (tunnel.cpuPerGB ?? 1)];
    console.log(`tunnel: ${rounded(speed)} times as fast as Nebula, with ${rounded(1 / cpu)} of its CPU per GB`);
  }
  console.log(`ping over the tunnel: ${rounded(tunnel.pingMs - wire.pingMs)} ms more than the wire`);
} finally {
  await lab[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
}
