import { createMesh, POD_IP } from '../harness/mesh.ts';
import type { Row } from './report.ts';
import { cpuSeconds, dnsLatency, dnsperf, residentMegabytes, startIperf, startNginx } from './tools.ts';
import { benchServices, compareTraffic, HTTP_PORT, IPERF_IP, IPERF_PORT, SERVICE_PORT, WEB_IP } from './traffic.ts';

/** Two nodes on one switch. Remote: client on a, endpoint on b. Local: client and endpoint on b. */
export async function benchLan(seconds: number): Promise<Row[]> {
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
  const [hostA, hostB] = [mesh.host('a'), mesh.host('b')];
  await hostB.must('ip', ['addr', 'add', `${POD_IP}/32`, 'dev', 'lo']);
  await startNginx(hostB, mesh.folder, '0.0.0.0', HTTP_PORT, SERVICE_PORT);
  await startIperf(hostB, [IPERF_PORT]);
  const services = benchServices('b', POD_IP);
  const [a, b] = [
    await mesh.agent('a', { services, config: QUIET }),
    await mesh.agent('b', { services, config: QUIET }),
  ];
  const rows: Row[] = [];
  const idle = await residentMegabytes(hostA, a.process.pid);

  const direct = { client: hostA, web: `http://${hostB.address()}:${HTTP_PORT}/`, iperf: hostB.address() };
  const remote = { client: hostA, web: `http://${WEB_IP}/`, iperf: IPERF_IP };
  rows.push(...(await compareTraffic('LAN, remote endpoint (tunnel)', direct, remote, seconds)));

  const here = { client: hostB, web: `http://${POD_IP}:${HTTP_PORT}/`, iperf: POD_IP };
  const before = await cpuSeconds(hostB, b.process.pid);
  rows.push(...(await compareTraffic('LAN, local endpoint (kernel)', here, { ...remote, client: hostB }, seconds)));
  const used = (await cpuSeconds(hostB, b.process.pid)) - before;
  rows.push({
    scenario: 'LAN, local endpoint (kernel)',
    what: "agent's CPU meanwhile",
    unit: 'seconds',
    mesh: Number(used.toFixed(2)),
  });

  const names = ['web', 'iperf'].map((name) => `${name}.default.svc.cluster.local`);
  const cpuBefore = await cpuSeconds(hostA, a.process.pid);
  const queries = await dnsperf(hostA, mesh.folder, '169.254.96.16', names, seconds);
  rows.push({ scenario: 'DNS', what: 'dnsperf, 8 clients', unit: 'queries/s', mesh: queries });
  const perQuery = ((await cpuSeconds(hostA, a.process.pid)) - cpuBefore) / (queries * seconds);
  rows.push({ scenario: 'DNS', what: "agent's CPU per query", unit: 'µs', mesh: Number((perQuery * 1e6).toFixed(1)) });
  const p99 = await dnsLatency(hostA, mesh.folder, '169.254.96.16', names, {
    queriesPerSecond: 10_000,
    seconds: Math.min(seconds, 5),
  });
  rows.push({ scenario: 'DNS', what: 'p99 at 10,000 queries/s', unit: 'ms', mesh: p99 });
  rows.push({ scenario: 'memory', what: 'agent, idle', unit: 'MB RSS', mesh: idle });
  rows.push({
    scenario: 'memory',
    what: 'agent, after all of the above',
    unit: 'MB RSS',
    mesh: await residentMegabytes(hostA, a.process.pid),
  });
  return rows;
}

/** Logs at the level that operators run. */
export const QUIET = { commonConfig: { logLevel: 'info' } };
