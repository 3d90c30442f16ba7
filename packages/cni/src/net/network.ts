import {
  type CatalogView,
  type Clock,
  type Datagrams,
  formatIp,
  type Logger,
  type MeshError,
  type Metrics,
  messageOf,
  noMetrics,
  parseCidr,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import type { NodeFacts } from '../ipam/node-file.ts';
import { gatewayOf } from '../ipam/range.ts';
import { CNI_DEFAULTS, NETWORK_DEFAULTS } from '../options.ts';
import { removeTableScript, renderMasquerade } from './masquerade.ts';
import { packetMetrics } from './metrics.ts';
import { lanCandidates, type NetworkPlan, planNetwork } from './planner.ts';
import { PacketPump } from './pump.ts';
import type { LanProbePort, MeshRanges, OpenPackets, PodRoute, RoutesPort, TunPort, VxlanPort } from './types.ts';
import { renderVxlanGuard } from './vxlan-guard.ts';
import { vxlanMac, vxlanPeers } from './vxlan-peers.ts';

export interface PodNetworkOptions {
  readonly view: CatalogView;
  readonly nodeName: string;
  readonly ranges: MeshRanges;
  /** The device must be up; its MTU is that of the pods. */
  readonly tun: TunPort;
  readonly routes: RoutesPort;
  readonly openPackets: OpenPackets;
  /** TCP ports at which the tunnel of any node listens: connections to them never go through the tunnel. */
  readonly tunnelPorts?: readonly number[];
  /** Reaches nodes on the same LAN by VXLAN instead of plain routes; needs `nft`. */
  readonly vxlan?: VxlanPort;
  /** Finds nodes on the same LAN. Without it everything goes through the tunnel. */
  readonly probe?: LanProbePort;
  /** Runs nft scripts: pods then reach the world outside the mesh with the node's address. Without it they need other help. */
  readonly nft?: (script: string) => Promise<void>;
  /** Tells the plugin about this node: called when it changes. */
  readonly writeNodeFile?: (facts: NodeFacts) => Promise<void>;
  /** MTU for pods, for the plugin; {@link PodNetwork.setMtu} changes it. */
  readonly mtu?: number;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** What `edgemesh status` shows of the pod network. */
export interface PodNetworkStatus extends Omit<NetworkPlan, 'rangesOf'> {
  readonly tun: { readonly name: string; readonly offload: string };
  /** Nodes with an open packet channel. */
  readonly channels: readonly string[];
  /** Why the kernel does not have the plan yet. */
  readonly error: string | undefined;
}

/** The pod network of a node: routes to the pods of other nodes, and packets to and from those behind the tunnel. */
export interface PodNetwork extends AsyncDisposable {
  /** For InboundHandler.openDatagrams of kind `packets`: takes a channel of that node, or says why not. */
  accept(nodeName: string): Datagrams | MeshError;
  status(): PodNetworkStatus;
  /** Another MTU for pods that start from now on. */
  setMtu(mtu: number): void;
  /** Resolves when what is known now is in the kernel, or could not be put there. */
  settled(): Promise<void>;
}

/** Starts the pod network and resolves when its first routes are in place or have failed; then it follows the catalog. */
export async function createPodNetwork(options: PodNetworkOptions): Promise<PodNetwork> {
  const network = new RoutedPodNetwork(options);
  await network.settled();
  return network;
}

/** The node's own address in a range. */
function gatewayText(cidr: string): string {
  return formatIp(gatewayOf(parseCidr(cidr) as NonNullable<ReturnType<typeof parseCidr>>));
}

class RoutedPodNetwork implements PodNetwork {
  readonly #options: PodNetworkOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #pump: PacketPump;
  readonly #changes;
  readonly #undo: (() => void)[] = [];
  #plan: NetworkPlan = { own: [], paths: [], skipped: [], rangesOf: new Map() };
  #facts = '';
  #mtu: number | undefined;
  #masquerade = '';
  #vxlanGuard = '';
  #error: string | undefined;
  #settle: Timer | undefined;
  #dirtySince: number | undefined;
  #verify: Timer | undefined;
  #sweep: Timer | undefined;
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: PodNetworkOptions) {
    const { log = silentLogger, clock = systemClock, metrics = noMetrics } = options;
    this.#options = options;
    this.#log = log;
    this.#clock = clock;
    this.#mtu = options.mtu;
    const { tun, openPackets, view, probe, tunnelPorts = NETWORK_DEFAULTS.tunnelPorts } = options;
    this.#pump = new PacketPump({ tun, openPackets, tunnelPorts, metrics: packetMetrics(metrics), log, clock });
    this.#changes = metrics
      .counter({ name: 'edgemesh_cni_route_changes_total', help: 'Routes and addresses changed in the kernel.' })
      .with();
    for (const kind of ['lan', 'vxlan', 'tunnel'] as const) {
      metrics.observe({ name: `edgemesh_cni_${kind}_routes`, help: `Pod ranges reached by the ${kind} path.` }, () => {
        return this.#plan.paths.filter((path) => path.kind === kind).length;
      });
    }
    this.#undo.push(
      view.subscribe((_catalog, change) => {
        if (change.nodes.size > 0) this.#soon();
      }),
    );
    if (probe !== undefined) this.#undo.push(probe.onChange(() => this.#soon()));
    this.#enqueue();
    this.#scheduleVerify();
    this.#scheduleSweep();
  }

  accept(nodeName: string): Datagrams | MeshError {
    return this.#pump.accept(nodeName);
  }

  status(): PodNetworkStatus {
    const { own, paths, skipped } = this.#plan;
    const { name, offload } = this.#options.tun;
    const channels = [...this.#pump.peers.values()].filter((peer) => peer.isOpen).map((peer) => peer.nodeName);
    return { own, paths, skipped, tun: { name, offload }, channels, error: this.#error };
  }

  setMtu(mtu: number): void {
    this.#mtu = mtu;
    this.#soon();
  }

  async settled(): Promise<void> {
    if (this.#settle !== undefined) this.#flush();
    await this.#work;
  }

  /** Changes come in bunches: wait for a quiet moment, but not for ever. */
  #soon(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    this.#dirtySince ??= now;
    this.#settle?.cancel();
    const left = Math.max(0, this.#dirtySince + NETWORK_DEFAULTS.maxSettleMs - now);
    this.#settle = this.#clock.after(Math.min(NETWORK_DEFAULTS.settleMs, left), () => this.#flush());
  }

  #flush(): void {
    this.#settle?.cancel();
    this.#settle = undefined;
    this.#dirtySince = undefined;
    this.#enqueue();
  }

  #enqueue(): void {
    this.#work = this.#work.then(() => this.#reconcile());
  }

  /** Interfaces come and go with DHCP and cables, and take routes with them. */
  #scheduleVerify(): void {
    this.#verify = this.#clock.after(NETWORK_DEFAULTS.verifyIntervalMs, () => {
      if (this.#closed) return;
      this.#enqueue();
      this.#scheduleVerify();
    });
  }

  #scheduleSweep(): void {
    this.#sweep = this.#clock.after(NETWORK_DEFAULTS.sweepIntervalMs, () => {
      this.#pump.sweep();
      if (!this.#closed) this.#scheduleSweep();
    });
  }

  /** Never rejects: a failure is kept for status, logged once, and tried again with the next change or check. */
  async #reconcile(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#follow();
      if (this.#error !== undefined) this.#log.info('the pod network is complete again');
      this.#error = undefined;
    } catch (error) {
      const message = messageOf(error);
      if (message !== this.#error) this.#log.warn('the pod network is not complete', { error: message });
      this.#error = message;
    }
  }

  async #follow(): Promise<void> {
    const { view, nodeName, ranges, probe, routes, vxlan } = this.#options;
    const survey = await routes.survey();
    const { nodes } = view.current;
    probe?.watch(lanCandidates({ nodeName, nodes, ranges, survey }));
    const reachable = (name: string) => probe?.reachable(name) ?? [];
    const lanMode = vxlan === undefined ? 'host-gw' : 'vxlan';
    this.#plan = planNetwork({ nodeName, nodes, ranges, survey, reachable, lanMode });
    // Who may send comes first, then who is sent to.
    const gateways = this.#plan.own.map(gatewayText);
    this.#pump.apply(this.#plan, gateways);
    await this.#tellPlugin(this.#plan.own);
    const encapsulated = await this.#followVxlan();
    const wanted = this.#plan.paths.map((path): PodRoute => {
      const { cidr, kind } = path;
      if (kind === 'tunnel') return { cidr };
      return kind === 'lan'
        ? { cidr, gateway: path.gateway }
        : { cidr, gateway: path.gateway, device: vxlan?.name ?? '' };
    });
    const changed = encapsulated + (await routes.apply(wanted, { gateways }));
    await this.#followMasquerade();
    if (changed > 0) {
      this.#changes.add(changed);
      this.#log.info('pod routes changed', { changes: changed, routes: wanted.length });
    }
  }

  /** Rules before the device: nobody else gets in even for a moment. */
  async #followVxlan(): Promise<number> {
    const { vxlan, nft, nodeName } = this.#options;
    if (vxlan === undefined || nft === undefined) return 0;
    const peers = vxlanPeers(this.#plan.paths);
    const { vxlanTable: table } = NETWORK_DEFAULTS;
    const script = peers.length === 0 ? '' : renderVxlanGuard(table, vxlan, this.#plan);
    if (script !== '' && script !== this.#vxlanGuard) await nft(script);
    const changed = await vxlan.apply(vxlanMac(nodeName), peers);
    if (script === '' && this.#vxlanGuard !== '') await nft(removeTableScript(table));
    this.#vxlanGuard = script;
    return changed;
  }

  async #followMasquerade(): Promise<void> {
    const { nft, ranges, tun, vxlan } = this.#options;
    if (nft === undefined) return;
    const mesh = [...[...this.#plan.rangesOf.values()].flat(), ...ranges.cloudCIDR, ...ranges.edgeCIDR];
    const links = [CNI_DEFAULTS.bridge, tun.name, ...(vxlan === undefined ? [] : [vxlan.name])];
    const script = renderMasquerade(NETWORK_DEFAULTS.table, this.#plan.own, mesh, links);
    if (script === this.#masquerade) return;
    await nft(script);
    this.#masquerade = script;
  }

  /** A node whose ranges are not known (any more) keeps those of before: its pods are still there. */
  async #tellPlugin(own: readonly string[]): Promise<void> {
    const { nodeName, writeNodeFile } = this.#options;
    const mtu = this.#mtu;
    if (own.length === 0 || writeNodeFile === undefined) return;
    const facts: NodeFacts = { nodeName, podCIDRs: own, ...(mtu === undefined ? {} : { mtu }) };
    const text = JSON.stringify(facts);
    if (text === this.#facts) return;
    await writeNodeFile(facts);
    this.#facts = text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const undo of this.#undo) undo();
    for (const timer of [this.#settle, this.#verify, this.#sweep]) timer?.cancel();
    await this.#work;
    this.#pump.close();
    const { routes, nft, vxlan } = this.#options;
    await routes.clear();
    await vxlan?.clear();
    if (this.#vxlanGuard !== '') await nft?.(removeTableScript(NETWORK_DEFAULTS.vxlanTable));
    if (this.#masquerade !== '') await nft?.(removeTableScript(NETWORK_DEFAULTS.table));
  }
}
