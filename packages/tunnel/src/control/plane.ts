import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, detach, type Logger, messageOf, type Random } from '@edgemesh/core';
import { peerIdFromString } from '@libp2p/peer-id';
import { TunnelError } from '../errors.ts';
import type { ControlTunables } from '../options.ts';
import type { DataPreamble, NodeRecord, RelayState, SocketAddress } from '../types.ts';
import type { ControlPlaneOptions, ManagedControlPlane, RelayEntry } from './control-options.ts';
import type { Host } from './host.ts';
import { createMdns, type Mdns } from './lan/mdns.ts';
import { mdnsInterfaces } from './lan/mdns-interfaces.ts';
import { Neighbourhood } from './lan/neighbourhood.ts';
import { type Link, Links } from './links.ts';
import type { Members } from './members.ts';
import type { Hello } from './messages.ts';
import type { ControlMetrics } from './metrics.ts';
import { NetworkWatch } from './network-watch.ts';
import { isOnOwnSubnet, readInterfaces } from './own-addresses.ts';
import { OwnFactsReader } from './own-facts.ts';
import { OwnRecord } from './own-record.ts';
import { PeerDialer } from './peer-dialer.ts';
import { DhtRecords } from './records/dht-records.ts';
import { Directory } from './records/directory.ts';
import { plainRecords, type RecordStore } from './records/store.ts';
import { parseRelayAddress } from './relays/relay-address.ts';
import { RelayFinder } from './relays/relay-finder.ts';
import { Relays } from './relays/relays.ts';
import type { Rpc } from './rpc.ts';
import type { PinConflict, Pins } from './state/pins.ts';
import { fromMultiaddr } from './transport/multiaddrs.ts';
import type { SharedPort } from './transport/shared-port.ts';

/** Port of relays whose address names none; EdgeMesh's own. */
const DEFAULT_PORT = 20_006;

/** What `createControlPlane` has made before the plane itself. */
export interface PlaneParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  readonly tunables: ControlTunables;
  readonly pins: Pins;
  readonly store: RecordStore;
  readonly port: SharedPort;
  readonly host: Host;
  readonly rpc: Rpc;
  readonly localPort: number | undefined;
  readonly members: Members;
  /** Aborted first when the plane is disposed. */
  readonly signal: AbortSignal;
  /** Everything that must be disposed, in reverse order. */
  readonly stack: AsyncDisposableStack;
}

/** The control plane, assembled: see {@link ManagedControlPlane}. */
export class Plane implements ManagedControlPlane {
  readonly peerId: string;
  readonly nodeName: string;
  readonly outboundPort: number | undefined;
  readonly #options: ControlPlaneOptions;
  readonly #parts: PlaneParts;
  readonly #facts: OwnFactsReader;
  readonly #links: Links;
  readonly #relays: Relays;
  readonly #neighbourhood: Neighbourhood;
  readonly #directory: Directory;
  readonly #own: OwnRecord;
  readonly #dht: DhtRecords | undefined;
  readonly #finder: RelayFinder;
  readonly #network: NetworkWatch;
  #dialer: PeerDialer | undefined;
  #mdns: Mdns | undefined;

  constructor(options: ControlPlaneOptions, parts: PlaneParts) {
    const { store, localPort, members } = parts;
    const serveRelay = options.serveRelay ?? false;
    this.#options = options;
    this.#parts = parts;
    this.#dht = parts.host.dht && new DhtRecords({ ...parts, node: parts.host.node }, parts.host.dht);
    this.peerId = options.identity.peerId;
    this.nodeName = options.nodeName;
    this.outboundPort = localPort;
    this.#facts = new OwnFactsReader({
      options,
      defaultPort: this.#defaultPort(),
      listenAddresses: () => this.listenAddresses,
      relays: () => this.#relays.links().map((link) => link.peerId),
    });
    const introductions = {
      own: (peerId: string) => this.#introduce(peerId),
      admit: (peerId: string) => members.admit(peerId),
      meet: (peerId: string, hello: Hello) => this.#meet(peerId, hello),
    };
    this.#links = new Links({ ...parts, introductions, serveRelay });
    const onConnected = (link: Link, scope: AbortSignal) => this.#onRelay(link, scope);
    this.#relays = new Relays({ ...parts, links: this.#links, ownNodeName: options.nodeName, onConnected });
    const isConnected = (peerId: string) => this.#connections(peerId).some((connection) => connection.direct);
    this.#neighbourhood = new Neighbourhood({ ...parts, links: this.#links, ownPeerId: this.peerId, isConnected });
    const neighbours = {
      relays: () => this.#relays.links().map((link) => link.peerId),
      onRelays: (listener: () => void) => this.#relays.onChange(listener),
      relaysPending: () => this.#relays.pending(),
      peers: () => members.greeted(),
      hasGreeted: (peerId: string) => members.hasGreeted(peerId),
      askLan: () => this.#mdns?.query(),
      askDht: async (nodeName: string, signal: AbortSignal) => (await this.#dht?.findName(nodeName, signal)) ?? false,
    };
    this.#directory = new Directory({ ...parts, neighbours, serveRelay, ownPeerId: this.peerId });
    this.#finder = new RelayFinder({
      ...{ ...parts, relays: this.#relays, directory: this.#directory, dht: this.#dht, ownPeerId: this.peerId },
    });
    const publish = (signed: Parameters<RecordStore['publish']>[0]) => {
      store.publish(signed);
      this.#directory.announce(signed);
      // its servers are relays: without one the record could go nowhere, and would lead nowhere
      if (serveRelay || signed.record.relays.length > 0) this.#dht?.publish(signed);
    };
    const { networkIntervalMs: intervalMs, watchedNetworkIntervalMs: watchedIntervalMs } = parts.tunables;
    const network = new NetworkWatch({
      ...{ clock: parts.clock, intervalMs, watchedIntervalMs, settleMs: parts.tunables.networkSettleMs },
      watch: options.watchNetwork,
    });
    this.#network = parts.stack.use(network);
    const key = options.identity.privateKey;
    const lastSequence = store.ofPeer(this.peerId)?.record.sequence ?? 0;
    this.#own = new OwnRecord({ ...parts, key, facts: () => this.#facts.read(), publish }, lastSequence);
  }

  /** Makes the first record, then starts everything that works in the background. */
  async start(): Promise<void> {
    const { host, stack, log, clock, metrics, store, members } = this.#parts;
    this.#dialer = await PeerDialer.create({
      node: host.node,
      links: this.#links,
      relays: () => this.#relays.links(),
      latest: (peerId) => store.ofPeer(peerId)?.record,
      clock,
      log,
    });
    stack.use(this.#own);
    metrics.observeSizes({ records: () => store.size, peers: () => members.size });
    await this.#own.update();
    this.#own.watch();
    this.#network.onChange(() => {
      log.info('the network of this machine has changed');
      detach('own record', log, this.#own.update());
      this.#relays.networkChanged();
    });
    host.node.addEventListener('peer:disconnect', (event) => members.leave(event.detail.toString()));
    this.setRelays(this.#options.relays ?? []);
    this.#relays.onChange(() => detach('own record', log, this.#own.update()));
    for (const peer of this.#options.peers ?? []) {
      this.#neighbourhood.addStatic([parseRelayAddress(peer, this.#defaultPort())]);
    }
    if (this.#options.mdns ?? true) this.#mdns = stack.use(this.#createMdns());
  }

  #createMdns(): Mdns {
    const { tunables } = this.#parts;
    return createMdns({
      ...this.#parts,
      lanTag: this.#options.secrets.current.lanTag,
      peerId: this.peerId,
      port: this.#options.mdnsPort ?? 5_353,
      interfaces: () => mdnsInterfaces(this.listenAddresses, this.#facts.interfaces()),
      onSighting: (sighting) => this.#neighbourhood.see(sighting),
      intervalMs: tunables.mdnsIntervalMs,
      interfaceIntervalMs: tunables.addressIntervalMs,
    });
  }

  get listenAddresses(): readonly SocketAddress[] {
    return this.#parts.port.addresses;
  }

  get connectedNodes(): number {
    return this.#parts.members.size;
  }

  #defaultPort(): number {
    return this.#options.listen[0]?.port || this.listenAddresses[0]?.port || DEFAULT_PORT;
  }

  #connections(peerId: string) {
    const connections = this.#parts.host.node.getConnections(peerIdFromString(peerId));
    return connections.filter((connection) => connection.status === 'open');
  }

  #introduce(peerId: string): { envelope: Uint8Array; sequenceOfPeer: number } {
    const sequenceOfPeer = this.#parts.store.ofPeer(peerId)?.record.sequence ?? 0;
    return { envelope: this.#own.current.envelope, sequenceOfPeer };
  }

  async #meet(peerId: string, hello: Hello): Promise<string> {
    await this.#directory.take(hello.record, peerId);
    const stored = this.#parts.store.ofPeer(peerId);
    if (stored === undefined) throw new TunnelError('identity', 'the greeting carries the record of another node');
    this.#own.noteSequence(hello.sequence);
    if (this.#connections(peerId).length > 0) this.#parts.members.greet(peerId);
    return stored.record.nodeName;
  }

  #onRelay(link: Link, signal: AbortSignal): void {
    const { log, host } = this.#parts;
    const warn = (message: string) => (error: unknown) => {
      if (!signal.aborted) log.warn(message, { relay: link.nodeName, error: messageOf(error) });
    };
    const work = this.#options.serveRelay
      ? this.#directory.copyFrom(link.peerId, signal).catch(warn('cannot copy the records of a relay'))
      : host.reserve(link.connection.remotePeer).catch(warn('no circuit reservation on a relay'));
    detach('relay greeting', log, work);
  }

  async resolve(nodeName: string, signal: AbortSignal): Promise<NodeRecord | undefined> {
    const record = await this.#directory.resolve(nodeName, signal);
    if (record !== undefined) detach('relays of a node', this.#parts.log, this.#finder.approach(record));
    return record;
  }

  records(): readonly NodeRecord[] {
    return plainRecords(this.#parts.store.all());
  }

  onRecord(listener: (record: NodeRecord) => void): () => void {
    return this.#parts.store.onRecord(({ record }) => listener(record));
  }

  isOnLan(peerId: string): boolean {
    if (this.#neighbourhood.has(peerId)) return true;
    const interfaces = readInterfaces();
    return this.#connections(peerId).some((connection) => {
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
    const parse = (text: string) => parseRelayAddress(text, this.#defaultPort());
    this.#relays.set(relays.map(({ nodeName, addresses }) => ({ nodeName, addresses: addresses.map(parse) })));
  }

  pinnedPeer(nodeName: string): string | undefined {
    return this.#parts.pins.peerOf(nodeName);
  }

  checkPin(nodeName: string, peerId: string, source: string): TunnelError | undefined {
    return this.#parts.pins.check(nodeName, peerId, source);
  }

  forgetPin(nodeName: string): boolean {
    this.#parts.store.forget(nodeName);
    return this.#parts.pins.forget(nodeName);
  }

  onPinConflict(listener: (conflict: PinConflict) => void): () => void {
    return this.#parts.pins.onConflict(listener);
  }

  connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void> {
    return this.#startedDialer().connect(record, signal);
  }

  openCircuit(record: NodeRecord, signal: AbortSignal): Promise<Duplex> {
    return this.#startedDialer().openCircuit(record, signal);
  }

  onCircuit(listener: (stream: Duplex, peerId: string) => void): void {
    this.#startedDialer().onCircuit(listener);
  }

  #startedDialer(): PeerDialer {
    if (this.#dialer === undefined) throw new TunnelError('closed', 'the control plane is not started');
    return this.#dialer;
  }

  /** Where members reach this node, by its own record. */
  announced(): readonly SocketAddress[] {
    const record = this.#parts.store.ofPeer(this.peerId)?.record;
    return record === undefined ? [] : [...record.publicAddresses, ...record.lanAddresses];
  }

  setFoundAddresses(addresses: readonly SocketAddress[]): void {
    this.#facts.found = addresses;
    detach('own record', this.#parts.log, this.#own.update());
  }

  remoteHosts(peerId: string): readonly string[] {
    const direct = this.#connections(peerId).filter((connection) => connection.direct);
    return direct.flatMap((connection) => fromMultiaddr(connection.remoteAddr)?.host ?? []);
  }

  ownHosts(): readonly string[] {
    return this.#facts.interfaces().map(({ host }) => host);
  }

  onNetworkChange(listener: () => void): () => void {
    return this.#network.onChange(listener);
  }

  observedAddresses(): readonly { readonly relay: string; readonly address: string }[] {
    return this.#relays.links().map((link) => ({ relay: link.peerId, address: link.observed }));
  }

  request(peerId: string, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#parts.rpc.request(peerId, method, body, signal);
  }

  handle(
    method: string,
    handler: (peerId: string, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>,
  ): void {
    this.#parts.rpc.handle(method, (caller, body, signal) => handler(caller.peerId, body, signal));
  }

  onDataSocket(listener: (socket: Socket, preamble: DataPreamble) => void): void {
    this.#parts.port.onDataSocket(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.stack.disposeAsync();
  }
}
