import { constants, type ServerHttp2Stream } from 'node:http2';
import { HttpProxyError } from '../errors.ts';
import { keepTrailers } from '../h1/body-decoder.ts';
import { type HeaderList, headerValue } from '../headers.ts';
import type { BodySink, ClientInfo, Downstream, RequestHead, ResponseHead } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { Deadlined, Sweeper } from '../sweeper.ts';
import { toHttp2Headers, toRawFields, trailerFields } from './fields.ts';

/** What an exchange needs of its connection. */
export interface Http2ExchangeContext {
  readonly client: ClientInfo;
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
  /** The client reset the stream, or the stream broke the protocol. */
  onReset(): void;
  onOver(): void;
}

/** Of the hop between proxy and endpoint; a WebSocket over HTTP/2 has no such handshake (RFC 8441 5). */
const HANDSHAKE = 'sec-websocket-accept';

/** One request as an HTTP/2 stream. */
export class Http2Exchange implements Downstream, Deadlined {
  onDrained: (() => void) | undefined;
  onClosed: ((complete: boolean) => void) | undefined;
  deadline = Number.POSITIVE_INFINITY;
  readonly head: RequestHead;
  readonly client: ClientInfo;
  private readonly stream: ServerHttp2Stream;
  private readonly isGrpc: boolean;
  private readonly context: Http2ExchangeContext;
  private sink: BodySink | undefined;
  private bodyOver = false;
  private trailersIn: HeaderList | undefined;
  private trailersOut: HeaderList | undefined;
  /** Bytes of a response of known length, without trailers, that are still to come. */
  private left = Number.POSITIVE_INFINITY;
  private awaitsDrain = false;
  private closing = false;
  private responseEnded = false;
  private raw = false;
  private over = false;

  constructor(stream: ServerHttp2Stream, head: RequestHead, context: Http2ExchangeContext) {
    this.stream = stream;
    this.head = head;
    this.client = context.client;
    this.context = context;
    this.isGrpc = (headerValue(head.headers, 'content-type') ?? '').startsWith('application/grpc');
    if (head.body !== 'none') {
      stream.on('trailers', (trailers) => {
        this.trailersIn = keepTrailers(trailerFields(trailers));
      });
    }
    stream.on('error', () => this.finish());
    stream.on('close', () => this.finish());
    context.sweeper.add(this);
  }

  readBody(sink: BodySink): void {
    this.sink = sink;
    if (this.over) return;
    if (this.head.body === 'none') {
      this.bodyOver = true;
      sink.ended(undefined);
      return;
    }
    this.awaitBody();
    this.stream.on('data', (chunk: Buffer) => {
      this.awaitBody();
      if (!this.bodyOver) sink.data(chunk);
    });
    this.stream.on('end', () => this.endBody());
  }

  pauseBody(): void {
    this.stream.pause();
    this.deadline = Number.POSITIVE_INFINITY;
  }

  resumeBody(): void {
    if (this.over) return;
    this.stream.resume();
    if (!this.bodyOver) this.awaitBody();
  }

  inform(status: number, headers: HeaderList): void {
    if (this.over || this.stream.headersSent || status === 101) return;
    this.stream.additionalHeaders(toHttp2Headers(headers, { ':status': status }));
  }

  respond(head: ResponseHead): void {
    if (this.over || this.stream.destroyed || this.stream.headersSent) return;
    if (head.status === 101) {
      this.raw = true;
      const headers = toHttp2Headers(head.headers, { ':status': 200 });
      delete headers[HANDSHAKE];
      this.stream.respond(headers, { endStream: false });
      return;
    }
    const fields = toRawFields(':status', String(head.status), head.headers);
    const endStream = head.body === 'none';
    // gRPC frames its messages itself and writes no lengths.
    const writesLength = head.contentLength !== undefined && !(endStream && this.isGrpc);
    if (writesLength) fields.push('content-length', String(head.contentLength));
    // Trailers may follow where the length is open, or the client speaks gRPC.
    const waitForTrailers = !endStream && (head.body === 'stream' || this.head.acceptsTrailers);
    if (waitForTrailers) this.stream.on('wantTrailers', () => this.sendTrailers());
    else this.left = head.contentLength ?? Number.POSITIVE_INFINITY;
    this.stream.respond(fields, { endStream, waitForTrailers });
  }

  private sendTrailers(): void {
    if (!this.stream.destroyed) this.stream.sendTrailers(toHttp2Headers(this.trailersOut ?? [], {}));
  }

  write(chunk: Uint8Array): boolean {
    if (this.over || this.stream.destroyed || this.stream.writableEnded) return true;
    if (chunk.length > 0 && chunk.length === this.left) {
      // The last piece: its frame can say so, instead of an empty one after it.
      this.left = 0;
      this.stream.end(chunk);
      return true;
    }
    this.left -= chunk.length;
    if (this.stream.write(chunk)) return true;
    this.awaitDrain();
    if (!this.raw) this.deadline = this.context.sweeper.now + this.context.limits.writeIdleMs;
    return false;
  }

  end(trailers?: HeaderList): void {
    if (this.over) return;
    this.responseEnded = true;
    this.trailersOut = trailers;
    if (!this.stream.writableEnded) this.stream.end();
    const { limits, sweeper } = this.context;
    // The client may still take its time with what is queued, but not for ever.
    this.deadline = this.raw ? Number.POSITIVE_INFINITY : sweeper.now + limits.writeIdleMs;
    // RFC 9113 8.1: an answer before the end of the request asks the client to stop.
    if (!this.bodyOver && !this.raw && this.head.body !== 'none') {
      this.bodyOver = true;
      this.stream.resume();
      this.deadline = sweeper.now + limits.lingerMs;
    }
  }

  abort(): void {
    // `close` would end the body first, and the client would take it for complete; this resets with INTERNAL_ERROR.
    if (!this.over) this.stream.destroy(new HttpProxyError('upstream-reset', 'the response broke'));
  }

  onDeadline(): void {
    if (this.responseEnded && !this.closing) {
      this.closing = true;
      // After what is queued, and not before: a stream that is marked as closed while node:http2 still has bytes of it makes
      // nghttp2 write empty frames without end once the session is destroyed.
      const close = () => this.stream.close(constants.NGHTTP2_NO_ERROR);
      if (this.stream.writableFinished) close();
      else this.stream.once('finish', close);
      this.deadline = this.context.sweeper.now + this.context.limits.lingerMs;
    } else if (this.responseEnded) this.stream.destroy(new HttpProxyError('client-gone', 'the client takes nothing'));
    else if (this.sink !== undefined && !this.bodyOver && !this.stream.headersSent) {
      this.bodyOver = true;
      this.sink.failed(new HttpProxyError('request-timeout', 'the request body did not arrive in time'));
    } else this.stream.destroy(new HttpProxyError('client-gone', 'the client takes nothing'));
  }

  private awaitDrain(): void {
    if (this.awaitsDrain) return;
    this.awaitsDrain = true;
    this.stream.once('drain', () => {
      this.awaitsDrain = false;
      if (!this.responseEnded) this.deadline = Number.POSITIVE_INFINITY;
      this.onDrained?.();
    });
  }

  private awaitBody(): void {
    // Streams of gRPC, and bodies that go on beside the response, are silent as long as they like.
    const patient = this.raw || this.isGrpc || this.stream.headersSent;
    this.deadline = patient ? Number.POSITIVE_INFINITY : this.context.sweeper.now + this.context.limits.bodyIdleMs;
  }

  private endBody(): void {
    // A reset stream ends its readable side, too.
    if (this.bodyOver || this.stream.aborted || this.stream.rstCode) return;
    this.bodyOver = true;
    this.deadline = Number.POSITIVE_INFINITY;
    this.sink?.ended(this.trailersIn);
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    const code = this.stream.rstCode ?? constants.NGHTTP2_NO_ERROR;
    const complete = this.responseEnded && code === constants.NGHTTP2_NO_ERROR;
    this.context.sweeper.delete(this);
    if (!complete && code !== constants.NGHTTP2_INTERNAL_ERROR) this.context.onReset();
    if (!this.bodyOver) {
      this.bodyOver = true;
      if (!complete) this.sink?.failed(new HttpProxyError('client-gone', 'the client closed the stream'));
    }
    this.onClosed?.(complete);
    this.context.onOver();
  }
}
