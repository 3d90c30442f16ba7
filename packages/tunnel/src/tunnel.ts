import {
  type ByteStream,
  type Datagrams,
  type DialOptions,
  type DialTarget,
  MeshError,
  messageOf,
  noMetrics,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { type CircuitLimits, createControlPlane, type ManagedControlPlane } from './control/index.ts';
import { TunnelError } from './errors.ts';
import { deriveMeshSecrets, loadNodeIdentity, type MeshSecrets, type NodeIdentity } from './identity/index.ts';
import { type PathOptions, pathDefaults, type RelayLimits, relayDefaults } from './options.ts';
import { assemblePaths, type Paths } from './paths/assembly.ts';
import { createDeferredDatagrams, createDeferredStream } from './paths/deferred-stream.ts';
import type { PathTransition } from './paths/machine.ts';
import { PeerLink } from './paths/peer-link.ts';
import type { ChannelTarget } from './paths/waiting-line.ts';
import type { PortMappingStatus } from './port-mapping/index.ts';
import type { NatStatus } from './reach/nat-watch.ts';
import { createReach, type Reach } from './reach/reach.ts';
import { CircuitBook, type RelayStatus } from './relay/circuit-book.ts';
import { createSessionTable, type SessionTable } from './session/index.ts';
import type { Tunnel, TunnelDeps, TunnelOptions } from './tunnel-api.ts';
import type { Carrier, PathKind, PeerStatus, RelayState, SocketAddress } from './types.ts';

/** How often unused links are looked at, in milliseconds. */
const SWEEP_MS = 5_000;

/** Starts the tunnel: listening when it resolves; relays and peers are sought in the background. */
export async function createTunnel(options: TunnelOptions, deps: TunnelDeps): Promise<Tunnel> {
  if (options.secrets.length === 0) throw new TunnelError('config', 'a mesh secret is required');
  if (options.nodeName === '') throw new TunnelError('config', 'the node name is empty: set NODE_NAME');
  const identity = await loadNodeIdentity(`${options.stateDir}/node.key`);
  const secrets = deriveMeshSecrets(options.secrets);
  const { log = silentLogger, metrics = noMetrics, clock = systemClock } = deps;
  const limits = { ...relayDefaults, ...options.relay };
  const book = options.control.serveRelay ? new CircuitBook(limits, { metrics, clock }) : undefined;
  const control = await createControlPlane({
    ...options.control,
    maxReservations: limits.maxReservations,
    ...(book && { circuits: circuitLimits(book, limits) }),
    capabilities: [...(options.control.capabilities ?? []), ...(options.holePunch === false ? [] : ['punch'])],
    identity,
    secrets,
    nodeName: options.nodeName,
    stateDir: options.stateDir,
    log,
    metrics,
    clock,
  });
  return new MeshTunnel(options, { ...deps, log, metrics, clock }, { identity, secrets, control, book });
}

function circuitLimits(book: CircuitBook, { circuitIdleMs }: RelayLimits): CircuitLimits {
  return { open: (caller, callee) => book.open('libp2p', caller, callee), idleMs: circuitIdleMs };
}

type FilledDeps = TunnelDeps & Required<Pick<TunnelDeps, 'log' | 'metrics' | 'clock'>>;

interface Parts {
  readonly identity: NodeIdentity;
  readonly secrets: MeshSecrets;
  readonly control: ManagedControlPlane;
  readonly book: CircuitBook | undefined;
}

class MeshTunnel implements Tunnel {
  readonly peerId: string;
  readonly nodeName: string;
  readonly control: ManagedControlPlane;
  readonly #deps: FilledDeps;
  readonly #options: PathOptions;
  readonly #sessions: SessionTable;
  readonly #links = new Map<string, PeerLink>();
  readonly #listeners = new Set<(nodeName: string, transition: PathTransition) => void>();
  readonly #paths: Paths;
  readonly #reach: Reach;
  readonly #abort = new AbortController();
  readonly #cleanup: (() => void)[] = [];
  readonly #transitions;
  #sweepTimer: Timer | undefined;
  #connectedRelays = '';

  constructor(options: TunnelOptions, deps: FilledDeps, parts: Parts) {
    const { control, identity } = parts;
    this.peerId = identity.peerId;
    this.nodeName = options.nodeName;
    this.control = control;
    this.#deps = deps;
    this.#options = { ...pathDefaults, ...options.paths };
    this.#transitions = deps.metrics.counter({
      name: 'edgemesh_tunnel_path_transitions_total',
      help: 'Changes of the path to a peer.',
      labels: ['from', 'to'],
    });
    this.#sessions = createSessionTable({
      ...deps,
      identity,
      nodeName: options.nodeName,
      options: options.session,
      onEvent: ({ type, session }) => {
        if (type === 'suspect') this.#links.get(session.nodeName)?.suspect();
        else if (type === 'trusted') this.#links.get(session.nodeName)?.trust();
      },
    });
    this.#reach = createReach(options, { ...deps, control });
    this.#paths = assemblePaths(options, {
      ...deps,
      ...parts,
      nat: this.#reach.nat,
      attemptTimeoutMs: this.#options.attemptTimeoutMs,
      signal: this.#abort.signal,
      onCarrier: (carrier) => this.#welcome(carrier),
    });
    this.#cleanup.push(
      () => this.#sweepTimer?.cancel(),
      control.onRecord((record) => this.#links.get(record.nodeName)?.learn(record)),
      control.onRelays((relays) => this.#onRelays(relays)),
      control.onNetworkChange(() => {
        this.#sessions.probe();
        for (const link of this.#links.values()) link.networkChanged();
      }),
      this.#sessions.onStateChange((session) => this.#links.get(session.nodeName)?.reconcile()),
    );
    this.#scheduleSweep();
  }

  get listenAddresses(): readonly SocketAddress[] {
    return this.control.listenAddresses;
  }

  /** Relays that came or went may make possible what failed before; a new round-trip time does not. */
  #onRelays(relays: readonly RelayState[]): void {
    const connected = relays.map((relay) => (relay.state === 'connected' ? relay.peerId : '')).join();
    if (connected === this.#connectedRelays) return;
    this.#connectedRelays = connected;
    for (const link of this.#links.values()) link.networkChanged();
  }

  /** A peer that came by itself: its session, and a look for a better way to it. */
  #welcome(carrier: Carrier): void {
    this.#sessions.attach(carrier);
    const link = this.#linkTo(carrier.nodeName);
    link?.introduce();
    link?.reconcile();
  }

  #linkTo(nodeName: string): PeerLink | undefined {
    const known = this.#links.get(nodeName);
    if (known !== undefined) return known;
    if (this.#abort.signal.aborted || this.#links.size >= this.#options.maxPeers) return undefined;
    const link = new PeerLink(nodeName, {
      control: this.control,
      sessions: this.#sessions,
      servesRelay: this.#paths.relayService !== undefined,
      strategies: this.#paths.strategies,
      options: this.#options,
      clock: this.#deps.clock,
      log: this.#deps.log,
      onTransition: (name, transition) => this.#announce(name, transition),
    });
    this.#links.set(nodeName, link);
    const record = this.control.records().find((candidate) => candidate.nodeName === nodeName);
    if (record !== undefined) link.learn(record);
    return link;
  }

  #announce(nodeName: string, transition: PathTransition): void {
    this.#deps.log.info('path changed', { node: nodeName, ...transition });
    this.#transitions.with(transition.from ?? 'none', transition.to ?? 'none').add();
    for (const listener of this.#listeners) listener(nodeName, transition);
  }

  /** The link to the target's node. Throws MeshError where there is no room or sense. */
  #requireLink(nodeName: string | undefined): PeerLink {
    if (!nodeName || nodeName === this.nodeName) {
      throw new MeshError('unreachable', `the tunnel dials other nodes, not ${JSON.stringify(nodeName)}`);
    }
    const link = this.#linkTo(nodeName);
    if (link !== undefined) return link;
    if (this.#abort.signal.aborted) throw new MeshError('shutdown', 'the tunnel is closing');
    throw new MeshError('limit', `no room for another peer (maxPeers ${this.#options.maxPeers})`);
  }

  dial(target: DialTarget, options?: DialOptions): ByteStream {
    try {
      return this.#requireLink(target.nodeName).dial(target, options);
    } catch (error) {
      const failed = createDeferredStream();
      failed.fail(asMeshError(error));
      return failed;
    }
  }

  openDatagrams(target: DialTarget, options?: DialOptions): Datagrams {
    return this.#openChannel(target.nodeName, { address: target.address, port: target.port }, options);
  }

  openPackets(nodeName: string): Datagrams {
    return this.#openChannel(nodeName, { address: '', port: 0, kind: 'packets' });
  }

  #openChannel(nodeName: string | undefined, target: ChannelTarget, options?: DialOptions): Datagrams {
    try {
      return this.#requireLink(nodeName).openDatagrams(target, options);
    } catch (error) {
      const failed = createDeferredDatagrams();
      failed.fail(asMeshError(error));
      return failed;
    }
  }

  peers(): readonly PeerStatus[] {
    return [...this.#links.values()].map((link) => link.status());
  }

  relays(): readonly RelayState[] {
    return this.control.relays();
  }

  relayStatus(): RelayStatus | undefined {
    return this.#paths.relayService?.status();
  }

  nat(): NatStatus {
    return this.#reach.nat.status();
  }

  portMapping(): PortMappingStatus | undefined {
    return this.#reach.portMapping();
  }

  pathTo(nodeName: string): PathKind | undefined {
    return this.#links.get(nodeName)?.status().path;
  }

  onTransition(listener: (nodeName: string, transition: PathTransition) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #scheduleSweep(): void {
    this.#sweepTimer = this.#deps.clock.after(SWEEP_MS, () => {
      for (const [name, link] of this.#links) {
        if (link.sweep() < this.#options.idleSessionMs) continue;
        link.close();
        this.#links.delete(name);
        if (link.peerId !== undefined) this.#sessions.close(link.peerId);
      }
      if (!this.#abort.signal.aborted) this.#scheduleSweep();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort(new TunnelError('closed', 'the tunnel is closing'));
    for (const undo of this.#cleanup) undo();
    for (const link of this.#links.values()) link.close();
    await this.#sessions[Symbol.asyncDispose]();
    this.#paths[Symbol.dispose]();
    await this.#reach[Symbol.asyncDispose]();
    await this.control[Symbol.asyncDispose]();
  }
}

/** What a stream ends with when the tunnel itself cannot help: a full table, or a shutdown. */
function asMeshError(error: unknown): MeshError {
  if (error instanceof MeshError) return error;
  const code = error instanceof TunnelError && error.code === 'limit' ? 'limit' : 'unreachable';
  return new MeshError(code, messageOf(error), { retryable: true, cause: error });
}
