import { type Datagrams, type Dialer, type Endpoint, endpointKey, type Flow, type MeshError } from '@edgemesh/core';
import type { ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import type { ClientAddress, Upstream } from './upstream.ts';

/** What a flow needs of its listener. */
export interface UdpFlowDeps {
  readonly dialer: Dialer;
  readonly metrics: ProxyMetrics;
  readonly maxDialAttempts: number;
  now(): number;
  /** Sends an answer to the client, from the address that the client has sent to. */
  reply(client: ClientAddress, payload: Uint8Array): void;
  /** The flow is over; called exactly once. */
  ended(flow: UdpFlow, result: string): void;
}

/**
 * One client address on one listener, and the channel to its endpoint. The first datagrams are kept until the first answer:
 * when the endpoint turns out to refuse, another one gets them too.
 */
export class UdpFlow {
  readonly client: ClientAddress;
  /** When a datagram last passed; the listener writes it for what comes, the flow for what goes back. */
  lastUsed: number;
  private readonly upstream: Upstream;
  private readonly deps: UdpFlowDeps;
  private channel: Datagrams | undefined;
  private current: Endpoint | undefined;
  private answered: boolean = false;
  private over: boolean = false;
  private attempts = 0;
  private tried: Set<string> | undefined;
  private early: Uint8Array[] = [];
  private earlyBytes = 0;

  constructor(client: ClientAddress, upstream: Upstream, deps: UdpFlowDeps) {
    this.client = client;
    this.upstream = upstream;
    this.deps = deps;
    this.lastUsed = deps.now();
  }

  /** Where its datagrams go. */
  get endpoint(): Endpoint | undefined {
    return this.current;
  }

  /** Opens the channel. False: there is no endpoint. */
  open(): boolean {
    const flow: Flow = { sourceIp: this.client.address };
    const endpoint = this.upstream.pick(flow, this.tried);
    if (endpoint === undefined) return false;
    this.attempts++;
    this.current = endpoint;
    this.upstream.begin?.(endpoint);
    const channel = this.deps.dialer.openDatagrams(endpoint, { clientAddress: this.client.address });
    this.channel = channel;
    channel.attach({
      message: (payload) => this.answer(endpoint, payload),
      closed: (error) => this.channelClosed(channel, endpoint, error),
    });
    return true;
  }

  send(payload: Uint8Array): void {
    const { metrics } = this.deps;
    if (!this.answered) this.keep(payload);
    const length = payload.length;
    if (this.channel?.send(payload)) {
      metrics.datagramsToEndpoint.add();
      metrics.udpBytesToEndpoint.add(length);
    } else metrics.datagramDropped('endpoint-queue');
  }

  /** Ends the flow, for the reason that the metric shall carry. */
  close(result: string): void {
    if (this.over) return;
    this.over = true;
    this.channel?.close();
    this.early = [];
    this.deps.ended(this, result);
  }

  private keep(payload: Uint8Array): void {
    if (this.early.length >= PROXY_DEFAULTS.maxEarlyDatagrams) return;
    if (this.earlyBytes + payload.length > PROXY_DEFAULTS.maxEarlyDatagramBytes) return;
    this.early.push(new Uint8Array(payload));
    this.earlyBytes += payload.length;
  }

  private answer(endpoint: Endpoint, payload: Uint8Array): void {
    if (this.over) return;
    this.lastUsed = this.deps.now();
    if (!this.answered) {
      this.answered = true;
      this.early = [];
      this.upstream.report?.(endpoint, { kind: 'success' });
    }
    this.deps.reply(this.client, payload);
  }

  private channelClosed(channel: Datagrams, endpoint: Endpoint, error: MeshError | undefined): void {
    this.upstream.end?.(endpoint);
    if (this.over || this.channel !== channel) return;
    this.channel = undefined;
    if (error?.retryable && !this.answered) {
      this.upstream.report?.(endpoint, { kind: 'connect-failure' });
      this.tried ??= new Set();
      this.tried.add(endpointKey(endpoint));
      if (this.attempts < this.deps.maxDialAttempts && this.open()) {
        const { channel: next } = this;
        for (const payload of this.early) (next as Datagrams | undefined)?.send(new Uint8Array(payload));
        return;
      }
    }
    this.close(error?.code ?? 'ok');
  }
}
