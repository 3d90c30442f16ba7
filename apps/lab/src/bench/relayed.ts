import { createMesh, POD_IP } from '../harness/mesh.ts';
import { QUIET } from './lan.ts';
import type { Row } from './report.ts';
import { residentMegabytes, startIperf, startNginx } from './tools.ts';
import { benchServices, compareTraffic, HTTP_PORT, IPERF_IP, IPERF_PORT, SERVICE_PORT, WEB_IP } from './traffic.ts';

/** Two edges behind different NATs and a public server that splices. Direct: from the server's segment through b's open port. */
export async function benchRelayed(seconds: number): Promise<Row[]> {
  await using mesh = await createMesh({
    hosts: { a: { lan: 'home' }, b: { lan: 'office' }, server: { lan: 'internet' } },
    routers: {
      'nat-a': { lan: 'home' },
      'nat-b': {
        lan: 'office',
        forwards: [
          { protocol: 'tcp', port: HTTP_PORT, host: 'b' },
          { protocol: 'tcp', port: IPERF_PORT, host: 'b' },
        ],
      },
    },
  });
  const [hostA, hostB] = [mesh.host('a'), mesh.host('b')];
  await hostB.must('ip', ['addr', 'add', `${POD_IP}/32`, 'dev', 'lo']);
  await startNginx(hostB, mesh.folder, '0.0.0.0', HTTP_PORT, SERVICE_PORT);
  await startIperf(hostB, [IPERF_PORT]);
  const server = await mesh.server('server');
  const services = benchServices('b', POD_IP);
  const relays = [mesh.host('server').address()];
  const options = { services, relays, config: QUIET, tunnel: { holePunch: 'off' } };
  await mesh.agent('a', options);
  await mesh.agent('b', options);
  const outside = mesh.lab.router('nat-b').address();
  const direct = { client: hostA, web: `http://${outside}:${HTTP_PORT}/`, iperf: outside };
  const rows = await compareTraffic(
    'two NATs, relayed',
    direct,
    { client: hostA, web: `http://${WEB_IP}/`, iperf: IPERF_IP },
    seconds,
  );
  const memory = await residentMegabytes(mesh.host('server'), server.pid);
  return [...rows, { scenario: 'memory', what: 'server, after relaying that', unit: 'MB RSS', mesh: memory }];
}
