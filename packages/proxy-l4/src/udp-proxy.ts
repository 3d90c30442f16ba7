import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import {
  type Clock,
  type Dialer,
  type Endpoint,
  ipVersion,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import type { ConnectionBudget } from './connection-budget.ts';
import { listenError } from './errors.ts';
import { createProxyMetrics, type ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import type { ListenAddress } from './tcp-listener.ts';
import { UdpFlow, type UdpFlowDeps } from './udp-flow.ts';
import { type ClientAddress, plainAddress, type Upstream } from './upstream.ts';

/** Where a UDP proxy listens, and the limits of its flows. */
export interface UdpProxyOptions {
  readonly listen: ListenAddress;
  /** Milliseconds without a datagram either way before a flow is dropped. Default 60,000. */
  readonly idleMs?: number;
  /** Flows at once; the one idle longest makes room. Default 12,288. */
  readonly maxFlows?: number;
  /** Endpoints tried for one flow. Default 3. */
  readonly maxDialAttempts?: number;
}

/** What a UDP proxy works with. */
export interface UdpProxyDeps {
  /** Says where a flow goes; undefined drops the datagram. Called for the first datagram of each flow. */
  readonly route: (client: ClientAddress) => Upstream | undefined;
  readonly dialer: Dialer;
  /** Limits of flows shared with other listeners. Default: none but `maxFlows`. */
  readonly budget?: ConnectionBudget;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** A UDP listener that forwards each client's datagrams to one endpoint, and answers from the address it listens on. */
export interface UdpProxy extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Flows at this moment. */
  readonly active: number;
  /** Ends flows whose endpoint is no longer right; the next datagram of such a client opens another one. */
  recheck(isCurrent: (endpoint: Endpoint) => boolean): void;
}

/** Flows by client, in the order of use as far as a quarter of the idle time tells them apart. */
class FlowTable {
  private readonly flows = new Map<string, UdpFlow>();

  get size(): number {
    return this.flows.size;
  }

  get(key: string): UdpFlow | undefined {
    return this.flows.get(key);
  }

  /** Adds the flow, or moves it to the young end. */
  touch(key: string, flow: UdpFlow): void {
    this.flows.delete(key);
    this.flows.set(key, flow);
  }

  remove(flow: UdpFlow): void {
    const key = keyOf(flow.client.address, flow.client.port);
    if (this.flows.get(key) === flow) this.flows.delete(key);
  }

  oldest(): UdpFlow | undefined {
    for (const flow of this.flows.values()) return flow;
    return undefined;
  }

  all(): UdpFlow[] {
    return [...this.flows.values()];
  }
}

function keyOf(address: string, port: number): string {
  return `${address} ${port}`;
}

/** The listener: hands datagrams to flows, answers to clients, and keeps the table within its limits. */
class UdpListener implements UdpProxy {
  readonly address: string;
  readonly port: number;
  private readonly socket: Socket;
  private readonly deps: UdpProxyDeps;
  private readonly clock: Clock;
  private readonly metrics: ProxyMetrics;
  private readonly idleMs: number;
  private readonly maxFlows: number;
  private readonly table = new FlowTable();
  private readonly flowDeps: UdpFlowDeps;
  private sweeper: Timer | undefined;
  private disposal: Promise<void> | undefined;

  constructor(socket: Socket, options: UdpProxyOptions, deps: UdpProxyDeps) {
    const bound = socket.address();
    this.address = bound.address;
    this.port = bound.port;
    this.socket = socket;
    this.deps = deps;
    this.clock = deps.clock ?? systemClock;
    this.metrics = createProxyMetrics(deps.metrics ?? noMetrics);
    this.idleMs = options.idleMs ?? PROXY_DEFAULTS.udpIdleMs;
    this.maxFlows = options.maxFlows ?? PROXY_DEFAULTS.maxUdpFlows;
    this.flowDeps = {
      dialer: deps.dialer,
      metrics: this.metrics,
      maxDialAttempts: options.maxDialAttempts ?? PROXY_DEFAULTS.maxDialAttempts,
      now: () => this.clock.now(),
      reply: (client, payload) => this.reply(client, payload),
      ended: (flow, result) => this.flowEnded(flow, result),
    };
    socket.on('message', (payload, from) => this.received(payload, from));
  }

  get active(): number {
    return this.table.size;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposal ??= new Promise((resolve) => {
      this.sweeper?.cancel();
      for (const flow of this.table.all()) flow.close('shutdown');
      this.socket.close(() => resolve());
    });
    return this.disposal;
  }

  recheck(isCurrent: (endpoint: Endpoint) => boolean): void {
    for (const flow of this.table.all()) {
      if (flow.endpoint !== undefined && !isCurrent(flow.endpoint)) flow.close('endpoint-gone');
    }
  }

  private received(payload: Uint8Array, from: RemoteInfo): void {
    const key = keyOf(from.address, from.port);
    const flow = this.table.get(key);
    if (flow === undefined) {
      this.open(key, from)?.send(payload);
      return;
    }
    const now = this.clock.now();
    // Moving an entry for each datagram costs more than it tells.
    if (now - flow.lastUsed > this.idleMs / 4) this.table.touch(key, flow);
    flow.lastUsed = now;
    flow.send(payload);
  }

  private open(key: string, from: RemoteInfo): UdpFlow | undefined {
    const upstream = this.deps.route({ address: plainAddress(from.address), port: from.port });
    const verdict = upstream === undefined ? 'no-route' : this.takePlace(from.address);
    if (upstream === undefined || verdict !== 'ok') {
      this.metrics.rejected(verdict);
      return undefined;
    }
    const flow = new UdpFlow({ address: from.address, port: from.port }, upstream, this.flowDeps);
    this.table.touch(key, flow);
    this.metrics.activeFlows.add(1);
    this.sweeper ??= this.clock.after(this.idleMs / 4, () => this.sweep());
    if (flow.open()) return flow;
    flow.close('no-endpoints');
    return undefined;
  }

  /** Finds room for one more flow, at the cost of the one idle longest where it must be. */
  private takePlace(clientAddress: string): 'ok' | 'limit' | 'client-limit' {
    const { budget } = this.deps;
    if (this.table.size >= this.maxFlows) this.table.oldest()?.close('evicted');
    const verdict = budget?.take(clientAddress) ?? 'ok';
    if (verdict !== 'limit' || this.table.size === 0) return verdict;
    this.table.oldest()?.close('evicted');
    return budget?.take(clientAddress) ?? 'ok';
  }

  private reply(client: ClientAddress, payload: Uint8Array): void {
    if (this.disposal !== undefined || this.socket.getSendQueueSize() > PROXY_DEFAULTS.maxUdpQueuedBytes) {
      this.metrics.datagramDropped('client-queue');
      return;
    }
    this.metrics.datagramsToClient.add();
    this.metrics.udpBytesToClient.add(payload.length);
    this.socket.send(payload, client.port, client.address, this.sent);
  }

  private readonly sent = (error: Error | null) => {
    if (error !== null) this.metrics.datagramDropped('send-failed');
  };

  private flowEnded(flow: UdpFlow, result: string): void {
    this.table.remove(flow);
    this.deps.budget?.release(flow.client.address);
    this.metrics.activeFlows.add(-1);
    this.metrics.flowEnded(result);
  }

  private sweep(): void {
    this.sweeper = undefined;
    const now = this.clock.now();
    for (const flow of this.table.all()) if (now - flow.lastUsed >= this.idleMs) flow.close('idle');
    if (this.table.size > 0) this.sweeper = this.clock.after(this.idleMs / 4, () => this.sweep());
  }
}

/** Starts a UDP proxy. Resolves once it is bound; rejects with {@link ProxyError}. */
export async function createUdpProxy(options: UdpProxyOptions, deps: UdpProxyDeps): Promise<UdpProxy> {
  const log = deps.log ?? silentLogger;
  const socket = await bind(options.listen, (error) => log.warn('UDP listener failed', { error: messageOf(error) }));
  return new UdpListener(socket, options, deps);
}

function bind({ host, port }: ListenAddress, onError: (error: Error) => void): Promise<Socket> {
  const socket = createSocket(ipVersion(host) === 6 ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      socket.close();
      reject(listenError(cause, `${host} port ${port} (UDP)`));
    };
    socket.once('error', failed);
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.off('error', failed);
      socket.on('error', onError);
      // The kernel grants at most net.core.rmem_max and wmem_max, without an error.
      socket.setRecvBufferSize(PROXY_DEFAULTS.udpSocketBufferBytes);
      socket.setSendBufferSize(PROXY_DEFAULTS.udpSocketBufferBytes);
      resolve(socket);
    });
  });
}
