import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';

/** Result of one wrk run. */
export interface WrkResult {
  readonly requestsPerSecond: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** Starts iperf3 servers, one per port, bound to all addresses. */
export async function startIperf(machine: LabMachine, ports: readonly number[]): Promise<LabProcess[]> {
  const servers = ports.map((port) => machine.spawn('iperf3', ['-s', '-p', String(port), '--forceflush']));
  await Promise.all(servers.map((server) => server.waitForLine(/Server listening/)));
  return servers;
}

interface IperfReport {
  readonly error?: string;
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number } };
}

/** Megabits per second that the receiver saw. */
export async function iperf(
  machine: LabMachine,
  target: string,
  port: number,
  seconds: number,
  streams = 1,
): Promise<number> {
  const args = ['-c', target, '-p', String(port), '-t', String(seconds), '-O', '1', '-P', String(streams), '-J'];
  const run = async () => {
    const { stdout } = await machine.exec('iperf3', args, { timeoutMs: (seconds + 20) * 1000 });
    return JSON.parse(stdout) as IperfReport;
  };
  let report = await run();
  // The server takes one client at a time, and the end of the last one may still be on its way through a tunnel.
  for (let i = 0; i < 10 && /busy/.test(report.error ?? ''); i++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    report = await run();
  }
  if (report.error !== undefined) throw new Error(`iperf3 to ${target}:${port}: ${report.error}`);
  return Math.round((report.end?.sum_received?.bits_per_second ?? 0) / 1e6);
}

/**
 * wrk closes first where the server's end comes a moment later, as through any proxy. Its 28,000 ports are then in TIME_WAIT within
 * seconds, and what is measured is how it waits for them.
 */
const MANY_PORTS = ['net.ipv4.tcp_tw_reuse=1', 'net.ipv4.ip_local_port_range=10000 65535'];

/** Requests per second of one wrk thread. `close` opens a connection per request. */
export async function wrk(
  machine: LabMachine,
  url: string,
  seconds: number,
  connections: number,
  close = false,
): Promise<WrkResult> {
  const header = close ? ['-H', 'Connection: close'] : [];
  if (close) await machine.must('sysctl', ['-qw', ...MANY_PORTS]);
  const args = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--latency', ...header, url];
  const { stdout, stderr } = await machine.exec('wrk', args, { timeoutMs: (seconds + 20) * 1000 });
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1];
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout);
  if (rate === undefined || p99 === null) throw new Error(`wrk ${url}: ${stderr || stdout}`);
  const unit = { us: 0.001, ms: 1, s: 1000 }[p99[2] as 'us' | 'ms' | 's'];
  const socketErrors =
    /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)?.slice(1) ?? [];
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? '0';
  const errors = [...socketErrors, bad].reduce((sum, text) => sum + Number(text), 0);
  return { requestsPerSecond: Math.round(Number(rate)), p99Ms: Number(p99[1]) * unit, errors };
}

/** Queries per second of dnsperf with eight clients in two threads: one is slower than the server. */
export async function dnsperf(
  machine: LabMachine,
  folder: string,
  server: string,
  names: readonly string[],
  seconds: number,
): Promise<number> {
  const stdout = await runDnsperf(machine, folder, server, names, ['-l', String(seconds), '-q', '200', '-T', '2']);
  return Math.round(Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]));
}

/** The 99th percentile of the latency in milliseconds, at a rate that the server can keep up with. */
export async function dnsLatency(
  machine: LabMachine,
  folder: string,
  server: string,
  names: readonly string[],
  load: { readonly queriesPerSecond: number; readonly seconds: number },
): Promise<number> {
  const options = ['-l', String(load.seconds), '-Q', String(load.queriesPerSecond), '-v'];
  const stdout = await runDnsperf(machine, folder, server, names, options);
  // One line each: `> NOERROR name A 0.000123`.
  const latencies = Float64Array.from(stdout.matchAll(/^> \w+ \S+ \w+ ([\d.]+)$/gm), ([, text]) => Number(text)).sort();
  if (latencies.length < (load.queriesPerSecond * load.seconds) / 2)
    throw new Error(`dnsperf: only ${latencies.length} answers`);
  return Number(((latencies[Math.floor(latencies.length * 0.99)] as number) * 1_000).toFixed(2));
}

async function runDnsperf(
  machine: LabMachine,
  folder: string,
  server: string,
  names: readonly string[],
  options: readonly string[],
): Promise<string> {
  const file = join(folder, 'queries');
  await writeFile(file, `${names.map((name) => `${name} A`).join('\n')}\n`);
  const args = ['-s', server, '-d', file, '-c', '8', ...options];
  const { stdout, stderr } = await machine.exec('dnsperf', args, { timeoutMs: 120_000 });
  if (!stdout.includes('Queries per second')) throw new Error(`dnsperf: ${stderr || stdout}`);
  return stdout;
}

/** Starts nginx with a small static answer on ports of an address; the backend of all HTTP figures. */
export async function startNginx(
  machine: LabMachine,
  folder: string,
  address: string,
  ...ports: readonly [number, ...number[]]
): Promise<LabProcess> {
  const listen = ports.map((port) => `listen ${address}:${port} backlog=4096;`).join(' ');
  const config = join(folder, `nginx-${machine.name}.conf`);
  await writeFile(
    config,
    `daemon off; master_process off; pid ${folder}/nginx-${machine.name}.pid; error_log ${folder}/nginx-error.log;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path ${folder}/nginx-body; proxy_temp_path ${folder}/nginx-proxy; fastcgi_temp_path ${folder}/nginx-fcgi;
  uwsgi_temp_path ${folder}/nginx-uwsgi; scgi_temp_path ${folder}/nginx-scgi;
  server { ${listen} location / { return 200 "hello from nginx, 32 bytes long.\\n"; } }
}
`,
  );
  const child = machine.spawn('nginx', ['-c', config]);
  const probe = async () => (await machine.exec('curl', ['-sf', `http://${address}:${ports[0]}/`])).code === 0;
  for (let i = 0; i < 50; i++) {
    if (await probe()) return child;
    if (!child.running) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nginx does not start: ${child.lines.join('\n')}`);
}

/** Resident memory of a process in megabytes. */
export async function residentMegabytes(machine: LabMachine, pid: number): Promise<number> {
  const status = await machine.must('cat', [`/proc/${pid}/status`]);
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
}

/** CPU seconds that a process has used. */
export async function cpuSeconds(machine: LabMachine, pid: number): Promise<number> {
  const stat = await machine.must('cat', [`/proc/${pid}/stat`]);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** CPU seconds that a process has used, its children included, those that have ended too. */
export async function familyCpuSeconds(machine: LabMachine, pid: number): Promise<number> {
  const children = (await machine.exec('pgrep', ['-P', String(pid)])).stdout.split('\n').filter((line) => line !== '');
  let ticks = 0;
  for (const member of [String(pid), ...children]) {
    const { stdout: stat } = await machine.exec('cat', [`/proc/${member}/stat`]);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / 100;
}
