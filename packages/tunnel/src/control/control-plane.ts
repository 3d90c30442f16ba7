import { join } from 'node:path';
import { type Clock, ipVersion, noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import { controlDefaults, relayDefaults } from '../options.ts';
import type { CircuitLimits, ControlPlaneOptions, ManagedControlPlane } from './control-options.ts';
import { createHost, type HostOptions } from './host.ts';
import { Members } from './members.ts';
import { createControlMetrics } from './metrics.ts';
import { Plane } from './plane.ts';
import { isNodeName } from './records/codec.ts';
import { RecordStore } from './records/store.ts';
import { Rpc } from './rpc.ts';
import { createJsonFile, type JsonFile } from './state/json-file.ts';
import { Pins } from './state/pins.ts';
import { HandshakeLine } from './transport/handshake-line.ts';
import { pickLocalPort } from './transport/local-port.ts';
import { createSharedPort } from './transport/shared-port.ts';

/** Starts the control plane. Resolves when it listens; everything else happens in the background. */
export async function createControlPlane(options: ControlPlaneOptions): Promise<ManagedControlPlane> {
  validate(options);
  const stack = new AsyncDisposableStack();
  try {
    return await assemble(options, stack);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

function validate(options: ControlPlaneOptions): void {
  if (!isNodeName(options.nodeName)) throw new TunnelError('config', `"${options.nodeName}" is not a node name`);
  if (options.listen.length === 0) throw new TunnelError('config', 'no address to listen on');
  for (const { host } of options.listen) {
    if (ipVersion(host) === 0) throw new TunnelError('config', `cannot listen on "${host}": not an IP address`);
  }
}

async function assemble(options: ControlPlaneOptions, stack: AsyncDisposableStack): Promise<ManagedControlPlane> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const log = (options.log ?? silentLogger).child({ module: 'control' });
  const metrics = createControlMetrics(options.metrics ?? noMetrics);
  const tunables = { ...controlDefaults, ...options.tunables };
  const file = (name: string): JsonFile => {
    const path = options.stateDir === undefined ? undefined : join(options.stateDir, name);
    return stack.use(createJsonFile(path, { log, clock, saveDelayMs: tunables.saveDelayMs }));
  };
  const pins = await Pins.load({ file: file('pins.json'), log, metrics, maxPins: tunables.maxPins });
  const ownName = pins.check(options.nodeName, options.identity.peerId, 'own');
  if (ownName !== undefined) log.warn('our own name is pinned to another key: was the node key replaced?');
  const store = new RecordStore({ file: file('records.json'), pins, tunables, clock, log, metrics });
  await store.load();
  const port = stack.use(await createSharedPort(options.listen, { limits: tunables.port, log, clock, metrics }));
  const localPort = await chooseLocalPort(options.outboundPort ?? 'auto');
  const { connectTimeoutMs, silenceTimeoutMs } = tunables;
  const most = options.maxReservations ?? tunables.maxConnections;
  const members = new Members(options.serveRelay ? most : Number.POSITIVE_INFINITY);
  const line = new HandshakeLine(tunables.maxInboundHandshakes);
  let plane: Plane | undefined;
  const host = await createHost({
    privateKey: options.identity.privateKey,
    psk: { current: options.secrets.current.pnetKey, accepted: options.secrets.accepted.map((keys) => keys.pnetKey) },
    transport: { port, localPort, connectTimeoutMs, silenceTimeoutMs, line, log, metrics },
    listen: port.addresses,
    announce: () => plane?.announced() ?? [],
    relay: options.serveRelay ? relayGrants(members, clock, options.circuits) : undefined,
    dht: options.dht ?? false,
    autonat: options.autonat ?? false,
    tunables,
    metrics,
  });
  stack.defer(async () => host.node.stop());
  const closing = new AbortController();
  stack.defer(() => closing.abort());
  const { signal } = closing;
  const rpc = await Rpc.create({ node: host.node, tunables, log, metrics, signal });
  const shared = { clock, random, log, metrics, tunables, signal, stack };
  const parts = { ...shared, pins, store, port, host, rpc, localPort, members };
  plane = new Plane(options, parts);
  await plane.start();
  return plane;
}

/** A relay of its own, without a tunnel around it, has no limits for circuits. */
const UNLIMITED: CircuitLimits = {
  open: () => ({ start: () => undefined, end: () => undefined }),
  idleMs: relayDefaults.circuitIdleMs,
};

function relayGrants(members: Members, clock: Clock, circuits = UNLIMITED): HostOptions['relay'] {
  const grants = {
    reserve: (peerId: string) => members.host(peerId),
    open: (caller: string, callee: string) => circuits.open(caller, callee),
  };
  return { grants, idleMs: circuits.idleMs, clock };
}

async function chooseLocalPort(wanted: number | 'auto'): Promise<number | undefined> {
  if (wanted === 'auto') return pickLocalPort();
  return wanted === 0 ? undefined : wanted;
}
