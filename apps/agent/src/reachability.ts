import { NETWORK_DEFAULTS } from '@edgemesh/cni';
import {
  type CatalogView,
  type Cidr,
  type Clock,
  cidrContains,
  detach,
  formatCidr,
  type Logger,
  messageOf,
  type NodeInfo,
  parseCidr,
  parseIp,
  sleep,
  systemClock,
} from '@edgemesh/core';
import { type KernelRoute, type Runner, readRoutes, routeTo } from '@edgemesh/linux';
import type { PathKind, Tunnel } from '@edgemesh/tunnel';

/** How often the kernel's routes are read again, in milliseconds: a CNI that comes later is found within this time. */
const ROUTES_POLL_MS = 10_000;
/** How long a session over the LAN proves that a node is there, in milliseconds, when none is open any more. */
const LAN_PROOF_MS = 10 * 60_000;
/** Answers kept, one per endpoint of another node; beyond, they are worked out anew. */
const MAX_REMEMBERED = 200_000;

/** An endpoint or dial target, as far as reaching it goes. */
export interface Place {
  readonly address: string;
  readonly nodeName?: string;
}

export interface ReachabilityOptions {
  readonly nodeName: string;
  readonly view: CatalogView;
  /** False: there is no tunnel, the kernel is all there is. */
  readonly hasTunnel: boolean;
  /** Absent: whatever is on another node goes through the tunnel. */
  readonly runner?: Runner;
  readonly log: Logger;
  readonly clock?: Clock;
}

/**
 * Which endpoints of other nodes the kernel reaches by itself. The same pod address may exist on many nodes and the same
 * subnet at many sites, so an address proves nothing; a foreign endpoint is routable only if
 *
 * - it is inside a podCIDR of its node which overlaps with no other node's, and the kernel has a route to it, not the default
 *   one, whose gateway is that node (host-gw, static routes) or inside that podCIDR (VXLAN of flannel); or
 * - it is an InternalIP of its node, on a subnet of our own, and a session of the tunnel has shown that this node (by its
 *   key) is on our LAN.
 */
export interface Reachability extends Disposable {
  isRoutable(place: Place): boolean;
  /** Follows the paths of a tunnel until the signal aborts. */
  follow(tunnel: Pick<Tunnel, 'pathTo' | 'onTransition'>, signal: AbortSignal): void;
  /** Grows when answers may differ from earlier ones. */
  readonly version: number;
  /** Grows with every change of a path to any node. */
  readonly pathsVersion: number;
  /** Calls back when answers may differ from earlier ones. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void;
  /** Reads the routes now. */
  refresh(): Promise<void>;
  readonly status: { readonly routes: number; readonly lanNodes: readonly string[]; readonly problem?: string };
}

export function createReachability(options: ReachabilityOptions): Reachability {
  return new KernelReachability(options);
}

class KernelReachability implements Reachability {
  readonly #options: ReachabilityOptions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #unsubscribe: () => void;
  /** Nodes that a session has shown on our LAN, and when that was last so. */
  readonly #lan = new Map<string, number>();
  readonly #memo = new Map<string, boolean>();
  readonly #shared = new Map<string, boolean>();
  #tunnel: Pick<Tunnel, 'pathTo'> | undefined;
  #routes: readonly KernelRoute[] = [];
  #routesText = '';
  #problem: string | undefined;
  #pathsVersion = 0;
  #version = 0;

  constructor(options: ReachabilityOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#unsubscribe = options.view.subscribe((_, change) => {
      if (change.nodes.size > 0) this.#changed();
    });
    if (options.hasTunnel && options.runner !== undefined) detach('follow routes', options.log, this.#poll());
  }

  isRoutable({ nodeName, address }: Place): boolean {
    const options = this.#options;
    if (nodeName === undefined || nodeName === options.nodeName || !options.hasTunnel) return true;
    if (this.#routes.length === 0) return false;
    const key = `${nodeName}|${address}`;
    let known = this.#memo.get(key);
    if (known === undefined) {
      if (this.#memo.size >= MAX_REMEMBERED) this.#memo.clear();
      known = this.#decide(nodeName, address);
      this.#memo.set(key, known);
    }
    return known;
  }

  #decide(nodeName: string, address: string): boolean {
    const { nodes } = this.#options.view.current;
    const node = nodes.get(nodeName);
    const bytes = parseIp(address);
    if (node === undefined || bytes === undefined) return false;
    const route = routeTo(this.#routes, bytes);
    if (route === undefined || route.destination.prefix === 0) return false;
    if (node.internalIPs.includes(address)) return route.gateways.length === 0 && this.#lan.has(nodeName);
    const cidr = cidrsOf(node).find((candidate) => cidrContains(candidate, bytes));
    if (cidr === undefined || this.#isShared(cidr, node)) return false;
    // Our own pod network makes these for nodes that it has proven to be on the LAN; of IPv6, by way of link-local addresses.
    if (route.device === NETWORK_DEFAULTS.vxlanName) return true;
    return (
      route.gateways.length === 1 &&
      route.gateways.every((gateway) => node.internalIPs.includes(gateway) || contains(cidr, gateway))
    );
  }

  #isShared(cidr: Cidr, node: NodeInfo): boolean {
    const key = `${node.name} ${formatCidr(cidr)}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const shared = isShared(cidr, node, this.#options.view.current.nodes.values());
    this.#shared.set(key, shared);
    return shared;
  }

  follow(tunnel: Pick<Tunnel, 'pathTo' | 'onTransition'>, signal: AbortSignal): void {
    this.#tunnel = tunnel;
    const end = tunnel.onTransition((nodeName) => this.#seen(nodeName, tunnel.pathTo(nodeName)));
    signal.addEventListener('abort', () => {
      end();
      if (this.#tunnel === tunnel) this.#tunnel = undefined;
    });
  }

  get version(): number {
    return this.#version;
  }

  get pathsVersion(): number {
    return this.#pathsVersion;
  }

  #seen(nodeName: string, path: PathKind | undefined): void {
    this.#pathsVersion++;
    const before = this.#lan.has(nodeName);
    if (path === 'lan') this.#lan.set(nodeName, this.#clock.now());
    // An unused session is closed: that says nothing. Another path does.
    else if (path !== undefined) this.#lan.delete(nodeName);
    if (before !== this.#lan.has(nodeName)) this.#changed();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #changed(): void {
    this.#version++;
    this.#memo.clear();
    this.#shared.clear();
    for (const listener of this.#listeners) listener();
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.refresh();
      this.#forgetOldProofs();
      await sleep(ROUTES_POLL_MS, this.#clock, signal);
    }
  }

  async refresh(): Promise<void> {
    const { runner, log } = this.#options;
    if (runner === undefined) return;
    try {
      this.#routes = await readRoutes(runner);
      this.#problem = undefined;
    } catch (error) {
      if (this.#problem === undefined) log.warn('cannot read the routes of the kernel', { error: messageOf(error) });
      this.#problem = messageOf(error);
      this.#routes = [];
    }
    const text = JSON.stringify(
      this.#routes.map(({ destination, ...rest }) => [destination.prefix, String(destination.bytes), rest]),
    );
    if (text === this.#routesText) return;
    this.#routesText = text;
    this.#changed();
  }

  #forgetOldProofs(): void {
    let changed = false;
    for (const [nodeName, at] of this.#lan) {
      if (this.#tunnel?.pathTo(nodeName) === 'lan') this.#lan.set(nodeName, this.#clock.now());
      else if (this.#clock.now() - at > LAN_PROOF_MS) changed = this.#lan.delete(nodeName) || changed;
    }
    if (changed) this.#changed();
  }

  get status() {
    return {
      routes: this.#routes.length,
      lanNodes: [...this.#lan.keys()].sort(),
      ...(this.#problem !== undefined && { problem: this.#problem }),
    };
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#unsubscribe();
    this.#listeners.clear();
  }
}

const cidrsOf = (node: NodeInfo): Cidr[] => node.podCIDRs.flatMap((text) => parseCidr(text) ?? []);

function contains(cidr: Cidr, address: string): boolean {
  const bytes = parseIp(address);
  return bytes !== undefined && cidrContains(cidr, bytes);
}

/** True when another node claims a part of the range too: then an address in it names no single pod. */
function isShared(cidr: Cidr, owner: NodeInfo, nodes: Iterable<NodeInfo>): boolean {
  for (const node of nodes) {
    if (node.name === owner.name) continue;
    for (const other of cidrsOf(node)) {
      if (cidrContains(cidr, other.bytes) || cidrContains(other, cidr.bytes)) return true;
    }
  }
  return false;
}
