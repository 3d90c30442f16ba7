/**
 * How a relay grows: nodes that wait on it, and circuits that it splices. All on loopback, in a handful of processes.
 *
 *   node --expose-gc --conditions=@edgemesh/source bench/scale.ts [clients 2000] [circuits 5000]
 *
 * Prints the relay's resident memory (after a collection) at each step, and the slope.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, systemClock } from '@edgemesh/core';
import { createControlPlane, writePreamble } from '../src/control/index.ts';
import { createNodeIdentity, deriveMeshSecrets } from '../src/identity/index.ts';
import { createRelayClient } from '../src/relay/client.ts';
import { createRelayServer } from '../src/relay-server.ts';

const SECRET = 'a secret for benchmarks only';
const CLIENTS_PER_PROCESS = 250;
const STEPS = 5;
type Message = Readonly<Record<string, number | string>>;

async function runRelay(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'scale-'));
  const relay = await createRelayServer(
    {
      nodeName: 'relay',
      stateDir: folder,
      secrets: [SECRET],
      relay: { maxCircuits: 100_000, maxCircuitsPerPeer: 100_000, circuitIdleMs: 3_600_000, maxReservations: 100_000 },
      control: {
        listen: [{ host: '127.0.0.1', port: 0 }],
        mdns: false,
        tunables: { port: { preambleTimeoutMs: 5_000, maxPendingSockets: 4_096, maxSocketsPerIp: 100_000 } },
      },
    },
    {},
  );
  process.on('message', (message: Message) => {
    if (message.ask !== 'state') return;
    global.gc?.();
    const before = process.cpuUsage();
    setTimeout(() => {
      global.gc?.();
      const { user, system } = process.cpuUsage(before);
      const { rss, heapUsed, external } = process.memoryUsage();
      process.send?.({
        rss,
        heapUsed,
        external,
        cpuPercent: (user + system) / 20_000,
        circuits: relay.relayStatus()?.circuits ?? 0,
        records: relay.control.records().length,
      });
    }, 2_000);
  });
  process.on('disconnect', () => void rm(folder, { recursive: true, force: true }).then(() => process.exit(0)));
  process.send?.({ port: relay.listenAddresses[0]?.port ?? 0 });
}

const planeOf = async (name: string, port: number) => {
  const plane = await createControlPlane({
    identity: await createNodeIdentity(),
    secrets: deriveMeshSecrets([SECRET]),
    nodeName: name,
    listen: [{ host: '127.0.0.1', port: 0 }],
    relays: [{ addresses: [`127.0.0.1:${port}`] }],
    mdns: false,
    extraFilteredInterfaces: ['lo'],
    outboundPort: 0,
    log: silentLogger,
  });
  while (plane.relays()[0]?.state !== 'connected') await new Promise((resolve) => setTimeout(resolve, 20));
  return plane;
};

/** Whole control planes: each greets, reserves, pings, as an agent does. */
async function runClients(port: number, first: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await planeOf(`client-${first + i}`, port);
  process.send?.({ connected: count });
}

/** Two members and as many raw circuits between them as are asked for; a byte goes through each, both ways. */
async function runCircuits(port: number): Promise<void> {
  const far: Socket[] = [];
  const callee = await planeOf('callee', port);
  const caller = await planeOf('caller', port);
  const deps = { writePreamble, connectTimeoutMs: 10_000, clock: systemClock };
  createRelayClient({
    ...deps,
    control: callee,
    onIncoming: (_, { socket }) => {
      far.push(socket as Socket);
      socket.on('data', (chunk) => socket.write(chunk));
    },
  });
  const client = createRelayClient({ ...deps, control: caller, onIncoming: () => undefined });
  const near: Socket[] = [];
  process.on('message', async ({ open }: Message) => {
    while (near.length < Number(open)) {
      const batch = Array.from({ length: 20 }, async () => {
        const { socket } = await client.connect({ peerId: callee.peerId, relays: [] }, AbortSignal.timeout(10_000));
        socket.write(Buffer.alloc(1_024));
        await once(socket, 'data');
        near.push(socket as Socket);
      });
      await Promise.all(batch);
    }
    process.send?.({ opened: near.length });
  });
  process.send?.({ ready: 1 });
}

const ask = (child: ChildProcess, message: Message): Promise<Record<string, number>> => {
  const answer = once(child, 'message').then(([body]) => body as Record<string, number>);
  child.send(message);
  return answer;
};
const start = (...args: string[]): ChildProcess =>
  fork(process.argv[1] as string, args, { execArgv: process.execArgv });
const said = (child: ChildProcess) => once(child, 'message').then(([body]) => body as Record<string, number>);
const mb = (bytes = 0) => (bytes / 1e6).toFixed(1);

async function measure(): Promise<void> {
  const [clients, circuits] = [Number(process.argv[2] ?? 2_000), Number(process.argv[3] ?? 5_000)];
  const children: ChildProcess[] = [];
  const relay = start('relay');
  children.push(relay);
  const { port } = await said(relay);
  const report = async (what: string) => {
    const state = await ask(relay, { ask: 'state' });
    console.log(
      `${what}: RSS ${mb(state.rss)} MB, heap ${mb(state.heapUsed)}, external ${mb(state.external)}, ` +
        `CPU ${state.cpuPercent?.toFixed(1)} %, circuits ${state.circuits}, records ${state.records}`,
    );
    return state.rss ?? 0;
  };
  const empty = await report('empty');
  const pair = start('circuits', String(port));
  children.push(pair);
  await said(pair);
  let last = await report('two members');
  const before = last;
  for (let step = 1; step <= STEPS && circuits > 0; step++) {
    const open = Math.round((circuits * step) / STEPS);
    await ask(pair, { open });
    const now = await report(`${open} circuits`);
    console.log(`  ${((now - last) / (circuits / STEPS) / 1_000).toFixed(1)} KB for each of these`);
    last = now;
  }
  if (circuits > 0) console.log(`slope: ${((last - before) / circuits / 1_000).toFixed(1)} KB per circuit`);
  pair.disconnect();
  pair.kill();
  const base = await report('circuits gone');
  for (let first = 0; first < clients; first += CLIENTS_PER_PROCESS) {
    const child = start('clients', String(port), String(first), String(Math.min(CLIENTS_PER_PROCESS, clients - first)));
    children.push(child);
    const began = performance.now();
    await said(child);
    const seconds = (performance.now() - began) / 1_000;
    last = await report(`${first + CLIENTS_PER_PROCESS} clients (these in ${seconds.toFixed(1)} s)`);
  }
  console.log(
    `slope: ${((last - base) / clients / 1_000).toFixed(1)} KB per client; from ${mb(empty)} to ${mb(last)} MB`,
  );
  for (const child of children) {
    if (child.connected) child.disconnect();
    child.kill();
  }
}

if (process.send !== undefined) process.on('disconnect', () => process.exit(0));
const [, , role, ...args] = process.argv;
if (role === 'relay') await runRelay();
else if (role === 'circuits') await runCircuits(Number(args[0]));
else if (role === 'clients') await runClients(Number(args[0]), Number(args[1]), Number(args[2]));
else await measure();
