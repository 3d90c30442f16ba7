import type { Socket } from 'node:net';
import { join } from 'node:path';
import {
  type Clock,
  detach,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  type Random,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import { peerIdFromString } from '@libp2p/peer-id';
import { TunnelError } from '../errors.ts';
import type { MeshSecrets } from '../identity/mesh-secrets.ts';
import type { NodeIdentity } from '../identity/node-key.ts';
import { type ControlTunables, controlDefaults } from '../options.ts';
import type { ControlPlane, DataPreamble, NodeRecord, RelayState, SocketAddress } from '../types.ts';
import { createHost, type Host } from './host.ts';
import { type Link, Links } from './links.ts';
import type { Hello } from './messages.ts';
import { type ControlMetrics, createControlMetrics } from './metrics.ts';
import { isOnOwnSubnet, ownAddresses, readInterfaces, usableInterfaces } from './own-addresses.ts';
import { type OwnFacts, OwnRecord } from './own-record.ts';
import { isNodeName } from './records/codec.ts';
import { Directory } from './records/directory.ts';
import { plainRecords, RecordStore } from './records/store.ts';
import { parseRelayAddress } from './relays/relay-address.ts';
import { Relays } from './relays/relays.ts';
import { Rpc } from './rpc.ts';
import { createJsonFile, type JsonFile } from './state/json-file.ts';
import { type PinConflict, Pins } from './state/pins.ts';
import { pickLocalPort } from './transport/local-port.ts';
import { fromMultiaddr } from './transport/multiaddrs.ts';
import { createSharedPort, type SharedPort } from './transport/shared-port.ts';

/** A relay as the configuration names it. */
export interface RelayEntry {
  readonly nodeName?: string | undefined;
  /** `ip`, `ip:port`, `host name[:port]`, `[ipv6]:port` or multiaddr; without port, the port we listen on or 20006. */
  readonly addresses: readonly string[];
}

export interface ControlPlaneOptions {
  readonly identity: Pick<NodeIdentity, 'peerId' | 'privateKey'>;
  readonly secrets: { readonly current: ControlKeys; readonly accepted: readonly ControlKeys[] };
  /** Kubernetes node name. */
  readonly nodeName: string;
  /** Addresses to bind, IP and port; port 0 takes any. */
  readonly listen: readonly SocketAddress[];
  readonly relays?: readonly RelayEntry[];
  /** Addresses under which the operator says that this node is reachable from outside; same forms as relay addresses. */
  readonly advertise?: readonly string[];
  /** Looks for members on the LAN by multicast DNS. Default true. */
  readonly mdns?: boolean;
  /** Folder for pins and the record cache; undefined = memory only. */
  readonly stateDir?: string | undefined;
  /** Keep records and circuits for others. Default false. */
  readonly serveRelay?: boolean;
  /** Names for `NodeRecord.capabilities`. */
  readonly capabilities?: readonly string[];
  /** Interfaces whose addresses are advertised; default all. `*` at the end is a wildcard. */
  readonly listenInterfaces?: readonly string[];
  /** Interfaces or address ranges that are not advertised, beyond the built-in ones. */
  readonly extraFilteredInterfaces?: readonly string[];
  /** Local port of outbound control connections: `auto` (default) takes a free one, 0 leaves it to the kernel. */
  readonly outboundPort?: number | 'auto';
  readonly tunables?: Partial<ControlTunables>;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** The parts of the mesh keys that the control plane uses. */
export type ControlKeys = Pick<MeshSecrets['current'], 'pnetKey' | 'lanTag'>;

/** What `createControlPlane` returns: the shared contract, and what only operators and the assembly need. */
export interface ManagedControlPlane extends ControlPlane {
  /** Replaces the configured relays; those that stay keep their connections. Throws TunnelError `config`. */
  setRelays(relays: readonly RelayEntry[]): void;
  /** Lets the next key that claims this node name have it. True when the name was pinned. */
  forgetPin(nodeName: string): boolean;
  onPinConflict(listener: (conflict: PinConflict) => void): () => void;
  /**
   * Sees to it that there is a control connection to the node: an existing one, its addresses, a circuit through a
   * relay. Rejects with TunnelError.
   */
  connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void>;
  /** Local port of outbound control connections; undefined when the kernel chooses. */
  readonly outboundPort: number | undefined;
  /** Our own addresses as connected relays see them: NAT mappings of `outboundPort`. */
  observedAddresses(): readonly { readonly relay: string; readonly address: string }[];
}

/** Port of relays whose address names none; EdgeMesh's own. */
const DEFAULT_PORT = 20_006;

/** Starts the control plane. Resolves when it listens; everything else happens in the background. */
export async function createControlPlane(options: ControlPlaneOptions): Promise<ManagedControlPlane> {
  validate(options);
  const parts = new AsyncDisposableStack();
  try {
    return await assemble(options, parts);
  } catch (error) {
    await parts.disposeAsync();
    throw error;
  }
}

function validate(options: ControlPlaneOptions): void {
  if (!isNodeName(options.nodeName)) throw new TunnelError('config', `"${options.nodeName}" is not a node name`);
  if (options.listen.length === 0) throw new TunnelError('config', 'no address to listen on');
}

async function assemble(options: ControlPlaneOptions, parts: AsyncDisposableStack): Promise<ManagedControlPlane> {
  const clock = options.clock ?? systemClock;
  const log = (options.log ?? silentLogger).child({ module: 'control' });
  const metrics = createControlMetrics(options.metrics ?? noMetrics);
  const tunables = { ...controlDefaults, ...options.tunables };
  const closing = new AbortController();
  const file = (name: string): JsonFile => {
    const path = options.stateDir === undefined ? undefined : join(options.stateDir, name);
    return parts.use(createJsonFile(path, { log, clock, saveDelayMs: tunables.saveDelayMs }));
  };
  const pins = await Pins.load({ file: file('pins.json'), log, metrics, maxPins: tunables.maxPins });
  pins.check(options.nodeName, options.identity.peerId, 'own');
  const store = new RecordStore({ file: file('records.json'), pins, tunables, clock, log, metrics });
  await store.load();
  const port = parts.use(await createSharedPort(options.listen, { limits: tunables.port, log, clock, metrics }));
  const localPort =
    options.outboundPort === 'auto' || options.outboundPort === undefined
      ? await pickLocalPort()
      : options.outboundPort || undefined;
  const host = await createHost({
    privateKey: options.identity.privateKey,
    psk: { current: options.secrets.current.pnetKey, accepted: options.secrets.accepted.map((keys) => keys.pnetKey) },
    transport: {
      port,
      localPort,
      connectTimeoutMs: tunables.connectTimeoutMs,
      silenceTimeoutMs: tunables.silenceTimeoutMs,
      log,
      metrics,
    },
    listen: port.addresses,
    serveRelay: options.serveRelay ?? false,
    tunables,
  });
  parts.defer(async () => {
    await host.node.stop();
  });
  parts.defer(() => closing.abort());
  const rpc = await Rpc.create({ node: host.node, tunables, log, metrics, signal: closing.signal });
  const plane = new Plane(options, {
    clock,
    log,
    metrics,
    tunables,
    pins,
    store,
    port,
    host,
    rpc,
    localPort,
    closing,
    parts,
  });
  await plane.start();
  return plane;
}

interface Parts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  readonly tunables: ControlTunables;
  readonly pins: Pins;
  readonly store: RecordStore;
  readonly port: SharedPort;
  readonly host: Host;
  readonly rpc: Rpc;
  readonly localPort: number | undefined;
  readonly closing: AbortController;
  readonly parts: AsyncDisposableStack;
}

class Plane implements ManagedControlPlane {
  readonly peerId: string;
  readonly nodeName: string;
  readonly outboundPort: number | undefined;
  readonly #options: ControlPlaneOptions;
  readonly #advertise: readonly SocketAddress[];
  readonly #p: Parts;
  readonly #links: Links;
  readonly #relays: Relays;
  readonly #directory: Directory;
  readonly #own: OwnRecord;
  /** Peers that have greeted us or that we have greeted, while connected. */
  readonly #greeted = new Set<string>();

  constructor(options: ControlPlaneOptions, p: Parts) {
    const { tunables, clock, log, metrics, host, rpc, store } = p;
    const signal = p.closing.signal;
    const serveRelay = options.serveRelay ?? false;
    this.#options = options;
    this.#p = p;
    this.peerId = options.identity.peerId;
    this.nodeName = options.nodeName;
    this.outboundPort = p.localPort;
    this.#advertise = (options.advertise ?? []).map((text) => parseRelayAddress(text, this.#defaultPort()));
    this.#links = new Links({
      host,
      rpc,
      introductions: { own: (peerId) => this.#introduce(peerId), meet: (peerId, hello) => this.#meet(peerId, hello) },
      tunables,
      serveRelay,
      localPort: p.localPort,
      clock,
      log,
      signal,
    });
    this.#relays = new Relays({
      links: this.#links,
      ownNodeName: options.nodeName,
      tunables,
      clock,
      random: options.random ?? Math.random,
      log,
      metrics,
      signal,
      onConnected: (link, scope) => this.#onRelay(link, scope),
    });
    this.#directory = new Directory({
      store,
      rpc,
      neighbours: {
        relays: () => this.#relays.links().map((link) => link.peerId),
        relaysPending: () => this.#relays.pending(),
        peers: () => [...this.#greeted],
        askLan: () => undefined,
      },
      serveRelay,
      ownPeerId: this.peerId,
      tunables,
      clock,
      log,
      signal,
    });
    this.#own = new OwnRecord(
      {
        key: options.identity.privateKey,
        facts: () => this.#facts(),
        publish: (signed) => {
          store.publish(signed);
          this.#directory.announce(signed);
        },
        tunables,
        clock,
        log,
      },
      store.ofPeer(this.peerId)?.record.sequence ?? 0,
    );
  }

  async start(): Promise<void> {
    const { host, parts } = this.#p;
    parts.use(this.#own);
    await this.#own.update();
    this.#own.watch();
    const onDisconnect = (event: { detail: { toString(): string } }) => this.#greeted.delete(event.detail.toString());
    host.node.addEventListener('peer:disconnect', onDisconnect);
    this.setRelays(this.#options.relays ?? []);
    this.#relays.onChange(() => detach('own record', this.#p.log, this.#own.update()));
  }

  get listenAddresses(): readonly SocketAddress[] {
    return this.#p.port.addresses;
  }

  #defaultPort(): number {
    return this.#options.listen[0]?.port || DEFAULT_PORT;
  }

  #facts(): OwnFacts {
    const filter = {
      listenInterfaces: this.#options.listenInterfaces ?? [],
      filtered: this.#options.extraFilteredInterfaces ?? [],
    };
    const addresses = ownAddresses(this.listenAddresses, usableInterfaces(readInterfaces(), filter), this.#advertise);
    return {
      nodeName: this.nodeName,
      peerId: this.peerId,
      lanAddresses: addresses.lan.slice(0, 64),
      publicAddresses: addresses.public.slice(0, 64),
      relays: this.#relays
        .links()
        .map((link) => link.peerId)
        .slice(0, 16),
      capabilities: [...(this.#options.serveRelay ? ['relay'] : []), ...(this.#options.capabilities ?? [])],
    };
  }

  #introduce(peerId: string): { envelope: Uint8Array; sequenceOfPeer: number } {
    return {
      envelope: this.#own.current.envelope,
      sequenceOfPeer: this.#p.store.ofPeer(peerId)?.record.sequence ?? 0,
    };
  }

  async #meet(peerId: string, hello: Hello): Promise<string> {
    await this.#directory.take(hello.record, peerId);
    const stored = this.#p.store.ofPeer(peerId);
    if (stored === undefined) throw new TunnelError('identity', 'the greeting carries the record of another node');
    this.#own.noteSequence(hello.sequence);
    if (this.#p.host.node.getConnections(peerIdFromString(peerId)).length > 0) this.#greeted.add(peerId);
    return stored.record.nodeName;
  }

  #onRelay(link: Link, signal: AbortSignal): void {
    const { log, host } = this.#p;
    if (this.#options.serveRelay) {
      const copying = this.#directory.copyFrom(link.peerId, signal).catch((error: unknown) => {
        log.warn('cannot copy the records of a relay', { relay: link.nodeName, error: messageOf(error) });
      });
      detach('record copy', log, copying);
      return;
    }
    const reserving = host.reserve(link.connection.remotePeer).catch((error: unknown) => {
      log.warn('no circuit reservation on a relay', { relay: link.nodeName, error: messageOf(error) });
    });
    detach('circuit reservation', log, reserving);
  }

  resolve(nodeName: string, signal: AbortSignal): Promise<NodeRecord | undefined> {
    return this.#directory.resolve(nodeName, signal);
  }

  records(): readonly NodeRecord[] {
    return plainRecords(this.#p.store.all());
  }

  onRecord(listener: (record: NodeRecord) => void): () => void {
    return this.#p.store.onRecord(({ record }) => listener(record));
  }

  isOnLan(peerId: string): boolean {
    const interfaces = readInterfaces();
    return this.#p.host.node.getConnections(peerIdFromString(peerId)).some((connection) => {
      const address = fromMultiaddr(connection.remoteAddr);
      return address !== undefined && isOnOwnSubnet(address.host, interfaces);
    });
  }

  relays(): readonly RelayState[] {
    return this.#relays.states();
  }

  onRelays(listener: (relays: readonly RelayState[]) => void): () => void {
    return this.#relays.onChange(listener);
  }

  setRelays(relays: readonly RelayEntry[]): void {
    this.#relays.set(
      relays.map((relay) => ({
        nodeName: relay.nodeName,
        addresses: relay.addresses.map((text) => parseRelayAddress(text, this.#defaultPort())),
      })),
    );
  }

  pinnedPeer(nodeName: string): string | undefined {
    return this.#p.pins.peerOf(nodeName);
  }

  forgetPin(nodeName: string): boolean {
    return this.#p.pins.forget(nodeName);
  }

  onPinConflict(listener: (conflict: PinConflict) => void): () => void {
    return this.#p.pins.onConflict(listener);
  }

  async connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void> {
    if (this.#p.host.node.getConnections(peerIdFromString(record.peerId)).some((c) => c.status === 'open')) return;
    const addresses = [...record.lanAddresses, ...record.publicAddresses];
    const failures: string[] = [];
    if (addresses.length > 0) {
      try {
        await this.#links.connect(addresses, { signal, expectedPeerId: record.peerId });
        return;
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
    const shared = this.#relays.links().filter((link) => record.relays.includes(link.peerId));
    for (const relay of shared) {
      try {
        await this.#links.connectCircuit(relay.peerId, record.peerId, signal);
        return;
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
    if (shared.length === 0) failures.push('no relay in common');
    throw new TunnelError('unreachable', `${record.nodeName}: ${failures.join('; ')}`, { retryable: true });
  }

  observedAddresses(): readonly { readonly relay: string; readonly address: string }[] {
    return this.#relays.links().map((link) => ({ relay: link.peerId, address: link.observed }));
  }

  request(peerId: string, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#p.rpc.request(peerId, method, body, signal);
  }

  handle(
    method: string,
    handler: (peerId: string, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>,
  ): void {
    this.#p.rpc.handle(method, (caller, body, signal) => handler(caller.peerId, body, signal));
  }

  onDataSocket(listener: (socket: Socket, preamble: DataPreamble) => void): void {
    this.#p.port.onDataSocket(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#p.parts.disposeAsync();
  }
}
