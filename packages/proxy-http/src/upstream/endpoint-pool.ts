import type { ByteStream, Dialer, Endpoint } from '@edgemesh/core';
import { HttpProxyError } from '../errors.ts';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseSink, UpstreamStream } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { UpstreamTls } from '../route-model.ts';
import type { Sweeper } from '../sweeper.ts';
import { Http1ClientConnection } from './http1-connection.ts';
import { Http2ClientSession } from './http2-session.ts';
import { byteStreamToDuplex, duplexToByteStream } from './stream-duplex.ts';
import { connectTls, upstreamContext } from './tls-stream.ts';

export interface EndpointPoolOptions {
  readonly dialer: Dialer;
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
  readonly endpoint: Endpoint;
  readonly protocol: 'http1' | 'h2';
  readonly tls: UpstreamTls | undefined;
}

/** A request that waits for a connection, and stands for it until then. */
class WaitingStream implements UpstreamStream {
  readonly head: RequestHead;
  readonly sink: ResponseSink;
  readonly clientAddress: string;
  private inner: UpstreamStream | undefined;
  cancelled = false;

  constructor(head: RequestHead, sink: ResponseSink, clientAddress: string) {
    this.head = head;
    this.sink = sink;
    this.clientAddress = clientAddress;
  }

  get isOpen(): boolean {
    return this.inner?.isOpen ?? false;
  }

  start(inner: UpstreamStream): void {
    this.inner = inner;
    if (inner.isOpen) this.sink.opened();
  }

  write(chunk: Uint8Array): boolean {
    return this.inner?.write(chunk) ?? true;
  }

  end(trailers?: HeaderList): void {
    this.inner?.end(trailers);
  }

  cancel(): void {
    this.cancelled = true;
    this.inner?.cancel();
  }

  pause(): void {
    this.inner?.pause();
  }

  resume(): void {
    this.inner?.resume();
  }
}

/** The connections to one endpoint in one protocol. The most recently used idle one is taken first. */
export class EndpointPool {
  private readonly options: EndpointPoolOptions;
  private readonly idle: Http1ClientConnection[] = [];
  /** All that are open or opening, the idle ones included. */
  private readonly open = new Set<Http1ClientConnection>();
  private readonly sessions = new Set<Http2ClientSession>();
  private waiting: WaitingStream[] = [];
  private retired = false;

  constructor(options: EndpointPoolOptions) {
    this.options = options;
  }

  get connections(): number {
    return this.open.size + this.sessions.size;
  }

  /** Whether this pool is the one for a protocol and TLS configuration. */
  serves(protocol: 'http1' | 'h2', tls: UpstreamTls | undefined): boolean {
    return !this.retired && this.options.protocol === protocol && this.options.tls === tls;
  }

  /** It has been forgotten: nobody may come back to it. */
  retire(): void {
    this.retired = true;
  }

  send(head: RequestHead, sink: ResponseSink, clientAddress: string): UpstreamStream {
    const stream = this.trySend(head, sink, clientAddress);
    if (stream !== undefined) return stream;
    if (this.waiting.length >= this.options.limits.maxPendingPerEndpoint) {
      throw new HttpProxyError('overload', 'too many requests wait for the endpoint', { retryable: true });
    }
    const waiting = new WaitingStream(head, sink, clientAddress);
    this.waiting.push(waiting);
    return waiting;
  }

  destroy(why: HttpProxyError): void {
    for (const connection of [...this.open]) connection.abort(why);
    for (const session of this.sessions) session.destroy(why);
    for (const { sink, cancelled } of this.waiting.splice(0)) if (!cancelled) sink.failed(why);
  }

  private trySend(head: RequestHead, sink: ResponseSink, clientAddress: string): UpstreamStream | undefined {
    if (this.options.protocol === 'h2') {
      return this.session(clientAddress)?.send(head, this.options.tls === undefined ? 'http' : 'https', sink);
    }
    const kept = this.idle.pop();
    if (kept !== undefined) return kept.send(head, sink);
    if (this.open.size >= this.options.limits.maxConnectionsPerEndpoint) return undefined;
    const connection = new Http1ClientConnection(this.byteStream(clientAddress), {
      limits: this.options.limits,
      sweeper: this.options.sweeper,
      onIdle: (c) => this.onIdle(c),
      onClosed: (c) => this.onClosed(c),
    });
    this.open.add(connection);
    return connection.send(head, sink);
  }

  private onIdle(connection: Http1ClientConnection): void {
    if (this.idle.length >= this.options.limits.maxIdlePerEndpoint && this.waiting.length === 0) {
      connection.destroy();
      return;
    }
    this.idle.push(connection);
    if (this.waiting.length > 0) this.startWaiting();
  }

  private onClosed(connection: Http1ClientConnection): void {
    this.open.delete(connection);
    const at = this.idle.lastIndexOf(connection);
    if (at >= 0) this.idle.splice(at, 1);
    if (this.waiting.length > 0) this.startWaiting();
  }

  private startWaiting(): void {
    while (this.waiting.length > 0) {
      const next = this.waiting.shift() as WaitingStream;
      if (next.cancelled || this.startNext(next)) continue;
      this.waiting.unshift(next);
      return;
    }
  }

  /** False: there is still no connection for it. */
  private startNext(next: WaitingStream): boolean {
    try {
      const stream = this.trySend(next.head, next.sink, next.clientAddress);
      if (stream === undefined) return false;
      next.start(stream);
    } catch (cause) {
      next.sink.failed(
        new HttpProxyError('connect-failed', 'cannot connect to the endpoint', { retryable: true, cause }),
      );
    }
    return true;
  }

  private session(clientAddress: string): Http2ClientSession | undefined {
    for (const session of this.sessions) if (session.usable) return session;
    const { limits, sweeper, tls } = this.options;
    if (this.sessions.size >= limits.maxSessionsPerEndpoint) return undefined;
    const context = {
      limits,
      sweeper,
      onSlot: () => this.startWaiting(),
      onClosed: (closed: Http2ClientSession) => {
        this.sessions.delete(closed);
        this.startWaiting();
      },
    };
    let session: Http2ClientSession | undefined;
    const plain = byteStreamToDuplex(this.dial(clientAddress), () => {
      if (tls === undefined) session?.opened();
    });
    const duplex = tls === undefined ? plain : connectTls(plain, tls, 'h2');
    session = new Http2ClientSession(duplex, context);
    this.sessions.add(session);
    return session;
  }

  private byteStream(clientAddress: string): ByteStream {
    const stream = this.dial(clientAddress);
    const { tls } = this.options;
    if (tls === undefined) return stream;
    return duplexToByteStream(connectTls(byteStreamToDuplex(stream), tls, 'http/1.1'), 'secureConnect');
  }

  private dial(clientAddress: string): ByteStream {
    const { dialer, endpoint, limits, tls } = this.options;
    // Throws before anything has been opened.
    if (tls !== undefined) upstreamContext(tls);
    const { address, port, nodeName } = endpoint;
    return dialer.dial(
      { address, port, ...(nodeName !== undefined && { nodeName }) },
      { clientAddress, timeoutMs: limits.connectTimeoutMs },
    );
  }
}
