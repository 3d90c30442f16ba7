import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  type ByteStream,
  type Clock,
  type Datagrams,
  type Dialer,
  type DialOptions,
  type DialTarget,
  detach,
  type Logger,
  MeshError,
  type Metrics,
  messageOf,
  noMetrics,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import {
  type ControlPlaneOptions,
  createControlPlane,
  type ManagedControlPlane,
  writePreamble,
} from './control/index.ts';
import { TunnelError } from './errors.ts';
import { deriveMeshSecrets, loadNodeIdentity, type MeshSecrets, type NodeIdentity } from './identity/index.ts';
import { type PathOptions, pathDefaults, type RelayLimits, relayDefaults } from './options.ts';
import { formatAddress } from './paths/connect.ts';
import { createDeferredDatagrams, createDeferredStream } from './paths/deferred-stream.ts';
import type { PathTransition } from './paths/machine.ts';
import { pathOfAddress } from './paths/path-of-address.ts';
import { type PathStrategy, PeerLink } from './paths/peer-link.ts';
import { createStrategies, type HandshakeOptions } from './paths/strategies.ts';
import type { NatKind } from './punch/nat-kind.ts';
import { answerObserve } from './punch/observe.ts';
import { createPuncher, type Puncher, type PunchOptions, punchDefaults } from './punch/puncher.ts';
import { createRelayClient, type RelayClient } from './relay/client.ts';
import { createRelayService, type RelayService, type RelayStatus } from './relay/service.ts';
import { createSessionTable, type SessionOptions, type SessionTable, secureCarrier } from './session/index.ts';
import type {
  Carrier,
  DataPreamble,
  InboundHandler,
  PathKind,
  PeerStatus,
  RelayState,
  SocketAddress,
} from './types.ts';

export interface TunnelOptions {
  /** Kubernetes node name; pinned to this node's key by everybody who sees it. */
  readonly nodeName: string;
  /** Folder for the node key, pins and the record cache; created when absent. */
  readonly stateDir: string;
  /** Mesh secrets: the first is used, all are accepted (rotation). At least one. */
  readonly secrets: readonly string[];
  /** Path attempts and retries. */
  readonly paths?: Partial<PathOptions>;
  /** Stream and memory limits of the sessions. */
  readonly session?: Partial<SessionOptions>;
  /** Open direct paths through NATs where a relay helps. Default true. */
  readonly holePunch?: boolean;
  readonly punch?: Partial<PunchOptions>;
  /** Grants of the relay; with `control.serveRelay` only. */
  readonly relay?: Partial<RelayLimits>;
  /** The rest of the control plane's options: listen, relays, advertise, mdns, serveRelay, ... */
  readonly control: Omit<ControlPlaneOptions, 'identity' | 'secrets' | 'nodeName' | 'stateDir'>;
}

export interface TunnelDeps {
  /** Decides what peers may reach here. */
  readonly inbound: InboundHandler;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** Streams to other nodes by node name, whatever lies between. */
export interface Tunnel extends Dialer, AsyncDisposable {
  readonly peerId: string;
  readonly nodeName: string;
  readonly listenAddresses: readonly SocketAddress[];
  /** `target.nodeName` is required; streams may be written to before a path exists. */
  dial(target: DialTarget, options?: DialOptions): ByteStream;
  openDatagrams(target: DialTarget, options?: DialOptions): Datagrams;
  /** A channel of IP packets to a node, for the pod network. */
  openPackets(nodeName: string): Datagrams;
  peers(): readonly PeerStatus[];
  relays(): readonly RelayState[];
  /** What this node relays for others; undefined when it is no relay. */
  relayStatus(): RelayStatus | undefined;
  /** What is between this node and the relays; undefined until it mattered. */
  natKind(): NatKind | undefined;
  /** The path in use to a node. */
  pathTo(nodeName: string): PathKind | undefined;
  onTransition(listener: (nodeName: string, transition: PathTransition) => void): () => void;
  readonly control: ManagedControlPlane;
}

/** How often unused links are looked at, in milliseconds. */
const SWEEP_MS = 5_000;

/** Starts the tunnel: listening when it resolves; relays and peers are sought in the background. */
export async function createTunnel(options: TunnelOptions, deps: TunnelDeps): Promise<Tunnel> {
  if (options.secrets.length === 0) throw new TunnelError('config', 'a mesh secret is required');
  if (options.nodeName === '') throw new TunnelError('config', 'the node name is empty: set NODE_NAME');
  const identity = await loadNodeIdentity(`${options.stateDir}/node.key`);
  const secrets = deriveMeshSecrets(options.secrets);
  const { log = silentLogger, metrics = noMetrics, clock = systemClock } = deps;
  const control = await createControlPlane({
    ...options.control,
    capabilities: [...(options.control.capabilities ?? []), ...(options.holePunch === false ? [] : ['punch'])],
    identity,
    secrets,
    nodeName: options.nodeName,
    stateDir: options.stateDir,
    log,
    metrics,
    clock,
  });
  return new MeshTunnel(options, { inbound: deps.inbound, log, metrics, clock }, { identity, secrets, control });
}

interface Parts {
  readonly identity: NodeIdentity;
  readonly secrets: MeshSecrets;
  readonly control: ManagedControlPlane;
}

class MeshTunnel implements Tunnel {
  readonly peerId: string;
  readonly nodeName: string;
  readonly control: ManagedControlPlane;
  readonly #parts: Parts;
  readonly #deps: Required<TunnelDeps>;
  readonly #paths: PathOptions;
  readonly #sessions: SessionTable;
  readonly #links = new Map<string, PeerLink>();
  readonly #listeners = new Set<(nodeName: string, transition: PathTransition) => void>();
  readonly #relayClient: RelayClient;
  readonly #relayService: RelayService | undefined;
  readonly #puncher: Puncher | undefined;
  readonly #strategies: Readonly<Partial<Record<PathKind, PathStrategy>>>;
  readonly #abort = new AbortController();
  readonly #cleanup: (() => void)[] = [];
  readonly #transitions;
  #sweepTimer: Timer | undefined;
  #connectedRelays = '';

  constructor(options: TunnelOptions, deps: Required<TunnelDeps>, parts: Parts) {
    const { control, identity } = parts;
    const { log, metrics, clock } = deps;
    this.peerId = identity.peerId;
    this.nodeName = options.nodeName;
    this.control = control;
    this.#parts = parts;
    this.#deps = deps;
    this.#paths = { ...pathDefaults, ...options.paths };
    this.#transitions = metrics.counter({
      name: 'edgemesh_tunnel_path_transitions_total',
      help: 'Changes of the path to a peer.',
      labels: ['from', 'to'],
    });
    this.#sessions = createSessionTable({
      identity,
      nodeName: options.nodeName,
      inbound: deps.inbound,
      options: options.session,
      log,
      metrics,
      clock,
    });
    this.#relayClient = createRelayClient({
      control,
      writePreamble,
      connectTimeoutMs: this.#paths.attemptTimeoutMs,
      onIncoming: (from, { socket, remoteAddress, relayPeerId }) => {
        // A relay that calls for itself is at the other end of this very socket.
        const path = from === relayPeerId ? 'direct' : 'relayed';
        detach('called peer', log, this.#secure(socket, { role: 'server', path, remoteAddress, expectedPeerId: from }));
      },
    });
    if (options.control.serveRelay) {
      const limits = { ...relayDefaults, ...options.relay };
      this.#relayService = createRelayService({ control, limits, log, metrics, clock });
    }
    this.#puncher = options.holePunch === false ? undefined : this.#createPuncher(options);
    this.#strategies = createStrategies({
      control,
      relayClient: this.#relayClient,
      relayService: this.#relayService,
      puncher: this.#puncher,
      handshake: (socket, about, signal) => this.#handshake(socket, about, signal),
    });
    control.onDataSocket((socket, preamble) => this.#accept(socket, preamble));
    this.#cleanup.push(
      () => this.#sweepTimer?.cancel(),
      control.onRecord((record) => this.#links.get(record.nodeName)?.learn(record)),
      control.onRelays((relays) => this.#onRelays(relays)),
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

  #createPuncher(options: TunnelOptions): Puncher {
    const { log, clock } = this.#deps;
    return createPuncher({
      control: this.control,
      connectPeer: (record, signal) => this.control.connectPeer(record, signal),
      onPunched: (peerId, socket, peer) => {
        const about = {
          role: 'server',
          path: 'punched',
          remoteAddress: formatAddress(peer),
          expectedPeerId: peerId,
        } as const;
        detach('punched peer', log, this.#secure(socket, about));
      },
      options: { ...punchDefaults, ...options.punch },
      clock,
      log,
    });
  }

  #accept(socket: Socket, preamble: DataPreamble): void {
    if (preamble.kind !== 'direct') {
      if (this.#relayService === undefined) socket.destroy();
      else if (preamble.kind === 'ticket') this.#relayService.accept(socket, preamble);
      else answerObserve(socket, this.#paths.attemptTimeoutMs);
      return;
    }
    const remoteAddress = formatAddress({ host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 });
    const path = pathOfAddress(socket.remoteAddress);
    detach('inbound peer', this.#deps.log, this.#secure(socket, { role: 'server', path, remoteAddress }));
  }

  /** Handshake on a socket that a peer brought; a failure is logged and counted, nobody waits for it. */
  async #secure(socket: Duplex, about: HandshakeOptions): Promise<void> {
    try {
      const carrier = await this.#handshake(socket, about, AbortSignal.timeout(this.#paths.attemptTimeoutMs));
      this.#sessions.attach(carrier);
      const link = this.#linkTo(carrier.nodeName);
      link?.introduce();
      link?.reconcile();
    } catch (error) {
      this.#deps.log.info('a peer did not get in', {
        from: about.remoteAddress,
        path: about.path,
        reason: messageOf(error),
      });
    }
  }

  #handshake(socket: Duplex, about: HandshakeOptions, signal: AbortSignal): Promise<Carrier> {
    return secureCarrier(socket, {
      ...about,
      identity: this.#parts.identity,
      secrets: this.#parts.secrets,
      nodeName: this.nodeName,
      pins: (nodeName, peerId) => this.#checkPin(nodeName, peerId),
      signal: AbortSignal.any([signal, this.#abort.signal]),
      timeoutMs: this.#paths.attemptTimeoutMs,
    });
  }

  #checkPin(nodeName: string, peerId: string): TunnelError | undefined {
    const pinned = this.control.pinnedPeer(nodeName);
    if (pinned === undefined || pinned === peerId) return undefined;
    return new TunnelError(
      'identity',
      `node ${nodeName} is pinned to ${pinned}, but ${peerId} claims its name. If the node was reinstalled, forget its pin.`,
    );
  }

  #linkTo(nodeName: string): PeerLink | undefined {
    const known = this.#links.get(nodeName);
    if (known !== undefined) return known;
    if (this.#abort.signal.aborted || this.#links.size >= this.#paths.maxPeers) return undefined;
    const link = new PeerLink(nodeName, {
      control: this.control,
      sessions: this.#sessions,
      servesRelay: this.#relayService !== undefined,
      strategies: this.#strategies,
      options: this.#paths,
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
    throw new MeshError('limit', `no room for another peer (maxPeers ${this.#paths.maxPeers})`);
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
    return this.#relayService?.status();
  }

  natKind(): NatKind | undefined {
    return this.#puncher?.natKind();
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
        if (link.sweep() < this.#paths.idleSessionMs) continue;
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
    this.#puncher?.[Symbol.dispose]();
    this.#relayService?.[Symbol.dispose]();
    await this.control[Symbol.asyncDispose]();
  }
}

interface ChannelTarget {
  readonly address: string;
  readonly port: number;
  readonly kind?: 'udp' | 'packets';
}

/** What a stream ends with when the tunnel itself cannot help: a full table, or a shutdown. */
function asMeshError(error: unknown): MeshError {
  if (error instanceof MeshError) return error;
  const code = error instanceof TunnelError && error.code === 'limit' ? 'limit' : 'unreachable';
  return new MeshError(code, messageOf(error), { retryable: true, cause: error });
}
