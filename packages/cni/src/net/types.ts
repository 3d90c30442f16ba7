import type { Datagrams } from '@edgemesh/core';

/** A TUN device, as @edgemesh/linux opens it: frames are a virtio-net header and an IP packet. */
export interface TunPort {
  readonly name: string;
  /** Offloads that the kernel accepted. */
  readonly offload: 'tso+uso' | 'tso' | 'none';
  /** Starts reading. The frame is valid during the call only. */
  start(onFrame: (frame: Uint8Array) => void): void;
  /** False: the kernel refused or dropped the frame. */
  write(frame: Uint8Array): boolean;
}

/** One route of ours. Without gateway it leads into the TUN device; with a device, the gateway is behind that one. */
export interface PodRoute {
  readonly cidr: string;
  readonly gateway?: string;
  readonly device?: string;
}

/** Port: a VXLAN device in the kernel; implemented by @edgemesh/linux. */
export interface VxlanPort {
  readonly name: string;
  /** VNI. */
  readonly id: number;
  /** UDP port. */
  readonly port: number;
  /** Makes the device have this MAC and exactly these peers. Returns the number of changes. Without peers there is no device. */
  apply(
    mac: string,
    peers: readonly { readonly remote: string; readonly mac: string; readonly gateways: readonly string[] }[],
  ): Promise<number>;
  clear(): Promise<void>;
}

/** What the host's routing looks like apart from us. */
export interface RouteSurvey {
  /** Subnets that the host is on: what it reaches without a router. */
  readonly subnets: readonly { readonly cidr: string; readonly device: string }[];
  /** Destinations that somebody else routes, default routes left out. */
  readonly foreign: ReadonlySet<string>;
}

/** Port: our routes in the kernel; implemented by @edgemesh/linux. */
export interface RoutesPort {
  survey(): Promise<RouteSurvey>;
  /** Makes the kernel have exactly these routes of ours. Returns how many lines that took. */
  apply(routes: readonly PodRoute[], own: OwnAddresses): Promise<number>;
  /** Removes everything of ours. */
  clear(): Promise<void>;
}

/** What the node itself uses in the pod network. */
export interface OwnAddresses {
  /** The node's address in each of its ranges; source of what the node itself sends to pods elsewhere. */
  readonly gateways: readonly string[];
}

/** Port: proves that a node is on the same LAN; see createLanProbe. */
export interface LanProbePort {
  /** Names whom to look for: node and its addresses on our subnets. */
  watch(targets: ReadonlyMap<string, readonly string[]>): void;
  /** Addresses at which the node has answered lately. */
  reachable(nodeName: string): readonly string[];
  /** Called when an answer to `reachable` changes. */
  onChange(listener: () => void): () => void;
}

/** Opens a channel of packets to a node; createTunnel's openPackets. */
export type OpenPackets = (nodeName: string) => Datagrams;

/** Ranges of the mesh, as configured: modules.edgeCNI.meshCIDRConfig. */
export interface MeshRanges {
  readonly cloudCIDR: readonly string[];
  readonly edgeCIDR: readonly string[];
}
