import type { LabMachine } from '@edgemesh/testkit/netns';
import { kubeProxyIptables } from '../harness/kube-proxy.ts';
import { createMesh, type Mesh } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';
import { createPodGroup, preparePods, startPod } from '../harness/pods.ts';
import type { Row } from './report.ts';
import { cpuSeconds, iperf, startIperf, startNginx, type WrkResult, wrk } from './tools.ts';
import { HTTP_PORT, IPERF_PORT, SERVICE_PORT } from './traffic.ts';

/** Short turns, many of them: other work on the machine then hits both ways alike. */
const ROUNDS = 7;

/**
 * A pod and a Service whose endpoint is on its node, or on another one that the kernel has a route to. Node c has no agent: its Service
 * is kube-proxy's, by the rules that it writes for iptables.
 */
export async function benchKernel(seconds: number): Promise<Row[]> {
  await using group = await createPodGroup();
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' }, c: { lan: 'home' } } });
  const [hostA, hostB] = [mesh.host('a'), mesh.host('b')];
  await preparePods(hostA, '10.244.1.1/24');
  await preparePods(hostB, '10.244.2.1/24');
  await hostA.must('ip', ['route', 'add', '10.244.2.0/24', 'via', hostB.address()]);
  await hostB.must('ip', ['route', 'add', '10.244.1.0/24', 'via', hostA.address()]);
  const client = await startPod(hostA, 'client', '10.244.1.3', '10.244.1.1', 24, group);
  const near = await startPod(hostA, 'near', '10.244.1.2', '10.244.1.1', 24);
  const far = await startPod(hostB, 'far', '10.244.2.2', '10.244.2.1', 24);
  for (const pod of [near, far]) {
    await startNginx(pod, mesh.folder, '0.0.0.0', HTTP_PORT, SERVICE_PORT);
    await startIperf(pod, [IPERF_PORT]);
  }
  const ports = [
    { name: 'web', port: 80, targetPort: SERVICE_PORT },
    { name: 'iperf', port: IPERF_PORT },
  ];
  const objects = [
    makeNode('a', hostA.address(), { podCIDR: '10.244.1.0/24' }),
    makeNode('b', hostB.address(), { podCIDR: '10.244.2.0/24' }),
    ...makeService({
      name: 'near',
      spec: clusterIP('10.96.9.1'),
      ports,
      endpoints: [{ node: 'a', address: '10.244.1.2' }],
    }),
    ...makeService({
      name: 'far',
      spec: clusterIP('10.96.9.2'),
      ports,
      endpoints: [{ node: 'b', address: '10.244.2.2' }],
    }),
  ];
  const peer = await startPeer(mesh);
  const agent = await mesh.agent('a', {
    objects,
    modules: { edgeProxy: { enable: true, podGroup: group.name } },
    config: { commonConfig: { logLevel: 'info' } },
  });
  const rows: Row[] = [];
  for (const [what, direct, service] of [
    ['local', '10.244.1.2', '10.96.9.1'],
    ['routable', '10.244.2.2', '10.96.9.2'],
  ] as const) {
    const scenario = `Service, ${what} endpoint (kernel)`;
    const before = await cpuSeconds(hostA, agent.process.pid);
    const started = performance.now();
    rows.push(...(await compare(scenario, { client, direct, service, peer }, Math.max(1, Math.round(seconds / 3)))));
    const share = (await cpuSeconds(hostA, agent.process.pid)) - before;
    const percent = (share * 100_000) / (performance.now() - started);
    rows.push({ scenario, what: "agent's CPU meanwhile", unit: '% of a core', mesh: Number(percent.toFixed(2)) });
  }
  return rows;
}

/** kube-proxy's Service of a pod on node c, and who asks for it there. */
async function startPeer(mesh: Mesh): Promise<Target> {
  const host = mesh.host('c');
  await preparePods(host, '10.244.3.1/24');
  const client = await startPod(host, 'peer-client', '10.244.3.3', '10.244.3.1', 24);
  const pod = await startPod(host, 'peer', '10.244.3.2', '10.244.3.1', 24);
  await startNginx(pod, mesh.folder, '0.0.0.0', HTTP_PORT, SERVICE_PORT);
  await startIperf(pod, [IPERF_PORT]);
  const services = [
    { name: 'WEB', clusterIP: '10.96.9.9', port: 80, targetPort: SERVICE_PORT, endpoints: ['10.244.3.2'] },
    { name: 'IPERF', clusterIP: '10.96.9.9', port: IPERF_PORT, targetPort: IPERF_PORT, endpoints: ['10.244.3.2'] },
  ];
  await host.must('sh', ['-ec', kubeProxyIptables(services)]);
  return { client, address: '10.96.9.9' };
}

interface Target {
  readonly client: LabMachine;
  readonly address: string;
}

interface Ways {
  readonly client: LabMachine;
  readonly direct: string;
  readonly service: string;
  readonly peer: Target;
}

async function compare(scenario: string, ways: Ways, seconds: number): Promise<Row[]> {
  const { client, direct, service, peer } = ways;
  const rows: Row[] = [];
  const targets = [{ client, address: direct }, { client, address: service }, peer];
  const inTurns = async <T>(measure: (target: Target) => Promise<T>) => {
    const results: [T[], T[], T[]] = [[], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      // There and back: none is always the one after a pause.
      const order = round % 2 === 0 ? [0, 1, 2] : [2, 1, 0];
      for (const i of order) results[i]?.push(await measure(targets[i] as Target));
    }
    return results;
  };
  const besides = (peerValue: number) => ({ note: `kube-proxy, iptables: ${peerValue.toLocaleString('en')}` });
  const bulk = (await inTurns((target) => iperf(target.client, target.address, IPERF_PORT, seconds))).map(median);
  const [bulkDirect, bulkMesh, bulkPeer] = bulk as [number, number, number];
  rows.push({
    scenario,
    what: 'iperf3, 1 stream',
    unit: 'Mbit/s',
    direct: bulkDirect,
    mesh: bulkMesh,
    ...besides(bulkPeer),
  });
  for (const [what, connections, close] of [
    ['wrk keep-alive, 32 connections', 32, false],
    ['wrk Connection: close, 16', 16, true],
  ] as const) {
    const [a, b, c] = await inTurns((target) => {
      const port = target.address === direct ? HTTP_PORT : 80;
      return wrk(target.client, `http://${target.address}:${port}/`, seconds, connections, close);
    });
    const rate = (list: readonly WrkResult[]) => median(list.map(({ requestsPerSecond }) => requestsPerSecond));
    const p99 = (list: readonly WrkResult[]) => median(list.map(({ p99Ms }) => p99Ms));
    const row = { scenario, what, unit: 'requests/s', direct: rate(a), mesh: rate(b) };
    rows.push({ ...row, p99: [p99(a), p99(b)], ...besides(rate(c)) });
  }
  return rows;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}
