/** The shapes of the CNI specification 1.1. */

export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace; absent for links of the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface CniIp {
  /** Address with prefix. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into the interfaces. */
  readonly interface?: number;
}

export interface CniRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** What ADD answers, in the newest form; see toVersion for the older ones. */
export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniIp[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

export type CniVerb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

/** What the runtime passes in CNI_* variables. */
export interface CniRequest {
  readonly verb: CniVerb;
  readonly containerId: string;
  /** Path of the network namespace; empty where the runtime has none (any more). */
  readonly netns: string;
  readonly ifname: string;
  /** Folders in which plugins are. */
  readonly path: readonly string[];
  /** The variables themselves, for delegates. */
  readonly env: Readonly<Record<string, string>>;
}

/** One attachment that the runtime still knows: GC keeps it. */
export interface CniAttachment {
  readonly containerID: string;
  readonly ifname: string;
}
