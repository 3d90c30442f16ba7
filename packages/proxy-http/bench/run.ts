import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort, untilOpen } from './ports.ts';

/*
 * Requests per second of this proxy beside nginx, haproxy and node:http + undici, all in front of the same nginx backend on
 * loopback, in one run. Everybody shares the machine with the load, so the processor time per request is the figure to
 * compare; "of one core" is what it allows when the proxy has a core of its own.
 *
 *     pnpm exec node --conditions=@edgemesh/source packages/proxy-http/bench/run.ts
 */

const run = promisify(execFile);
const SECONDS = 4;
const TICKS_PER_SECOND = 100;
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'edgemesh-bench-'));
const children: ChildProcess[] = [];

async function start(port: number, command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  await untilOpen(port, child);
  return child.pid as number;
}

function nginxConfig(name: string, body: string): string {
  const file = join(folder, `${name}.conf`);
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${name}-${kind};`)
    .join(' ');
  writeFileSync(
    file,
    `daemon off; worker_processes 1; error_log stderr crit; pid ${folder}/${name}.pid;
     events { worker_connections 4096; }
     http { access_log off; keepalive_requests 100000000; ${temp} ${body} }`,
  );
  return file;
}

function haproxyConfig(port: number, h2Port: number, backend: number): string {
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `global
       maxconn 4096
       nbthread 1
     defaults
       mode http
       timeout connect 5s
       timeout client 60s
       timeout server 60s
       http-reuse always
     frontend plain
       bind 127.0.0.1:${port}
       bind 127.0.0.1:${h2Port} proto h2
       default_backend nginx
     backend nginx
       server one 127.0.0.1:${backend}
`,
  );
  return file;
}

/** Processor ticks of a process and its children. */
function ticks(pid: number): number {
  const family = [pid, ...childrenOf(pid)];
  return family.reduce((sum, one) => {
    const fields = readFileSync(`/proc/${one}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return sum + Number(fields[11]) + Number(fields[12]);
  }, 0);
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}

interface Result {
  readonly requests: number;
  readonly perSecond: number;
  readonly p99: string;
}

async function wrk(port: number, connections: number, close: boolean): Promise<Result> {
  const header = close ? ['-H', 'Connection: close'] : [];
  const args = ['-t1', `-c${connections}`, `-d${SECONDS}s`, '--latency', ...header, `http://127.0.0.1:${port}/`];
  const { stdout } = await run('wrk', args);
  return {
    requests: Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0),
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0),
    p99: /99%\s+(\S+)/.exec(stdout)?.[1] ?? '',
  };
}

async function h2load(port: number): Promise<Result> {
  const { stdout } = await run('h2load', ['-D', String(SECONDS), '-c', '8', '-m', '16', `http://127.0.0.1:${port}/`]);
  return {
    requests: Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? 0),
    perSecond: Number(/([\d.]+) req\/s/.exec(stdout)?.[1] ?? 0),
    p99: '',
  };
}

async function measure(what: string, name: string, pid: number, load: () => Promise<Result>): Promise<void> {
  const before = ticks(pid);
  const { requests, perSecond, p99 } = await load();
  const used = Math.max(1, ticks(pid) - before);
  const micros = ((used / TICKS_PER_SECOND) * 1e6) / requests;
  const cells = [what, name, perSecond.toFixed(0), p99, micros.toFixed(1), (1e6 / micros).toFixed(0)];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
}

try {
  const [backend, nginx, nginxH2, haproxy, haproxyH2, ours, undici] = (await Promise.all(
    Array.from({ length: 7 }, freePort),
  )) as [number, number, number, number, number, number, number];
  const proxied =
    'location / { proxy_pass http://be; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }';
  const pids = {
    backend: await start(backend, 'nginx', [
      '-c',
      nginxConfig('backend', `server { listen 127.0.0.1:${backend}; location / { return 200 "hello world\\n"; } }`),
    ]),
    nginx: await start(nginx, 'nginx', [
      '-c',
      nginxConfig(
        'proxy',
        `upstream be { server 127.0.0.1:${backend}; keepalive 256; keepalive_requests 100000000; } server { listen 127.0.0.1:${nginx}; ${proxied} } server { listen 127.0.0.1:${nginxH2} http2; ${proxied} }`,
      ),
    ]),
    haproxy: await start(haproxy, 'haproxy', ['-f', haproxyConfig(haproxy, haproxyH2, backend)]),
    ours: await start(ours, process.execPath, [
      '--conditions=@edgemesh/source',
      here('./ours.ts'),
      String(backend),
      String(ours),
    ]),
    undici: await start(undici, process.execPath, [here('./node-undici.ts'), String(backend), String(undici)]),
  };
  process.stdout.write(
    '| load | proxy | req/s | p99 | µs of processor per request | req/s of one core |\n| --- | --- | --- | --- | --- | --- |\n',
  );
  const all = [
    ['none (backend)', backend, pids.backend],
    ['nginx', nginx, pids.nginx],
    ['haproxy', haproxy, pids.haproxy],
    ['edgemesh', ours, pids.ours],
    ['node:http + undici', undici, pids.undici],
  ] as const;
  for (const [, port] of all) await wrk(port, 8, false); // warm
  for (const [name, port, pid] of all) await measure('h1 keep-alive, 32', name, pid, () => wrk(port, 32, false));
  for (const [name, port, pid] of all) await measure('h1 close, 16', name, pid, () => wrk(port, 16, true));
  const h2 = [
    ['nginx', nginxH2, pids.nginx],
    ['haproxy', haproxyH2, pids.haproxy],
    ['edgemesh', ours, pids.ours],
  ] as const;
  for (const [name, port, pid] of h2) await measure('h2c, 8 x 16', name, pid, () => h2load(port));
} finally {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
}
