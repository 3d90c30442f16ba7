import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';
import { istioGateway, makeCertificate, tlsSecret, toService, virtualService } from '../harness/gateway-objects.ts';
import { createMesh, type Mesh } from '../harness/mesh.ts';
import { QUIET } from './lan.ts';
import type { Row } from './report.ts';
import { cpuSeconds, residentMegabytes, startNginx, type WrkResult, wrk } from './tools.ts';

const BACKEND = 8090;
const WS_BACKEND = 8091;
/** Ports of the gateway, nginx and haproxy: plain, and TLS. */
const PORTS = { edgemesh: [80, 443], nginx: [81, 444], haproxy: [82, 445] } as const;
type Proxy = keyof typeof PORTS;

interface Figure extends WrkResult {
  /** Microseconds of processor time of the proxy per request. */
  readonly cpuMicros: number;
}

/**
 * The gateway, nginx and haproxy on one machine, one process with one thread each, in front of the same nginx on another; the
 * client is a third. Then the gateway alone with its backend behind the tunnel.
 */
export async function benchGateway(seconds: number): Promise<Row[]> {
  await using mesh = await createMesh({
    hosts: { client: { lan: 'lab' }, gw: { lan: 'lab' }, web: { lan: 'lab' } },
  });
  const [client, gw, web] = [mesh.host('client'), mesh.host('gw'), mesh.host('web')];
  const certificate = await makeCertificate(gw, mesh.folder, 'bench', ['bench.test']);
  await startNginx(web, mesh.folder, '0.0.0.0', BACKEND);
  await web.node(script('ws-echo-main.ts'), ['0.0.0.0', String(WS_BACKEND)]).waitForLine('ready');
  const ports = [{ name: 'http', port: 80, targetPort: BACKEND }];
  const server = (port: number, protocol: string, tls?: object) => ({
    port: { number: port, name: `${protocol}-${port}`, protocol },
    hosts: ['*'],
    ...(tls && { tls }),
  });
  const objects = [
    tlsSecret('bench', certificate),
    istioGateway('bench', [
      server(80, 'HTTP'),
      server(443, 'HTTPS', { mode: 'SIMPLE', credentialName: 'bench' }),
      server(88, 'HTTP'),
    ]),
    virtualService('near', ['*'], ['bench'], {
      http: [
        { match: [{ uri: { prefix: '/ws' } }], ...toService('echo').http[0] },
        { match: [{ port: 80 }, { port: 443 }], ...toService('near').http[0] },
        { match: [{ port: 88 }], ...toService('far').http[0] },
      ],
    }),
  ];
  const services = [
    // Without a node the kernel dials; with one it goes through the tunnel.
    { name: 'near', clusterIP: '10.96.9.1', ports, endpoints: [{ address: web.address(), node: '' }] },
    {
      name: 'echo',
      clusterIP: '10.96.9.3',
      ports: [{ name: 'http', port: 80, targetPort: WS_BACKEND }],
      endpoints: [{ address: web.address(), node: '' }],
    },
    { name: 'far', clusterIP: '10.96.9.2', ports, endpoints: [{ address: web.address(), node: 'web' }] },
  ];
  const agent = await mesh.agent('gw', {
    services,
    objects,
    modules: { edgeDNS: { enable: false }, edgeProxy: { enable: false }, edgeGateway: { enable: true } },
    config: QUIET,
  });
  await mesh.agent('web', {
    services,
    modules: { edgeDNS: { enable: false }, edgeProxy: { enable: false } },
    config: QUIET,
  });
  const processes: Record<Proxy, LabProcess> = {
    edgemesh: agent.process,
    nginx: await startNginxProxy(mesh, gw, web),
    haproxy: await startHaproxy(mesh, gw, web),
  };
  const bench: Bench = { mesh, client, gw, seconds, processes };
  const rows = [
    await compare(bench, 'HTTP/1.1 keep-alive, 32 connections', (url) => wrk(client, url, seconds, 32), 0),
    await compare(bench, 'HTTP/1.1 Connection: close, 16', (url) => wrk(client, url, seconds, 16, true), 0),
    await compare(bench, 'HTTP/1.1 keep-alive over TLS, 32', (url) => wrk(client, url, seconds, 32), 1),
    await compare(bench, 'HTTP/2 over TLS, 8 connections of 8 streams', (url) => h2load(bench, url), 1),
    {
      ...(await compare(bench, 'WebSocket echo of 64 bytes, 32 connections', (url) => webSockets(bench, url), 0)),
      unit: 'messages/s',
    },
  ];
  const far = await measure(bench, 'edgemesh', () => wrk(client, `http://${gw.address()}:88/`, seconds, 32));
  const farClose = await measure(bench, 'edgemesh', () => wrk(client, `http://${gw.address()}:88/`, seconds, 16, true));
  return [
    ...rows,
    rowOf('HTTP/1.1 keep-alive, 32, backend behind the tunnel', far),
    rowOf('HTTP/1.1 Connection: close, 16, backend behind the tunnel', farClose),
    {
      scenario: 'memory',
      what: 'gateway, after all of the above',
      unit: 'MB RSS',
      mesh: await residentMegabytes(gw, agent.process.pid),
    },
  ];
}

interface Bench {
  readonly mesh: Mesh;
  readonly client: LabMachine;
  readonly gw: LabMachine;
  readonly seconds: number;
  readonly processes: Readonly<Record<Proxy, LabProcess>>;
}

/** One load for all three, in turns. `nginx` stands in the column of the direct path. */
async function compare(
  bench: Bench,
  what: string,
  load: (url: string) => Promise<WrkResult>,
  tls: 0 | 1,
): Promise<Row> {
  const figures = {} as Record<Proxy, Figure>;
  for (const proxy of ['nginx', 'haproxy', 'edgemesh'] as const) {
    const url = `${tls === 1 ? 'https' : 'http'}://${bench.gw.address()}:${PORTS[proxy][tls]}/`;
    figures[proxy] = await measure(bench, proxy, () => load(url));
  }
  const { nginx, haproxy, edgemesh } = figures;
  const cpu = `CPU per request: nginx ${nginx.cpuMicros} us, haproxy ${haproxy.cpuMicros} us, EdgeMesh ${edgemesh.cpuMicros} us`;
  return {
    ...rowOf(what, edgemesh),
    direct: nginx.requestsPerSecond,
    p99: [nginx.p99Ms, edgemesh.p99Ms],
    note: `direct is nginx; haproxy ${haproxy.requestsPerSecond.toLocaleString('en')} (${haproxy.p99Ms.toFixed(1)} ms). ${cpu}${errors(figures)}`,
  };
}

function errors(figures: Readonly<Record<Proxy, Figure>>): string {
  const bad = Object.entries(figures).filter(([, figure]) => figure.errors > 0);
  return bad.length === 0 ? '' : `. Errors: ${bad.map(([name, figure]) => `${name} ${figure.errors}`).join(', ')}`;
}

function rowOf(what: string, figure: Figure): Row {
  return {
    scenario: 'gateway',
    what,
    unit: 'requests/s',
    mesh: figure.requestsPerSecond,
    note: `p99 ${figure.p99Ms.toFixed(1)} ms, CPU per request ${figure.cpuMicros} us`,
  };
}

async function measure(bench: Bench, proxy: Proxy, load: () => Promise<WrkResult>): Promise<Figure> {
  const { pid } = bench.processes[proxy];
  const before = await cpuSeconds(bench.gw, pid);
  const result = await load();
  const used = (await cpuSeconds(bench.gw, pid)) - before;
  const requests = Math.max(1, result.requestsPerSecond * bench.seconds);
  return { ...result, cpuMicros: Math.round((used / requests) * 1e6) };
}

/** h2load for the time of the bench; the 99th percentile from its log of every request. */
async function h2load({ client, mesh, seconds }: Bench, url: string): Promise<WrkResult> {
  const log = join(mesh.folder, 'h2load.log');
  const args = ['-t', '1', '-c', '8', '-m', '8', '-D', String(seconds), `--log-file=${log}`, url];
  const { stdout, stderr } = await client.exec('h2load', args, { timeoutMs: (seconds + 20) * 1000 });
  const rate = /finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1];
  const failed = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(stdout);
  const bad = /status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(stdout);
  if (rate === undefined || failed === null || bad === null) throw new Error(`h2load ${url}: ${stderr || stdout}`);
  const times = (await readFile(log, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => Number(line.split('\t')[2]));
  times.sort((a, b) => a - b);
  const sum = [...failed.slice(1), ...bad.slice(1)].reduce((total, text) => total + Number(text), 0);
  return {
    requestsPerSecond: Math.round(Number(rate)),
    p99Ms: (times[Math.floor(times.length * 0.99)] ?? 0) / 1000,
    errors: sum,
  };
}

/** Echoes on 32 WebSockets. */
async function webSockets({ client, seconds }: Bench, url: string): Promise<WrkResult> {
  const load = client.node(script('ws-load-main.ts'), [`${url}ws`, '32', String(seconds)]);
  const line = await load.waitForLine(/^\{/, { timeoutMs: (seconds + 20) * 1000 });
  return JSON.parse(line) as WrkResult;
}

function script(name: string): string {
  return fileURLToPath(new URL(`./${name}`, import.meta.url));
}

/** nginx as a reverse proxy that keeps its connections to the backend, one process. */
async function startNginxProxy({ folder }: Mesh, gw: LabMachine, web: LabMachine): Promise<LabProcess> {
  const config = join(folder, 'nginx-proxy.conf');
  const [plain, tls] = PORTS.nginx;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/proxy-${name};`,
  );
  await writeFile(
    config,
    `daemon off; master_process off; pid ${folder}/nginx-proxy.pid; error_log ${folder}/nginx-proxy-error.log;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; ${temporary.join(' ')}
  upstream echo { server ${web.address()}:${WS_BACKEND}; }
  upstream web { server ${web.address()}:${BACKEND}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen ${plain} backlog=4096; listen ${tls} ssl http2 backlog=4096;
    ssl_certificate ${folder}/bench.crt; ssl_certificate_key ${folder}/bench.key;
    location / { proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; }
    location /ws { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }
  }
}
`,
  );
  return untilServing(gw, gw.spawn('nginx', ['-c', config]), plain);
}

/** haproxy in HTTP mode, one thread. */
async function startHaproxy({ folder }: Mesh, gw: LabMachine, web: LabMachine): Promise<LabProcess> {
  const config = join(folder, 'haproxy.cfg');
  const [plain, tls] = PORTS.haproxy;
  const pem = join(folder, 'bench.pem');
  await writeFile(
    pem,
    (await readFile(`${folder}/bench.crt`, 'utf8')) + (await readFile(`${folder}/bench.key`, 'utf8')),
  );
  await writeFile(
    config,
    `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option http-keep-alive
  option forwardfor
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind :${plain} backlog 4096
  bind :${tls} ssl crt ${pem} alpn h2,http/1.1 backlog 4096
  use_backend echo if { path_beg /ws }
  default_backend web
backend echo
  server echo ${web.address()}:${WS_BACKEND}
backend web
  http-reuse always
  server web ${web.address()}:${BACKEND}
`,
  );
  return untilServing(gw, gw.spawn('haproxy', ['-db', '-f', config]), plain);
}

async function untilServing(machine: LabMachine, child: LabProcess, port: number): Promise<LabProcess> {
  for (let i = 0; i < 50 && child.running; i++) {
    if ((await machine.exec('curl', ['-sf', `http://${machine.address()}:${port}/`])).code === 0) return child;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`the proxy on port ${port} does not start: ${child.lines.join('\n')}`);
}
