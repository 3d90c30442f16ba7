import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import type { Clock } from '@edgemesh/core';
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import type {
  AbortOptions,
  ComponentLogger,
  Connection,
  Libp2p,
  Logger as Libp2pLogger,
  PeerId,
  PeerInfo,
  PrivateKey,
  Transport,
} from '@libp2p/interface';
import type { KadDHT } from '@libp2p/kad-dht';
import { ping } from '@libp2p/ping';
import type { Multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type ServiceFactoryMap } from 'libp2p';
import type { ControlTunables } from '../options.ts';
import type { SocketAddress } from '../types.ts';
import type { ControlMetrics } from './metrics.ts';
import { recordRules } from './records/dht-records.ts';
import { DhtStore } from './records/dht-store.ts';
import { type HopGrants, limitedRelayServer } from './relays/hop-limits.ts';
import { fromMultiaddr, toMultiaddr } from './transport/multiaddrs.ts';
import { type PskKeys, pskProtector } from './transport/psk-protector.ts';
import { type SharedTcpDialOptions, type SharedTcpOptions, sharedTcp } from './transport/tcp.ts';

export interface HostOptions {
  readonly privateKey: PrivateKey;
  readonly psk: PskKeys;
  readonly transport: SharedTcpOptions;
  readonly listen: readonly SocketAddress[];
  /** Where members reach this node, as it is now. */
  readonly announce: () => readonly SocketAddress[];
  /** What is granted to others by circuit-relay-v2; undefined where this node is no relay. */
  readonly relay: { readonly grants: HopGrants; readonly idleMs: number; readonly clock: Clock } | undefined;
  readonly dht: boolean;
  readonly autonat: boolean;
  readonly tunables: ControlTunables;
  readonly metrics: ControlMetrics;
}

/** The libp2p node, and the doors into it that our own code needs. */
export interface Host {
  readonly node: Libp2p;
  /** Undefined without `dht`. */
  readonly dht: KadDHT | undefined;
  /** Dials one address past libp2p's queue and its peer store; `socket` may be connected already. */
  dial(address: Multiaddr, options: AbortOptions & Pick<SharedTcpDialOptions, 'socket'>): Promise<Connection>;
  /** Asks a connected relay for a circuit-relay-v2 reservation; libp2p refreshes it. */
  reserve(relay: PeerId): Promise<void>;
  /**
   * Asks the far end of a connection for a sign of life, by the muxer's own ping: 12 bytes and no stream, where an RPC
   * costs both ends a negotiated stream. A relay answers these for every node, all the time.
   */
  ping(connection: Connection, options: AbortOptions): Promise<void>;
}

interface TransportManager {
  dial(address: Multiaddr, options: AbortOptions & Pick<SharedTcpDialOptions, 'socket'>): Promise<Connection>;
  getTransports(): Transport[];
}

interface ConnectionManager {
  getConnections(peer?: PeerId): Connection[];
  getConnectionsMap(): { values(): Iterable<Connection[]> };
}

interface Components {
  readonly transportManager: TransportManager;
  readonly connectionManager: ConnectionManager;
}

interface Reserving {
  readonly reservationStore: { addRelay(peer: PeerId, type: 'configured'): Promise<unknown> };
}

/** libp2p's connection does not show its muxer in its type. */
interface Pingable {
  readonly muxer: { ping(options: AbortOptions): Promise<number> };
}

const DHT_PROTOCOL = '/edgemesh/kad/1.0.0';
/** The first search for our own neighbours need not wait a second, in milliseconds: lookups wait for it. */
const DHT_TIMES = { initialQuerySelfInterval: 100 };
/** The read buffer must hold a whole window, or libp2p resets slow readers. */
const YAMUX_STREAMS = {
  initialStreamWindowSize: 256 * 1024,
  maxStreamWindowSize: 1024 * 1024,
  maxReadBufferLength: 4 * 1024 * 1024,
};

/** Assembles and starts libp2p. */
export async function createHost(options: HostOptions): Promise<Host> {
  const { tunables } = options;
  let transports: TransportManager | undefined;
  const node = await createLibp2p({
    privateKey: options.privateKey,
    logger: silentLibp2pLogger,
    addresses: {
      listen: options.listen.map((address) => toMultiaddr(address).toString()),
      // members that come by the DHT dial what is announced, and 0.0.0.0 leads to themselves
      announceFilter: (found) => [
        ...found.filter((address) => fromMultiaddr(address) === undefined),
        ...options.announce().map(toMultiaddr),
      ],
    },
    transports: [sharedTcp(options.transport), circuitRelayTransport(circuitOptions(tunables))],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux(muxerOptions(tunables))],
    connectionProtector: pskProtector(options.psk),
    // our own dials go past libp2p's queue; what is left would be its attempts to win back lost relays beside ours
    connectionGater: { denyDialPeer: () => !options.dht && !options.autonat },
    connectionManager: {
      maxConnections: tunables.maxConnections,
      // many agents share one NAT address and come back together when a relay restarts
      inboundConnectionThreshold: 1_000_000,
      maxIncomingPendingConnections: tunables.maxConnections, // most of them wait in our own line
      dialTimeout: tunables.handshakeTimeoutMs + tunables.connectTimeoutMs,
      inboundUpgradeTimeout: tunables.handshakeTimeoutMs,
    },
    // our own watch pings from the dialling side only, which halves the work of a relay
    connectionMonitor: { enabled: false },
    services: {
      // greetings say more than it does; only these two learn from it who speaks their protocol
      identify: identify({ runOnConnectionOpen: options.dht || options.autonat, maxInboundStreams: 8 }),
      ping: ping(),
      ...(options.relay ? { circuitRelay: limitedRelayServer(hopOptions(tunables), options.relay) } : {}),
      ...(await optionalServices(options)),
      doors: (components: Components) => {
        transports = components.transportManager;
        listLinearly(components.connectionManager);
        return {};
      },
    },
  });
  const manager = transports as unknown as TransportManager;
  return {
    node: node as unknown as Libp2p,
    dht: (node.services as { readonly dht?: KadDHT }).dht,
    dial: (address, dialOptions) => manager.dial(address, dialOptions),
    async reserve(relay) {
      const circuit = manager.getTransports().find((transport) => 'reservationStore' in transport);
      await (circuit as unknown as Reserving).reservationStore.addRelay(relay, 'configured');
    },
    async ping(connection, pingOptions) {
      await (connection as unknown as Pingable).muxer.ping(pingOptions);
    },
  };
}

/**
 * libp2p lists all connections twice for each one that comes, copying the list once per peer: a third of what it costs a
 * relay with 2,000 members to take one in.
 */
function listLinearly(manager: ConnectionManager): void {
  const ofPeer = manager.getConnections.bind(manager);
  manager.getConnections = (peer) =>
    peer === undefined ? [...manager.getConnectionsMap().values()].flat() : ofPeer(peer);
}

/** Loaded only where they are wanted, to spare the memory of small nodes. */
async function optionalServices(options: HostOptions): Promise<ServiceFactoryMap> {
  const { autonat, dht, relay, tunables, metrics } = options;
  const services: Record<string, (components: never) => unknown> = {};
  if (autonat) services.autonat = (await import('@libp2p/autonat')).autoNAT({ protocolPrefix: 'edgemesh' });
  if (dht) {
    const { kadDHT } = await import('@libp2p/kad-dht');
    const rules = recordRules(tunables.maxRecordBytes);
    const clientMode = relay === undefined;
    const create = kadDHT({ protocol: DHT_PROTOCOL, clientMode, ...rules, ...DHT_TIMES, peerInfoMapper: asItIs });
    const store = new DhtStore(tunables, (reason) => metrics.dhtDropped.with(reason).add());
    metrics.observeDht({ records: () => store.size, bytes: () => store.bytes });
    services.dht = (components) => create(Object.create(components, { datastore: { value: store } }));
  }
  return services as ServiceFactoryMap;
}

/** Relays have private addresses in many a mesh: none is sorted out. */
function asItIs(peer: PeerInfo): PeerInfo {
  return peer;
}

function muxerOptions({ maxStreamsPerConnection: most }: ControlTunables) {
  return { enableKeepAlive: false, maxInboundStreams: most, maxOutboundStreams: most, streamOptions: YAMUX_STREAMS };
}

function circuitOptions({ maxStreamsPerConnection: most }: ControlTunables) {
  return { reservationConcurrency: 4, maxInboundStopStreams: most };
}

/** libp2p's limits (15 reservations, 128 KiB, 2 minutes, 300 streams) suit a public network; ours are in the grants. */
function hopOptions({ handshakeTimeoutMs, maxStreamsPerConnection: most }: ControlTunables) {
  return {
    hopTimeout: handshakeTimeoutMs,
    maxInboundHopStreams: most,
    maxOutboundHopStreams: most,
    maxOutboundStopStreams: most,
    reservations: { maxReservations: Number.POSITIVE_INFINITY, applyDefaultLimit: false },
  };
}

function discard(): void {
  // libp2p's own log is too detailed for an agent; what matters reaches our Logger as errors and states
}

const silentLog: Libp2pLogger = Object.assign(discard, {
  enabled: false,
  error: discard,
  trace: discard,
  newScope: () => silentLog,
});

const silentLibp2pLogger: ComponentLogger = { forComponent: () => silentLog };
