import { type Endpoint, messageOf, type Timer } from '@edgemesh/core';
import { HttpProxyError } from '../errors.ts';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseHead, ResponseSink, UpstreamStream } from '../message.ts';
import type { ClusterRef } from '../route-model.ts';
import type { ProxyServices } from '../services.ts';
import type { UpstreamTarget } from '../upstream/pools.ts';

/** What a try tells the forwarding it belongs to. Nothing after `ended` or `failed`. */
export interface AttemptOwner {
  attemptOpened(attempt: Attempt): void;
  attemptInformed(status: number, headers: HeaderList): void;
  attemptHead(attempt: Attempt, head: ResponseHead): void;
  attemptData(attempt: Attempt, chunk: Uint8Array): void;
  attemptEnded(attempt: Attempt, trailers: HeaderList | undefined): void;
  attemptDrained(): void;
  attemptFailed(attempt: Attempt, error: HttpProxyError): void;
}

/** One try at one endpoint: begin and end of its use, its time, and the one report of how it went. */
export class Attempt implements ResponseSink {
  readonly cluster: ClusterRef;
  readonly endpoint: Endpoint;
  stream: UpstreamStream | undefined;
  private readonly owner: AttemptOwner;
  private readonly services: ProxyServices;
  private timer: Timer | undefined;
  private over = false;
  private reported = false;
  private connected = false;

  constructor(target: UpstreamTarget, owner: AttemptOwner, services: ProxyServices) {
    this.cluster = target.cluster;
    this.endpoint = target.endpoint;
    this.owner = owner;
    this.services = services;
  }

  start(target: UpstreamTarget, head: RequestHead, perTryTimeoutMs: number): void {
    const { upstreams, pools, clock } = this.services;
    upstreams.begin?.(this.cluster, this.endpoint);
    if (perTryTimeoutMs > 0) {
      this.timer = clock.after(perTryTimeoutMs, () => {
        this.failed(new HttpProxyError('per-try-timeout', 'the endpoint did not respond to one try in time'));
      });
    }
    try {
      this.stream = pools.send(target, head, this);
    } catch (cause) {
      this.failed(
        cause instanceof HttpProxyError
          ? cause
          : new HttpProxyError('upstream-tls', 'cannot start a connection to the endpoint', { cause }),
      );
      return;
    }
    if (this.stream.isOpen) this.opened();
  }

  /** Ends the try from this side. */
  cancel(): void {
    if (!this.finish()) return;
    this.stream?.cancel();
  }

  opened(): void {
    if (this.over || this.connected || this.stream === undefined) return;
    this.connected = true;
    this.owner.attemptOpened(this);
  }

  informed(status: number, headers: HeaderList): void {
    if (this.over) return;
    try {
      this.owner.attemptInformed(status, headers);
    } catch (cause) {
      this.cannotPass(cause);
    }
  }

  head(head: ResponseHead): void {
    if (this.over) return;
    this.timer?.cancel();
    this.report(head.status);
    try {
      this.owner.attemptHead(this, head);
    } catch (cause) {
      this.cannotPass(cause);
    }
  }

  /** Node refuses to write some heads that it reads; one such response must not end the process. */
  private cannotPass(cause: unknown): void {
    this.services.log.warn('a response could not be passed on', { error: messageOf(cause) });
    this.failed(new HttpProxyError('upstream-protocol', 'the response cannot be passed on', { cause }));
  }

  data(chunk: Uint8Array): void {
    if (!this.over) this.owner.attemptData(this, chunk);
  }

  ended(trailers: HeaderList | undefined): void {
    if (this.finish()) this.owner.attemptEnded(this, trailers);
  }

  drained(): void {
    if (!this.over) this.owner.attemptDrained();
  }

  failed(error: HttpProxyError): void {
    if (!this.finish()) return;
    this.stream?.cancel();
    if (error.code === 'connect-failed' || error.code === 'connect-timeout') this.report('connect-failure');
    else if (error.code !== 'shutdown')
      this.report(error.code.endsWith('timeout') || error.code === 'upstream-idle' ? 504 : 502);
    this.owner.attemptFailed(this, error);
  }

  private finish(): boolean {
    if (this.over) return false;
    this.over = true;
    this.timer?.cancel();
    this.services.upstreams.end?.(this.cluster, this.endpoint);
    return true;
  }

  private report(result: number | 'connect-failure'): void {
    if (this.reported) return;
    this.reported = true;
    this.services.upstreams.report?.(
      this.cluster,
      this.endpoint,
      result === 'connect-failure' ? { kind: result } : { kind: 'response', status: result },
    );
  }
}
