import type { ByteStream, Clock, Datagrams, Dialer, DialOptions, DialTarget, Logger, Metrics } from '@edgemesh/core';
import type { ControlPlaneOptions, ManagedControlPlane } from './control/index.ts';
import type { PathOptions, RelayLimits } from './options.ts';
import type { PathTransition } from './paths/machine.ts';
import type { PortMappingOptions, PortMappingStatus } from './port-mapping/index.ts';
import type { PunchOptions } from './punch/punch-options.ts';
import type { DialQuietly } from './punch/quiet-open.ts';
import type { NatStatus } from './reach/nat-watch.ts';
import type { ReachOptions } from './reach/options.ts';
import type { RelayStatus } from './relay/circuit-book.ts';
import type { SessionOptions } from './session/index.ts';
import type { InboundHandler, PathKind, PeerStatus, RelayState, SocketAddress } from './types.ts';

/** What a tunnel is told at its start. */
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
  /** Looks from outside: see docs/nat.md. */
  readonly reach?: Partial<ReachOptions>;
  /** The port on the site's router; with a `gateway` only. */
  readonly portMapping?: Partial<PortMappingOptions>;
  /** Grants of the relay; with `control.serveRelay` only. */
  readonly relay?: Partial<RelayLimits>;
  /** The rest of the control plane's options: listen, relays, advertise, mdns, serveRelay, ... */
  readonly control: Omit<ControlPlaneOptions, 'identity' | 'secrets' | 'nodeName' | 'stateDir'>;
}

/** What a tunnel needs from outside. */
export interface TunnelDeps {
  /** Decides what peers may reach here. */
  readonly inbound: InboundHandler;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  /** The IPv4 router of this node, to have a port mapped by UPnP, NAT-PMP or PCP. Without it no router is asked. */
  readonly gateway?: () => Promise<string | undefined>;
  /**
   * TCP connects whose SYN dies on its way, which opens our own NAT without waking the peer's (`@edgemesh/linux` has them).
   * Loaded when a NAT answers with resets; without it such NATs are opened by good luck only.
   */
  readonly loadQuietDial?: () => Promise<DialQuietly>;
}

/** Streams to other nodes by node name, whatever lies between. */
export interface Tunnel extends Dialer, AsyncDisposable {
  readonly peerId: string;
  readonly nodeName: string;
  readonly listenAddresses: readonly SocketAddress[];
  /** `target.nodeName` is required; streams may be written to before a path exists. */
  dial(target: DialTarget, options?: DialOptions): ByteStream;
  openDatagrams(target: DialTarget, options?: DialOptions): Datagrams;
  /** A channel of IP packets to a node, for the pod network. What arrives on it is valid during the call only: copy what must stay. */
  openPackets(nodeName: string): Datagrams;
  peers(): readonly PeerStatus[];
  relays(): readonly RelayState[];
  /** What this node relays for others; undefined when it is no relay. */
  relayStatus(): RelayStatus | undefined;
  /** What is between this node and the relays, and whether they can dial it. */
  nat(): NatStatus;
  /** The port on the site's router; undefined where none is asked for. */
  portMapping(): PortMappingStatus | undefined;
  /** The path in use to a node. */
  pathTo(nodeName: string): PathKind | undefined;
  onTransition(listener: (nodeName: string, transition: PathTransition) => void): () => void;
  readonly control: ManagedControlPlane;
}
