import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { HttpProxyError } from '../errors.ts';
import { endToEndFields, toHttp2Headers, trailerFields } from '../h2/fields.ts';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseHead, ResponseSink, UpstreamStream } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { Deadlined, Sweeper } from '../sweeper.ts';

/** What a session needs of its pool. */
export interface Http2SessionContext {
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
  /** A stream has ended: another may be opened. */
  onSlot(session: Http2ClientSession): void;
  onClosed(session: Http2ClientSession): void;
}

/** RFC 9113 6.5.2 sets no limit before SETTINGS arrive; 100 is what it recommends at least. */
const INITIAL_MAX_STREAMS = 100;
const CONTENT_LENGTH: ReadonlySet<string> = new Set(['content-length']);

/** The client side of one HTTP/2 connection; many requests at once. */
export class Http2ClientSession implements Deadlined {
  deadline: number;
  isOpen = false;
  streams = 0;
  private readonly session: ClientHttp2Session;
  private readonly context: Http2SessionContext;
  private readonly live = new Set<Http2ClientStream>();
  private retired = false;
  private failure: HttpProxyError | undefined;

  /** @param duplex the connection, which may still be opening; the owner calls {@link opened} */
  constructor(duplex: Duplex, context: Http2SessionContext) {
    this.context = context;
    const { limits, sweeper } = context;
    this.deadline = sweeper.now + limits.connectTimeoutMs;
    sweeper.add(this);
    this.session = connect('http://endpoint.invalid', {
      createConnection: () => duplex,
      settings: { enablePush: false, initialWindowSize: limits.http2WindowBytes },
      maxSessionMemory: limits.maxSessionMemoryMiB,
      maxHeaderListPairs: limits.maxResponseHeaderCount,
      maxSettings: limits.maxHttp2Settings,
    });
    this.session.once('remoteSettings', () => this.opened());
    this.session.on('goaway', () => this.retire());
    this.session.on('error', (cause) => {
      this.failure ??= new HttpProxyError('upstream-reset', `HTTP/2 session failed: ${cause.message}`, { cause });
    });
    this.session.once('close', () => this.leave());
  }

  get usable(): boolean {
    if (this.retired || this.session.closed || this.session.destroyed) return false;
    return this.streams < (this.session.remoteSettings?.maxConcurrentStreams ?? INITIAL_MAX_STREAMS);
  }

  opened(): void {
    if (this.isOpen || this.session.destroyed) return;
    this.isOpen = true;
    this.deadline = this.streams === 0 ? this.idleDeadline() : Number.POSITIVE_INFINITY;
    for (const stream of [...this.live]) stream.sink.opened();
  }

  send(head: RequestHead, scheme: 'http' | 'https', sink: ResponseSink): UpstreamStream {
    const stream = new Http2ClientStream(this, this.context, this.requestStream(head, scheme), head, sink);
    this.live.add(stream);
    this.streams++;
    if (this.isOpen) this.deadline = Number.POSITIVE_INFINITY;
    return stream;
  }

  private requestStream(head: RequestHead, scheme: string): ClientHttp2Stream {
    const headers = toHttp2Headers(head.headers, {
      ':method': head.method,
      ':scheme': scheme,
      ':path': head.target,
      ...(head.authority !== '' && { ':authority': head.authority }),
    });
    if (head.acceptsTrailers) headers.te = 'trailers';
    if (head.expectContinue) headers.expect = '100-continue';
    if (head.contentLength !== undefined) headers['content-length'] = String(head.contentLength);
    return this.session.request(headers, { endStream: head.body === 'none', waitForTrailers: head.body !== 'none' });
  }

  /** No new streams; the running ones may end. */
  retire(): void {
    this.retired = true;
    if (!this.session.closed) this.session.close();
  }

  destroy(why: HttpProxyError): void {
    this.failure ??= why;
    this.session.destroy();
  }

  onDeadline(): void {
    if (this.isOpen) this.retire();
    else
      this.destroy(new HttpProxyError('connect-timeout', 'the endpoint did not accept in time', { retryable: true }));
  }

  /** Why streams fail that the session takes with it. */
  reasonOfLoss(): HttpProxyError {
    if (this.failure !== undefined && (this.isOpen || this.failure.code !== 'upstream-reset')) return this.failure;
    if (this.isOpen) return new HttpProxyError('upstream-reset', 'the endpoint closed the connection');
    return new HttpProxyError('connect-failed', 'cannot connect to the endpoint', {
      retryable: true,
      cause: this.failure,
    });
  }

  streamClosed(stream: Http2ClientStream): void {
    if (!this.live.delete(stream)) return;
    this.streams--;
    if (this.streams === 0 && this.isOpen) this.deadline = this.idleDeadline();
    this.context.onSlot(this);
  }

  private idleDeadline(): number {
    return this.context.sweeper.now + this.context.limits.poolIdleMs;
  }

  private leave(): void {
    this.retired = true;
    this.context.sweeper.delete(this);
    this.context.onClosed(this);
  }
}

/** One request on a session. */
class Http2ClientStream implements UpstreamStream, Deadlined {
  deadline: number;
  readonly sink: ResponseSink;
  private readonly session: Http2ClientSession;
  private readonly context: Http2SessionContext;
  private readonly stream: ClientHttp2Stream;
  private over = false;
  private trailers: HeaderList | undefined;
  private outTrailers: HeaderList | undefined;
  private readonly head: RequestHead;

  constructor(
    session: Http2ClientSession,
    context: Http2SessionContext,
    stream: ClientHttp2Stream,
    head: RequestHead,
    sink: ResponseSink,
  ) {
    this.session = session;
    this.context = context;
    this.stream = stream;
    this.head = head;
    this.sink = sink;
    this.deadline = Number.POSITIVE_INFINITY;
    this.touch();
    context.sweeper.add(this);
    stream.on('headers', (headers) => this.onInformational(headers));
    stream.on('response', (headers, flags, raw?: string[]) => this.onResponse(headers, flags, raw));
    stream.on('trailers', (trailers) => {
      this.trailers = trailerFields(trailers);
    });
    stream.on('drain', () => !this.over && sink.drained());
    stream.on('wantTrailers', () => this.sendTrailers());
    stream.on('error', () => this.onClose());
    stream.on('close', () => this.onClose());
  }

  get isOpen(): boolean {
    return this.session.isOpen;
  }

  write(chunk: Uint8Array): boolean {
    if (this.over || this.stream.writableEnded || this.stream.destroyed) return true;
    this.touch();
    return this.stream.write(chunk);
  }

  end(trailers?: HeaderList): void {
    if (this.over || this.stream.writableEnded) return;
    this.outTrailers = trailers;
    this.stream.end();
  }

  cancel(): void {
    if (this.over) return;
    this.settle();
    // `close` would end the body first, and the endpoint would take it for complete.
    if (this.stream.writableEnded) this.stream.close(constants.NGHTTP2_CANCEL);
    else this.stream.destroy(new HttpProxyError('client-gone', 'the request was cancelled'));
  }

  pause(): void {
    this.stream.pause();
    this.deadline = Number.POSITIVE_INFINITY;
  }

  resume(): void {
    this.stream.resume();
    this.touch();
  }

  onDeadline(): void {
    if (this.over) return;
    this.cancel();
    this.sink.failed(new HttpProxyError('upstream-idle', 'the endpoint was silent for too long'));
  }

  private sendTrailers(): void {
    if (this.stream.destroyed) return;
    this.stream.sendTrailers(toHttp2Headers(this.outTrailers ?? [], {}));
  }

  private onInformational(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    const status = headers[':status'] ?? 0;
    if (!this.over && status !== 101) this.sink.informed(status, trailerFields(headers));
  }

  private onResponse(
    headers: IncomingHttpHeaders & IncomingHttpStatusHeader,
    flags: number,
    raw: string[] | undefined,
  ): void {
    if (this.over) return;
    this.touch();
    const status = headers[':status'] ?? 0;
    const length = headers['content-length'];
    const bodiless = this.head.method === 'HEAD' || status === 204 || status === 304;
    // gRPC's Trailers-Only: a head that ends the stream must arrive as one, or its status is not found.
    const isEnd = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const known = length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
    const contentLength = isEnd && !bodiless ? 0 : known;
    const head: ResponseHead = {
      status,
      headers: raw === undefined ? trailerFields(headers) : endToEndFields(raw, CONTENT_LENGTH),
      body: bodiless || contentLength === 0 ? 'none' : contentLength === undefined ? 'stream' : 'length',
      contentLength,
    };
    this.sink.head(head);
    // Not earlier: node:http2 delivers data that came with the head before it tells of the head.
    this.stream.on('data', (chunk: Buffer) => {
      this.touch();
      if (!this.over) this.sink.data(chunk);
    });
    this.stream.on('end', () => this.onEnd());
  }

  private onEnd(): void {
    // An error of the stream arrives as an end, too; `close` knows better.
    if (this.over || this.stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    const { sink } = this;
    this.settle();
    sink.ended(this.trailers);
    // The answer is complete and the rest of the request unwanted.
    if (!this.stream.writableEnded) this.stream.destroy(new HttpProxyError('client-gone', 'the answer came first'));
  }

  private onClose(): void {
    if (this.over) return;
    const code = this.stream.rstCode;
    this.settle();
    if (code === constants.NGHTTP2_REFUSED_STREAM) {
      this.sink.failed(new HttpProxyError('refused-stream', 'the endpoint refused the stream', { retryable: true }));
    } else if (
      code === undefined ||
      code === constants.NGHTTP2_NO_ERROR ||
      code === constants.NGHTTP2_INTERNAL_ERROR ||
      !this.session.isOpen
    ) {
      this.sink.failed(this.session.reasonOfLoss());
    } else this.sink.failed(new HttpProxyError('upstream-reset', `the endpoint reset the stream (code ${code})`));
  }

  private settle(): void {
    this.over = true;
    this.context.sweeper.delete(this);
    this.session.streamClosed(this);
  }

  private touch(): void {
    const idleMs = this.head.idleMs ?? this.context.limits.upstreamIdleMs;
    this.deadline = idleMs === 0 ? Number.POSITIVE_INFINITY : this.context.sweeper.now + idleMs;
  }
}
