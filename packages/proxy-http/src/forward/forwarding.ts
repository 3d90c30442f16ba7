import { type Endpoint, endpointKey, type Timer } from '@edgemesh/core';
import { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseHead } from '../message.ts';
import type { ClusterRef, ForwardAction } from '../route-model.ts';
import type { ProxyServices } from '../services.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import { RequestBody } from './request-body.ts';
import { isIdempotent, maxTries, mayRetryError, mayRetryStatus } from './retry-rules.ts';

const NOTHING_EXCLUDED: ReadonlySet<string> = new Set();
const MAX_BACKOFF_FACTOR = 10;

/** One request's way to an endpoint and back, over one or more tries. The first response head that is kept ends the tries. */
export class Forwarding implements AttemptOwner {
  private readonly exchange: Exchange;
  private readonly services: ProxyServices;
  private readonly action: ForwardAction;
  private readonly cluster: ClusterRef;
  private readonly protocol: 'http1' | 'h2';
  private readonly body: RequestBody | undefined;
  private attempt: Attempt | undefined;
  private excluded: Set<string> | undefined;
  private timer: Timer | undefined;
  private backoff: Timer | undefined;
  private holdsBudget = false;
  private upgraded = false;

  constructor(exchange: Exchange, services: ProxyServices) {
    this.exchange = exchange;
    this.services = services;
    this.action = exchange.hit?.route.action as ForwardAction;
    this.cluster = exchange.backend?.cluster as ClusterRef;
    const { head } = exchange.downstream;
    const { protocol } = this.cluster;
    const wantsH2 = protocol === 'h2' || (protocol === 'auto' && exchange.isGrpc);
    this.protocol = wantsH2 && head.upgrade === undefined ? 'h2' : 'http1';
    if (head.body === 'none' && head.upgrade === undefined) return;
    const keep = this.action.retries !== undefined || isIdempotent(head.method) || this.protocol === 'h2';
    this.body = new RequestBody(exchange, keep, services.limits.maxReplayBytes, (error) => this.bodyFailed(error));
  }

  start(): void {
    const { exchange, action, services } = this;
    exchange.onClosed((complete) => this.closed(complete));
    exchange.downstream.onDrained = () => this.attempt?.stream?.resume();
    if (action.timeoutMs !== undefined && action.timeoutMs > 0) {
      this.timer = services.clock.after(action.timeoutMs, () => {
        this.stop();
        exchange.fail(new HttpProxyError('upstream-timeout', 'no response in the time that the route allows'));
      });
    }
    this.tryNext(undefined);
  }

  private tryNext(before: HttpProxyError | undefined): void {
    this.backoff = undefined;
    const { exchange, services, cluster } = this;
    const endpoint = this.pick(before);
    if (endpoint === undefined) {
      exchange.fail(before ?? new HttpProxyError('no-endpoints', `no endpoint of ${cluster.service} is available`));
      return;
    }
    exchange.tries++;
    exchange.endpoint = `${endpoint.address}:${endpoint.port}`;
    const target = { cluster, endpoint, protocol: this.protocol, clientAddress: exchange.downstream.client.address };
    const attempt = new Attempt(target, this, services);
    this.attempt = attempt;
    attempt.start(target, this.requestHead(), this.action.retries?.perTryTimeoutMs ?? 0);
  }

  /** Another endpoint than before; the same one again only where there is no other and the policy asks for tries. */
  private pick(before: HttpProxyError | undefined): Endpoint | undefined {
    const { upstreams } = this.services;
    const flow = this.exchange.flow();
    const other = upstreams.pickEndpoint(this.cluster, flow, this.excluded ?? NOTHING_EXCLUDED);
    if (other !== undefined || before === undefined) return other;
    const again = before.code === 'upstream-closed' || this.action.retries !== undefined;
    return again ? upstreams.pickEndpoint(this.cluster, flow, NOTHING_EXCLUDED) : undefined;
  }

  private requestHead(): RequestHead {
    const { exchange, cluster } = this;
    const { head } = exchange.downstream;
    const timeoutMs = this.action.timeoutMs ?? 0;
    return {
      method: head.method,
      scheme: cluster.tls === undefined ? 'http' : 'https',
      authority: exchange.authority,
      target: exchange.target,
      headers: exchange.headers,
      version: '1.1',
      body: head.body === 'raw' ? 'none' : head.body,
      contentLength: head.contentLength,
      expectContinue: head.expectContinue,
      acceptsTrailers: head.acceptsTrailers,
      upgrade: head.upgrade,
      // A route that allows more time than silence usually gets means it.
      idleMs: timeoutMs > this.services.limits.upstreamIdleMs ? timeoutMs : undefined,
    };
  }

  // From the try.

  attemptOpened(attempt: Attempt): void {
    if (this.body !== undefined && this.exchange.downstream.head.upgrade === undefined) {
      this.body.flowTo(attempt.stream as NonNullable<Attempt['stream']>);
    }
  }

  attemptInformed(status: number, headers: HeaderList): void {
    this.exchange.downstream.inform(status, headers);
  }

  attemptHead(attempt: Attempt, head: ResponseHead): void {
    const { exchange } = this;
    if (mayRetryStatus(head.status, exchange.method, this.action.retries) && this.hasTries()) {
      const reason = new HttpProxyError('upstream-reset', `the endpoint answered ${head.status}`);
      if (this.retry(attempt, reason, String(head.status))) return;
    }
    this.timer?.cancel();
    this.releaseBudget();
    this.body?.commit();
    if (head.status === 101 && exchange.downstream.head.upgrade === undefined) {
      this.stop();
      exchange.fail(new HttpProxyError('upstream-protocol', 'the endpoint switched protocols unasked'));
      return;
    }
    exchange.respond(head);
    if (head.status !== 101) return;
    this.upgraded = true;
    this.body?.flowTo(attempt.stream as NonNullable<Attempt['stream']>);
  }

  attemptData(attempt: Attempt, chunk: Uint8Array): void {
    this.exchange.responseBytes += chunk.length;
    if (!this.exchange.downstream.write(chunk)) attempt.stream?.pause();
  }

  attemptEnded(_attempt: Attempt, trailers: HeaderList | undefined): void {
    this.exchange.downstream.end(trailers);
  }

  attemptDrained(): void {
    this.body?.drained();
  }

  attemptFailed(attempt: Attempt, error: HttpProxyError): void {
    const { exchange } = this;
    this.body?.detach();
    if (!exchange.responded && !exchange.closed) {
      if (mayRetryError(error, exchange.method, this.action.retries) && this.hasTries()) {
        if (this.retry(attempt, error, error.code)) return;
      }
    }
    this.stop();
    exchange.fail(error);
  }

  // Deciding.

  private hasTries(): boolean {
    return this.exchange.tries < maxTries(this.action.retries, this.services.limits);
  }

  private retry(attempt: Attempt, error: HttpProxyError, reason: string): boolean {
    const { metrics, retryBudget, limits, clock, random } = this.services;
    if (this.body?.canReplay === false) {
      metrics.retries.with('body').add();
      return false;
    }
    if (!this.holdsBudget) {
      if (!retryBudget.acquire()) {
        metrics.retries.with('budget').add();
        return false;
      }
      this.holdsBudget = true;
    }
    metrics.retries.with(reason).add();
    attempt.cancel();
    this.body?.detach();
    this.attempt = undefined;
    this.excluded ??= new Set();
    // A connection that had gone stale says nothing against its endpoint.
    if (error.code !== 'upstream-closed') this.excluded.add(endpointKey(attempt.endpoint));
    // Nobody has seen the request: there is nothing to wait for.
    if (error.retryable || error.code === 'upstream-closed') {
      this.tryNext(error);
      return true;
    }
    const base = this.action.retries?.backoffMs ?? limits.retryBackoffMs;
    const factor = Math.min(MAX_BACKOFF_FACTOR, 2 ** (this.exchange.tries - 1));
    this.backoff = clock.after(base * factor * (0.5 + random() / 2), () => this.tryNext(error));
    return true;
  }

  private bodyFailed(error: HttpProxyError): void {
    this.stop();
    if (error.code !== 'client-gone') this.exchange.fail(error);
  }

  private closed(complete: boolean): void {
    // A finished tunnel has nothing left to cancel; an unfinished one has.
    if (complete && !this.upgraded) this.attempt?.stream?.resume();
    this.stop();
  }

  private stop(): void {
    this.timer?.cancel();
    this.backoff?.cancel();
    this.releaseBudget();
    const { attempt } = this;
    this.attempt = undefined;
    attempt?.cancel();
  }

  private releaseBudget(): void {
    if (!this.holdsBudget) return;
    this.holdsBudget = false;
    this.services.retryBudget.release();
  }
}
