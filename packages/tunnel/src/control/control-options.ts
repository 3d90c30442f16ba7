import type { Duplex } from 'node:stream';
import type { Clock, Logger, Metrics, Random } from '@edgemesh/core';
import type { TunnelError } from '../errors.ts';
import type { MeshKeys } from '../identity/mesh-secrets.ts';
import type { NodeIdentity } from '../identity/node-key.ts';
import type { ControlTunables } from '../options.ts';
import type { ControlPlane, NodeRecord, SocketAddress } from '../types.ts';
import type { WatchNetwork } from './network-watch.ts';
import type { HopPlace } from './relays/hop-limits.ts';
import type { PinConflict } from './state/pins.ts';

/** A relay as the configuration names it. */
export interface RelayEntry {
  readonly nodeName?: string | undefined;
  /** `ip`, `ip:port`, `host name[:port]`, `[ipv6]:port` or multiaddr; without port, the port we listen on or 20006. */
  readonly addresses: readonly string[];
}

/** The parts of the mesh keys that the control plane uses. */
export type ControlKeys = Pick<MeshKeys, 'pnetKey' | 'lanTag'>;

/** What a relay allows to circuits of circuit-relay-v2. */
export interface CircuitLimits {
  /** A place for a circuit between two peers, or the name of the limit that is in the way. */
  open(caller: string, callee: string): HopPlace | string;
  /** A circuit without a byte for this long is cut, in milliseconds. */
  readonly idleMs: number;
}

export interface ControlPlaneOptions {
  readonly identity: Pick<NodeIdentity, 'peerId' | 'privateKey'>;
  readonly secrets: { readonly current: ControlKeys; readonly accepted: readonly ControlKeys[] };
  /** Kubernetes node name. */
  readonly nodeName: string;
  /** Addresses to bind, IP and port; port 0 takes any. */
  readonly listen: readonly SocketAddress[];
  readonly relays?: readonly RelayEntry[];
  /** Members to stay connected to without relay or multicast; one entry per node, same forms as relay addresses. */
  readonly peers?: readonly string[];
  /** Addresses under which the operator says that this node is reachable from outside; same forms as relay addresses. */
  readonly advertise?: readonly string[];
  /** Looks for members on the LAN by multicast DNS. Default true. */
  readonly mdns?: boolean;
  /** UDP port of multicast DNS; default 5353. All members of a LAN must agree. */
  readonly mdnsPort?: number;
  /** Folder for pins and the record cache; undefined = memory only. */
  readonly stateDir?: string | undefined;
  /** Keep records and circuits for others. Default false. */
  readonly serveRelay?: boolean;
  /** Nodes that a relay takes in at one time, standard libp2p clients included; default: `tunables.maxConnections`. */
  readonly maxReservations?: number;
  /** Limits of the circuits that a relay carries by circuit-relay-v2; default none. */
  readonly circuits?: CircuitLimits;
  /** Takes part in the mesh's DHT: relays as servers, agents as clients. Default false (memory; see docs/control-plane.md). */
  readonly dht?: boolean;
  /** Lets relays check by dialling back which of our addresses are reachable. Default false. */
  readonly autonat?: boolean;
  /** Names for `NodeRecord.capabilities`. */
  readonly capabilities?: readonly string[];
  /** Interfaces whose addresses are advertised; default all. `*` at the end is a wildcard. */
  readonly listenInterfaces?: readonly string[];
  /** Interfaces or address ranges that are not advertised, beyond the built-in ones. */
  readonly extraFilteredInterfaces?: readonly string[];
  /** Local port of outbound control connections: `auto` (default) takes a free one, 0 leaves it to the kernel. */
  readonly outboundPort?: number | 'auto';
  /** The kernel's events about links, addresses and routes; without them the interfaces are read once a second. */
  readonly watchNetwork?: WatchNetwork;
  readonly tunables?: Partial<ControlTunables>;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** What `createControlPlane` returns: the shared contract, and what only operators and the assembly need. */
export interface ManagedControlPlane extends ControlPlane {
  /** Replaces the configured relays; those that stay keep their connections. Throws TunnelError `config`. */
  setRelays(relays: readonly RelayEntry[]): void;
  /** Pins a node name that a session or another source has proved; an error says that it belongs to another key. */
  checkPin(nodeName: string, peerId: string, source: string): TunnelError | undefined;
  /** Lets the next key that claims this node name have it. True when the name was pinned. */
  forgetPin(nodeName: string): boolean;
  onPinConflict(listener: (conflict: PinConflict) => void): () => void;
  /**
   * Sees to it that there is a control connection to the node: an existing one, its addresses, a circuit through a
   * relay. Rejects with TunnelError.
   */
  connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void>;
  /** A byte stream to the node over circuit-relay-v2, for the data path `circuit`. Rejects with TunnelError. */
  openCircuit(record: NodeRecord, signal: AbortSignal): Promise<Duplex>;
  /** Receives the far end of circuits that peers open here. */
  onCircuit(listener: (stream: Duplex, peerId: string) => void): void;
  /** Members with a control connection to this node. */
  readonly connectedNodes: number;
  /** Public addresses that were found to lead here, for our record; replaces those named before. */
  setFoundAddresses(addresses: readonly SocketAddress[]): void;
  /** Where a peer's control connections come from. */
  remoteHosts(peerId: string): readonly string[];
  /** IP addresses of this node's own interfaces, without those that are filtered. */
  ownHosts(): readonly string[];
  /** Called when an address of this machine has come or gone. Returns the way to stop it. */
  onNetworkChange(listener: () => void): () => void;
  /** Local port of outbound control connections; undefined when the kernel chooses. */
  readonly outboundPort: number | undefined;
  /** Our own addresses as connected relays see them: NAT mappings of `outboundPort`. */
  observedAddresses(): readonly { readonly relay: string; readonly address: string }[];
}
