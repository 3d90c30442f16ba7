import type { LabMachine } from '@edgemesh/testkit/netns';
import type { ServicePlan } from '../harness/manifests.ts';
import type { Row } from './report.ts';
import { iperf, type WrkResult, wrk } from './tools.ts';

export const HTTP_PORT = 8090;
/** Services have a port of their own: what the kernel has translated must not meet closed direct connections of the same ports. */
export const SERVICE_PORT = 8091;
export const IPERF_PORT = 5201;
export const WEB_IP = '10.96.9.1';
export const IPERF_IP = '10.96.9.2';

/** Services over the two servers of the benchmarks. */
export function benchServices(node: string, address: string): ServicePlan[] {
  const endpoints = [{ address, node }];
  return [
    { name: 'web', clusterIP: WEB_IP, ports: [{ name: 'tcp-web', port: 80, targetPort: SERVICE_PORT }], endpoints },
    { name: 'iperf', clusterIP: IPERF_IP, ports: [{ name: 'tcp-iperf', port: IPERF_PORT }], endpoints },
  ];
}

/** A way from a client to the two servers. */
export interface Way {
  readonly client: LabMachine;
  readonly web: string;
  readonly iperf: string;
}

/** Bulk, keep-alive, new connections, and requests beside bulk over a direct way and one through the mesh, in turns. */
export async function compareTraffic(scenario: string, direct: Way, mesh: Way, seconds: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const streams of [1, 4]) {
    const pair = [
      await iperf(direct.client, direct.iperf, IPERF_PORT, seconds, streams),
      await iperf(mesh.client, mesh.iperf, IPERF_PORT, seconds, streams),
    ];
    rows.push({
      scenario,
      what: `iperf3, ${streams} stream${streams > 1 ? 's' : ''}`,
      unit: 'Mbit/s',
      direct: pair[0] as number,
      mesh: pair[1] as number,
    });
  }
  const load = async (what: string, connections: number, close: boolean) => {
    for (const way of [direct, mesh]) await wrk(way.client, way.web, WARM_UP_SECONDS, connections, close);
    const a = await wrk(direct.client, direct.web, seconds, connections, close);
    const b = await wrk(mesh.client, mesh.web, seconds, connections, close);
    rows.push(compareWrk(scenario, what, a, b));
  };
  await load('wrk keep-alive, 32 connections', 32, false);
  await load('wrk Connection: close, 16', 16, true);
  await load('wrk Connection: close, 64', 64, true);
  rows.push(compareWrk(scenario, INTERACTIVE, await besideBulk(direct, seconds), await besideBulk(mesh, seconds)));
  return rows;
}

/** What has just started is still being compiled; an agent runs for months. */
const WARM_UP_SECONDS = 3;
const INTERACTIVE = 'wrk keep-alive, 1 connection beside a bulk stream';

/** One request after the other while iperf3 fills the path: what an interactive user feels. */
async function besideBulk(way: Way, seconds: number): Promise<WrkResult> {
  const bulk = iperf(way.client, way.iperf, IPERF_PORT, seconds + 1);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const requests = await wrk(way.client, way.web, seconds, 1);
  await bulk;
  return requests;
}

export function compareWrk(scenario: string, what: string, direct: WrkResult, mesh: WrkResult): Row {
  return {
    scenario,
    what,
    unit: 'requests/s',
    direct: direct.requestsPerSecond,
    mesh: mesh.requestsPerSecond,
    p99: [direct.p99Ms, mesh.p99Ms],
    ...(mesh.errors > 0 && { note: `${mesh.errors} errors` }),
  };
}
