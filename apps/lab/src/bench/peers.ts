import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LabMachine } from '@edgemesh/testkit/netns';
import { createMesh, POD_IP } from '../harness/mesh.ts';
import { QUIET } from './lan.ts';
import type { Row } from './report.ts';
import { startIperf, startNginx } from './tools.ts';
import {
  benchServices,
  compareTraffic,
  HTTP_PORT,
  IPERF_IP,
  IPERF_PORT,
  SERVICE_PORT,
  type Way,
  WEB_IP,
} from './traffic.ts';

/** EdgeMesh, haproxy as a TLS-to-TLS TCP chain, a plain TCP chain in Node and Nebula, one after the other on the same two nodes. Ratios are to the direct path. */
export async function benchPeers(seconds: number): Promise<Row[]> {
  await using mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
  const [a, b] = [mesh.host('a'), mesh.host('b')];
  await b.must('ip', ['addr', 'add', `${POD_IP}/32`, 'dev', 'lo']);
  await startNginx(b, mesh.folder, '0.0.0.0', HTTP_PORT, SERVICE_PORT);
  await startIperf(b, [IPERF_PORT]);
  const direct: Way = { client: a, web: `http://${b.address()}:${HTTP_PORT}/`, iperf: b.address() };
  const rows: Row[] = [];
  const measure = async (scenario: string, way: Way) =>
    rows.push(...(await compareTraffic(scenario, direct, way, seconds)));

  const chain = await startHaproxyChain(a, b, mesh.folder);
  const local: Way = { client: a, web: `http://127.0.0.1:${HTTP_PORT}/`, iperf: '127.0.0.1' };
  await measure('peer: haproxy, TLS to TLS', local);
  await chain.stop();

  const plain = await startPlainChain(a, b);
  await measure('peer: plain TCP chain of two Node processes', local);
  await plain.stop();

  const nebula = await startNebula(a, b, mesh.folder);
  await measure('peer: Nebula', { client: a, web: `http://${nebula.address}:${HTTP_PORT}/`, iperf: nebula.address });
  await nebula.stop();

  const options = { services: benchServices('b', POD_IP), config: QUIET };
  await mesh.agent('a', options);
  await mesh.agent('b', options);
  await measure('EdgeMesh, same nodes', { client: a, web: `http://${WEB_IP}/`, iperf: IPERF_IP });
  return rows;
}

interface Peer {
  stop(): Promise<void>;
}

/** Two haproxy processes of one thread each: plain TCP in, TLS between them, plain TCP out. */
async function startHaproxyChain(a: LabMachine, b: LabMachine, folder: string): Promise<Peer> {
  const pem = join(folder, 'haproxy.pem');
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await a.must('openssl', [
    'req',
    '-x509',
    ...curve,
    '-keyout',
    `${pem}.key`,
    '-out',
    `${pem}.crt`,
    '-subj',
    '/CN=b',
    '-days',
    '1',
  ]);
  await a.must('sh', ['-c', `cat ${pem}.crt ${pem}.key > ${pem}`]);
  const ports = [HTTP_PORT, IPERF_PORT];
  const config = (listen: (port: number) => string) => `global
  nbthread 1
  maxconn 8000
  tune.ssl.default-dh-param 2048
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${ports.map((port) => `listen port${port}\n${listen(port)}`).join('\n')}
`;
  const tls = 'ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256';
  const near = (port: number) =>
    `  bind 127.0.0.1:${port}\n  server b ${b.address()}:${port + 10_000} ssl verify none ${tls}`;
  const far = (port: number) =>
    `  bind ${b.address()}:${port + 10_000} ssl crt ${pem} ${tls}\n  server here ${POD_IP}:${port}`;
  const start = async (machine: LabMachine, name: string, text: string) => {
    const file = join(folder, `${name}.cfg`);
    await writeFile(file, text);
    return machine.spawn('haproxy', ['-db', '-f', file]);
  };
  const processes = [await start(b, 'haproxy-b', config(far)), await start(a, 'haproxy-a', config(near))];
  await until(
    a,
    ['curl', '-sf', `http://127.0.0.1:${HTTP_PORT}/`],
    processes.flatMap((p) => p.lines),
  );
  return { stop: async () => void (await Promise.all(processes.map((p) => p.kill()))) };
}

/** Two Node processes that only pipe sockets, without any encryption: as near as Node comes to doing nothing. */
async function startPlainChain(a: LabMachine, b: LabMachine): Promise<Peer> {
  const script = fileURLToPath(new URL('chain-main.ts', import.meta.url));
  const start = async (machine: LabMachine, pair: (port: number) => string) => {
    const child = machine.spawn(process.execPath, [script, ...[HTTP_PORT, IPERF_PORT].map(pair)]);
    await child.waitForLine('ready');
    return child;
  };
  const processes = [
    await start(b, (port) => `${b.address()}:${port + 10_000}=${POD_IP}:${port}`),
    await start(a, (port) => `127.0.0.1:${port}=${b.address()}:${port + 10_000}`),
  ];
  return { stop: async () => void (await Promise.all(processes.map((p) => p.kill()))) };
}

/** Nebula with default settings; b's address in the overlay. */
async function startNebula(a: LabMachine, b: LabMachine, folder: string): Promise<Peer & { readonly address: string }> {
  const file = (name: string) => join(folder, name);
  const cert = (...args: string[]) => a.must('nebula-cert', args, { cwd: folder });
  await cert('ca', '-name', 'bench', '-out-crt', file('ca.crt'), '-out-key', file('ca.key'));
  const overlay = { a: '192.168.100.1', b: '192.168.100.2' } as const;
  for (const name of ['a', 'b'] as const) {
    const signed = ['-name', name, '-ip', `${overlay[name]}/24`, '-ca-crt', file('ca.crt'), '-ca-key', file('ca.key')];
    await cert('sign', ...signed, '-out-crt', file(`${name}.crt`), '-out-key', file(`${name}.key`));
    await writeFile(
      file(`nebula-${name}.yml`),
      `pki: { ca: ${file('ca.crt')}, cert: ${file(`${name}.crt`)}, key: ${file(`${name}.key`)} }
static_host_map: { "${overlay.a}": ["${a.address()}:4242"], "${overlay.b}": ["${b.address()}:4242"] }
lighthouse: { am_lighthouse: false, hosts: [] }
listen: { host: 0.0.0.0, port: 4242 }
punchy: { punch: false }
tun: { dev: nebula1, mtu: 1300 }
firewall: { outbound: [{ port: any, proto: any, host: any }], inbound: [{ port: any, proto: any, host: any }] }
`,
    );
  }
  const processes = [
    a.spawn('nebula', ['-config', file('nebula-a.yml')]),
    b.spawn('nebula', ['-config', file('nebula-b.yml')]),
  ];
  await until(
    a,
    ['curl', '-sf', '--max-time', '1', `http://${overlay.b}:${HTTP_PORT}/`],
    processes.flatMap((p) => p.lines),
  );
  return { address: overlay.b, stop: async () => void (await Promise.all(processes.map((p) => p.kill()))) };
}

async function until(machine: LabMachine, [command = '', ...args]: string[], log: readonly string[]): Promise<void> {
  for (let i = 0; i < 50; i++) {
    if ((await machine.exec(command, args)).code === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${command} ${args.join(' ')} does not succeed: ${log.slice(-10).join('\n')}`);
}
