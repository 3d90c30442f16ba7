import { type Clock, type DatagramSink, type Datagrams, type Logger, MeshError } from '@edgemesh/core';
import { NETWORK_DEFAULTS } from '../options.ts';
import { inspectFrame } from '../packets/inspect.ts';
import { be16, destinationAt, FRAME_HEADER_BYTES, IP, sourceAt, versionOf } from '../packets/layout.ts';
import { RangeMap, RangeSet } from '../packets/range-set.ts';
import { isUdpBatch, segmentUdp } from '../packets/segment-udp.ts';
import type { PacketMetrics } from './metrics.ts';
import { PeerChannel } from './peer-channel.ts';
import type { NetworkPlan } from './planner.ts';
import type { OpenPackets, TunPort } from './types.ts';

export interface PumpDeps {
  readonly tun: TunPort;
  readonly openPackets: OpenPackets;
  /** TCP ports of the tunnel: the node's own connections to them must not go through the tunnel. */
  readonly tunnelPorts: readonly number[];
  readonly metrics: PacketMetrics;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Moves frames between the TUN device and the channels to other nodes. Nothing is allocated per packet but its bytes. */
export class PacketPump {
  readonly #deps: PumpDeps;
  readonly #peers = new Map<string, PeerChannel>();
  /** Channels on which nodes send to us. */
  readonly #accepted = new Set<DatagramSink>();
  #routes = new RangeMap<PeerChannel>([]);
  #local = new RangeSet([]);
  #gateways = new RangeSet([]);
  #sources = new Map<string, RangeSet>();
  #now = 0;
  #closed = false;

  constructor(deps: PumpDeps) {
    this.#deps = deps;
    this.#now = deps.clock.now();
    deps.tun.start((frame) => this.#fromPods(frame));
  }

  get peers(): ReadonlyMap<string, PeerChannel> {
    return this.#peers;
  }

  /** Follows a new plan. Channels to nodes that are still there stay open. */
  apply(plan: NetworkPlan, gateways: readonly string[]): void {
    const byTunnel = plan.paths.filter(({ kind }) => kind === 'tunnel');
    const wanted = new Set(byTunnel.map(({ node }) => node));
    for (const [name, peer] of this.#peers) {
      if (wanted.has(name)) continue;
      peer.close();
      this.#peers.delete(name);
    }
    this.#routes = new RangeMap(byTunnel.map(({ node, cidr }) => [cidr, this.#peer(node)] as const));
    this.#local = new RangeSet(plan.own);
    this.#gateways = new RangeSet(gateways);
    // Sets that did not change are kept: open channels hold them.
    this.#sources = new Map([...plan.rangesOf].map(([node, cidrs]) => [node, new RangeSet(cidrs)]));
  }

  #peer(nodeName: string): PeerChannel {
    const known = this.#peers.get(nodeName);
    if (known !== undefined) return known;
    const peer = new PeerChannel(nodeName, {
      open: this.#deps.openPackets,
      clock: this.#deps.clock,
      onClosed: (node, error) =>
        this.#deps.log.info('the packet channel to a node was closed', { node, reason: error?.message }),
    });
    this.#peers.set(nodeName, peer);
    return peer;
  }

  /** Closes channels that nobody used for a while. */
  sweep(): void {
    this.#now = this.#deps.clock.now();
    for (const peer of this.#peers.values()) {
      if (peer.isOpen && this.#now - peer.lastUsed > NETWORK_DEFAULTS.idleChannelMs) peer.idle();
    }
  }

  /** A packet that the kernel routed to us: to the node that has its destination. */
  #fromPods(frame: Uint8Array): void {
    const { metrics } = this.#deps;
    const version = versionOf(frame);
    if (frame.length < FRAME_HEADER_BYTES + (version === 4 ? 20 : 40)) {
      metrics.sendDrops.size.add();
      return;
    }
    const peer = this.#routes.find(frame, destinationAt(version), version);
    if (peer === undefined) {
      metrics.sendDrops['no-route'].add();
      return;
    }
    if (this.#isTunnel(frame, version)) {
      metrics.sendDrops.loop.add();
      return;
    }
    peer.lastUsed = this.#now;
    const outcome = peer.send(frame);
    if (outcome === 'sent') {
      metrics.sent.add();
      metrics.sentBytes.add(frame.length);
    } else metrics.sendDrops[outcome].add();
  }

  /**
   * True for the tunnel's own bytes: a peer announced a pod-range address of its node, and the tunnel took the way through
   * itself. Dropped, it fails there and takes another path.
   */
  #isTunnel(frame: Uint8Array, version: number): boolean {
    if (!this.#gateways.has(frame, sourceAt(version), version)) return false;
    const [protocol, tcp] =
      version === 4 ? [frame[IP + 9], IP + ((frame[IP] as number) & 15) * 4] : [frame[IP + 6], IP + 40];
    if (protocol !== 6 || frame.length < tcp + 4) return false;
    const { tunnelPorts } = this.#deps;
    return tunnelPorts.includes(be16(frame, tcp)) || tunnelPorts.includes(be16(frame, tcp + 2));
  }

  /** A channel on which a node sends packets for our pods. Its frames are checked one by one. */
  accept(nodeName: string): Datagrams | MeshError {
    if (this.#closed) return new MeshError('shutdown', 'the pod network is stopping');
    if (!this.#sources.has(nodeName)) {
      const message = `node ${nodeName} has no pod ranges here: it may send no packets yet`;
      return new MeshError('forbidden', message, { retryable: true });
    }
    let sink: DatagramSink | undefined;
    return {
      attach: (given) => {
        sink = given;
        this.#accepted.add(given);
      },
      send: (frame) => {
        this.#fromNode(nodeName, frame);
        return true;
      },
      close: (error) => {
        const told = sink;
        sink = undefined;
        if (told !== undefined && this.#accepted.delete(told)) told.closed(error);
      },
    };
  }

  #fromNode(nodeName: string, frame: Uint8Array): void {
    const { metrics, tun } = this.#deps;
    const from = this.#sources.get(nodeName);
    // The node has left: its packets have no business here any more.
    const fault = from === undefined ? 'source' : inspectFrame(frame, from, this.#local);
    if (fault !== undefined) {
      metrics.receiveDrops[fault].add();
      return;
    }
    metrics.received.add();
    metrics.receivedBytes.add(frame.length);
    if (tun.offload !== 'tso+uso' && isUdpBatch(frame)) {
      for (const part of segmentUdp(frame) ?? []) this.#write(part);
    } else this.#write(frame);
  }

  #write(frame: Uint8Array): void {
    if (this.#closed || !this.#deps.tun.write(frame)) this.#deps.metrics.receiveDrops.refused.add();
  }

  close(): void {
    this.#closed = true;
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
    // Whoever sends must open another channel, or sends into nowhere when the pod network starts again.
    const error = new MeshError('shutdown', 'the pod network is stopping', { retryable: true });
    const accepted = [...this.#accepted];
    this.#accepted.clear();
    for (const sink of accepted) sink.closed(error);
    this.#routes = new RangeMap([]);
  }
}
