import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import {
  type Clock,
  type Dialer,
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
import { createProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import type { ListenAddress } from './tcp-listener.ts';
import { UdpFlow } from './udp-flow.ts';
import { type ClientAddress, plainAddress, type Upstream } from './upstream.ts';

export interface UdpProxyOptions {
  readonly listen: ListenAddress;
  /** Milliseconds without a datagram either way before a flow is dropped. Default 60,000. */
  readonly idleMs?: number;
  /** Flows at once; the one idle longest makes room. Default 4,096. */
  readonly maxFlows?: number;
  /** Endpoints tried for one flow. Default 3. */
  readonly maxDialAttempts?: number;
}

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

/** Starts a UDP proxy. Resolves once it is bound; rejects with {@link ProxyError}. */
export async function createUdpProxy(options: UdpProxyOptions, deps: UdpProxyDeps): Promise<UdpProxy> {
  const clock = deps.clock ?? systemClock;
  const log = deps.log ?? silentLogger;
  const metrics = createProxyMetrics(deps.metrics ?? noMetrics);
  const idleMs = options.idleMs ?? PROXY_DEFAULTS.udpIdleMs;
  const maxFlows = options.maxFlows ?? PROXY_DEFAULTS.maxUdpFlows;
  const table = new FlowTable();
  const socket = await bind(options.listen, (error) => log.warn('UDP listener failed', { error: messageOf(error) }));
  let sweeper: Timer | undefined;

  const flowDeps = {
    dialer: deps.dialer,
    metrics,
    maxDialAttempts: options.maxDialAttempts ?? PROXY_DEFAULTS.maxDialAttempts,
    reply: (client: ClientAddress, payload: Uint8Array) => reply(client, payload),
    ended(flow: UdpFlow, result: string) {
      table.remove(flow);
      deps.budget?.release(flow.client.address);
      metrics.activeFlows.add(-1);
      metrics.flowEnded(result);
    },
  };

  const reply = (client: ClientAddress, payload: Uint8Array) => {
    if (closed || socket.getSendQueueSize() > PROXY_DEFAULTS.maxUdpQueuedBytes) {
      metrics.datagramDropped('client-queue');
      return;
    }
    metrics.datagramsToClient.add();
    metrics.udpBytesToClient.add(payload.length);
    socket.send(payload, client.port, client.address, sendFailed);
  };
  const sendFailed = (error: Error | null) => {
    if (error !== null) metrics.datagramDropped('send-failed');
  };

  const sweep = () => {
    sweeper = undefined;
    const now = clock.now();
    for (const flow of table.all()) if (now - flow.lastUsed >= idleMs) flow.close('idle');
    if (table.size > 0) sweeper = clock.after(idleMs / 4, sweep);
  };

  const open = (key: string, from: RemoteInfo): UdpFlow | undefined => {
    const client = { address: from.address, port: from.port };
    const upstream = deps.route({ address: plainAddress(from.address), port: from.port });
    if (upstream === undefined) {
      metrics.rejected('no-route');
      return undefined;
    }
    if (table.size >= maxFlows) table.oldest()?.close('evicted');
    let verdict = deps.budget?.take(client.address) ?? 'ok';
    if (verdict === 'limit' && table.size > 0) {
      table.oldest()?.close('evicted');
      verdict = deps.budget?.take(client.address) ?? 'ok';
    }
    if (verdict !== 'ok') {
      metrics.rejected(verdict);
      return undefined;
    }
    const flow = new UdpFlow(client, upstream, flowDeps, () => clock.now());
    table.touch(key, flow);
    metrics.activeFlows.add(1);
    sweeper ??= clock.after(idleMs / 4, sweep);
    if (flow.open()) return flow;
    flow.close('no-endpoints');
    return undefined;
  };

  let closed = false;
  socket.on('message', (payload: Uint8Array, from) => {
    const key = keyOf(from.address, from.port);
    let flow = table.get(key);
    if (flow === undefined) flow = open(key, from);
    else {
      const now = clock.now();
      // Moving an entry for each datagram costs more than it tells.
      if (now - flow.lastUsed > idleMs / 4) table.touch(key, flow);
      flow.lastUsed = now;
    }
    flow?.send(payload);
  });

  let disposal: Promise<void> | undefined;
  const dispose = async () => {
    closed = true;
    sweeper?.cancel();
    for (const flow of table.all()) flow.close('shutdown');
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  };
  const bound = socket.address();
  return {
    address: bound.address,
    port: bound.port,
    get active() {
      return table.size;
    },
    [Symbol.asyncDispose]() {
      disposal ??= dispose();
      return disposal;
    },
  };
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
