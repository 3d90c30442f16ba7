import type { LabMachine } from '@edgemesh/testkit/netns';
import { createMesh } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';
import type { Row } from './report.ts';
import { cpuSeconds, iperf, startIperf, startNginx, type WrkResult, wrk } from './tools.ts';

const PORT = 8090;
const IPERF_PORT = 5201;
/** Short turns, many of them: other work on the machine then hits both ways alike. */
const ROUNDS = 7;

/** A pod and a Service whose endpoint is on its node, or on another one that the kernel has a route to; and many Services. */
export async function benchKernel(seconds: number): Promise<Row[]> {
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
  const [hostA, hostB] = [mesh.host('a'), mesh.host('b')];
  await preparePods(hostA, '10.244.1.1/24');
  await preparePods(hostB, '10.244.2.1/24');
  await hostA.must('ip', ['route', 'add', '10.244.2.0/24', 'via', hostB.address()]);
  await hostB.must('ip', ['route', 'add', '10.244.1.0/24', 'via', hostA.address()]);
  const client = await startPod(hostA, 'client', '10.244.1.3', '10.244.1.1', 24);
  const near = await startPod(hostA, 'near', '10.244.1.2', '10.244.1.1', 24);
  const far = await startPod(hostB, 'far', '10.244.2.2', '10.244.2.1', 24);
  for (const pod of [near, far]) {
    await startNginx(pod, mesh.folder, '0.0.0.0', PORT);
    await startIperf(pod, [IPERF_PORT]);
  }
  const ports = [
    { name: 'web', port: 80, targetPort: PORT },
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
  const agent = await mesh.agent('a', { objects, config: { commonConfig: { logLevel: 'info' } } });
  const rows: Row[] = [];
  for (const [what, direct, service] of [
    ['local', '10.244.1.2', '10.96.9.1'],
    ['routable', '10.244.2.2', '10.96.9.2'],
  ] as const) {
    const scenario = `Service, ${what} endpoint (kernel)`;
    const before = await cpuSeconds(hostA, agent.process.pid);
    const started = performance.now();
    rows.push(...(await compare(scenario, client, direct, service, Math.max(1, Math.round(seconds / 3)))));
    const share = (await cpuSeconds(hostA, agent.process.pid)) - before;
    const percent = (share * 100_000) / (performance.now() - started);
    rows.push({ scenario, what: "agent's CPU meanwhile", unit: '% of a core', mesh: Number(percent.toFixed(2)) });
  }
  return rows;
}

async function compare(
  scenario: string,
  client: LabMachine,
  direct: string,
  service: string,
  seconds: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  const inTurns = async <T>(measure: (mesh: boolean) => Promise<T>) => {
    const [a, b]: [T[], T[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      a.push(await measure(false));
      b.push(await measure(true));
    }
    return [a, b] as const;
  };
  const [bulkDirect, bulkMesh] = await inTurns((mesh) => iperf(client, mesh ? service : direct, IPERF_PORT, seconds));
  rows.push({ scenario, what: 'iperf3, 1 stream', unit: 'Mbit/s', direct: median(bulkDirect), mesh: median(bulkMesh) });
  for (const [what, connections, close] of [
    ['wrk keep-alive, 32 connections', 32, false],
    ['wrk Connection: close, 16', 16, true],
  ] as const) {
    const [a, b] = await inTurns((mesh) =>
      wrk(client, mesh ? `http://${service}/` : `http://${direct}:${PORT}/`, seconds, connections, close),
    );
    const rate = (list: readonly WrkResult[]) => median(list.map(({ requestsPerSecond }) => requestsPerSecond));
    const p99 = (list: readonly WrkResult[]) => median(list.map(({ p99Ms }) => p99Ms));
    rows.push({ scenario, what, unit: 'requests/s', direct: rate(a), mesh: rate(b), p99: [p99(a), p99(b)] });
  }
  return rows;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number;
}
