import { type ByteSink, type ByteStream, MeshError } from '@edgemesh/core';
import { HttpProxyError } from '../errors.ts';
import {
  type BodyDecoder,
  type BodyEvents,
  ChunkedDecoder,
  createEndlessDecoder,
  LengthDecoder,
} from '../h1/body-decoder.ts';
import { HeadBuffer } from '../h1/head-buffer.ts';
import { Output } from '../h1/output.ts';
import { type ParsedResponse, parseResponseHead } from '../h1/parse-response.ts';
import { lastChunkText, requestHeadText } from '../h1/write-head.ts';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseSink, UpstreamStream } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { Deadlined, Sweeper } from '../sweeper.ts';
import { Http1Stream, type StreamConnection } from './http1-stream.ts';
import { dialFailure } from './mesh-failure.ts';

/** What a client connection needs of its pool. */
export interface ClientConnectionContext {
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
  onIdle(connection: Http1ClientConnection): void;
  onClosed(connection: Http1ClientConnection): void;
}

/**
 * The client side of one HTTP/1.1 connection over any byte stream: one request at a time, kept for the next one where both
 * sides have finished in order. The request leaves at once, before the far side has accepted the stream.
 */
export class Http1ClientConnection implements ByteSink, Deadlined, StreamConnection {
  deadline: number;
  isOpen = false;
  private readonly stream: ByteStream;
  private readonly context: ClientConnectionContext;
  private readonly heads: HeadBuffer;
  private readonly output: Output;
  private current: Http1Stream | undefined;
  private decoder: BodyDecoder | undefined;
  private endless = false;
  private raw = false;
  private keep = true;
  private answered = false;
  private requests = 0;
  private informational = 0;
  private trailers: HeaderList | undefined;
  private readonly bodyEvents: BodyEvents;
  private keepAliveSeconds: number | undefined;
  private gone = false;

  constructor(stream: ByteStream, context: ClientConnectionContext) {
    this.stream = stream;
    this.context = context;
    const { limits, sweeper } = context;
    this.heads = new HeadBuffer(limits.maxResponseHeaderBytes, 'upstream-protocol', 'upstream-protocol');
    this.output = new Output((bytes) => stream.write(bytes));
    this.bodyEvents = {
      data: (chunk) => this.current?.sink.data(chunk),
      ended: (trailers) => {
        this.trailers = trailers;
      },
    };
    this.deadline = sweeper.now + limits.connectTimeoutMs;
    sweeper.add(this);
    stream.attach(this);
  }

  /** Sends a request. The connection must be new or idle. */
  send(head: RequestHead, sink: ResponseSink): UpstreamStream {
    const current = new Http1Stream(this, head, sink);
    this.current = current;
    this.requests++;
    this.answered = false;
    this.informational = 0;
    if (this.isOpen) this.touch();
    if (current.requestDone) this.output.sendText(requestHeadText(head));
    else this.output.addText(requestHeadText(head));
    return current;
  }

  writeBody(stream: Http1Stream, chunk: Uint8Array): boolean {
    if (chunk.length === 0 || stream.requestDone) return true;
    if (this.isOpen) this.touch();
    if (stream.chunked && !this.raw) {
      this.output.addText(`${chunk.length.toString(16)}\r\n`);
      this.output.add(chunk);
      this.output.addText('\r\n');
    } else this.output.add(chunk);
    return !this.output.isFull;
  }

  endBody(stream: Http1Stream, trailers: HeaderList | undefined): void {
    if (stream.requestDone) return;
    stream.requestDone = true;
    if (stream.chunked && !this.raw) this.output.addText(lastChunkText(trailers));
    this.output.flush();
    if (this.raw) this.stream.end();
  }

  pause(): void {
    this.stream.pause();
    this.deadline = Number.POSITIVE_INFINITY;
  }

  resume(): void {
    this.stream.resume();
    this.touch();
  }

  destroy(): void {
    if (this.gone) return;
    this.leave();
    this.stream.reset(new MeshError('aborted', 'the request was cancelled'));
  }

  /** Closes and tells the request why. */
  abort(why: HttpProxyError): void {
    this.fail(why);
  }

  // ByteSink.

  opened(): void {
    this.isOpen = true;
    this.touch();
    this.current?.sink.opened();
  }

  data(chunk: Uint8Array): void {
    const { current } = this;
    if (!this.isOpen) this.opened();
    if (this.gone) return;
    // Nobody asked: whatever it is, it must not become the answer to the next request.
    if (current === undefined) {
      this.destroy();
      return;
    }
    this.touch();
    try {
      this.read(chunk);
    } catch (error) {
      this.fail(
        error instanceof HttpProxyError
          ? error
          : new HttpProxyError('upstream-protocol', 'the response could not be read', { cause: error }),
      );
    }
  }

  ended(): void {
    const { current } = this;
    if (current === undefined) this.destroy();
    else if (this.raw) this.finishRaw(current);
    else if (this.endless) this.finish();
    else this.fail(this.lost('the endpoint closed the connection'));
  }

  drained(): void {
    this.output.drained();
    this.current?.sink.drained();
  }

  closed(error?: MeshError): void {
    if (this.gone) return;
    const { current } = this;
    this.leave();
    if (current === undefined || current.over) return;
    current.over = true;
    if (this.raw && error === undefined) current.sink.ended(undefined);
    else if (this.isOpen) current.sink.failed(this.lost(error?.message ?? 'the endpoint closed the connection'));
    else current.sink.failed(dialFailure(error));
  }

  onDeadline(): void {
    if (this.current === undefined) this.destroy();
    else if (!this.isOpen) {
      this.fail(new HttpProxyError('connect-timeout', 'the endpoint did not accept in time', { retryable: true }));
    } else this.fail(new HttpProxyError('upstream-idle', 'the endpoint was silent for too long'));
  }

  // Reading a response.

  private read(first: Uint8Array): void {
    let chunk = first;
    while (this.decoder === undefined && this.current !== undefined) {
      const found = this.heads.feed(chunk);
      if (found === undefined) return;
      this.readHead(this.current, found.text, found.rest.length);
      chunk = found.rest;
      if (chunk.length === 0) return;
    }
    const { decoder } = this;
    if (decoder === undefined) return;
    const at = decoder.feed(chunk, 0);
    if (!decoder.done || this.gone) return;
    if (at < chunk.length) this.keep = false;
    this.finish();
  }

  private readHead(current: Http1Stream, text: string, restBytes: number): void {
    const parsed = parseResponseHead(text, current.method, this.context.limits.maxResponseHeaderCount);
    const { head } = parsed;
    if (head.status < 200 && head.status !== 101) {
      if (++this.informational > this.context.limits.maxInformational) {
        throw new HttpProxyError('upstream-protocol', 'too many informational responses');
      }
      current.sink.informed(head.status, head.headers);
      return;
    }
    this.answered = true;
    this.trailers = undefined;
    this.keep = !parsed.close;
    this.keepAliveSeconds = parsed.keepAliveSeconds;
    if (head.status === 101) {
      this.raw = true;
      this.keep = false;
      current.requestDone = false;
      this.deadline = Number.POSITIVE_INFINITY;
    }
    this.decoder = this.decoderOf(parsed);
    current.sink.head(head);
    if (head.body !== 'none') return;
    // What follows a complete response was not asked for.
    if (restBytes > 0) this.keep = false;
    this.finish();
  }

  private decoderOf({ head, chunked }: ParsedResponse): BodyDecoder | undefined {
    if (head.body === 'none') return undefined;
    if (head.body === 'length') return new LengthDecoder(head.contentLength as number, this.bodyEvents);
    if (!chunked) {
      this.endless = head.body === 'stream';
      return createEndlessDecoder(this.bodyEvents);
    }
    const { maxResponseHeaderBytes, maxResponseHeaderCount, maxChunkExtensionBytes } = this.context.limits;
    const limits = {
      maxTrailerBytes: maxResponseHeaderBytes,
      maxTrailerCount: maxResponseHeaderCount,
      maxChunkExtensionBytes,
    };
    return new ChunkedDecoder(this.bodyEvents, limits, 'upstream-protocol');
  }

  /** The response is complete. */
  private finish(): void {
    const { current } = this;
    if (current === undefined) return;
    current.over = true;
    this.current = undefined;
    this.decoder = undefined;
    // An early answer leaves the rest of the request unsent: the connection is of no further use.
    if (!this.keep || !current.requestDone || this.gone) this.destroy();
    else {
      this.deadline = this.context.sweeper.now + this.idleMs();
      this.stream.resume();
      this.context.onIdle(this);
    }
    current.sink.ended(this.trailers);
  }

  private finishRaw(current: Http1Stream): void {
    // The other direction lives on: the stream closes when both have ended.
    current.sink.ended(undefined);
  }

  private fail(error: HttpProxyError): void {
    const { current } = this;
    this.destroy();
    if (current === undefined || current.over) return;
    current.over = true;
    current.sink.failed(error);
  }

  /** A kept connection that ends before it answered was most likely closed before the request arrived. */
  private lost(why: string): HttpProxyError {
    const stale = this.requests > 1 && !this.answered && !this.heads.pending;
    return new HttpProxyError(stale ? 'upstream-closed' : 'upstream-reset', why);
  }

  private touch(): void {
    const idleMs = this.current?.idleMs ?? this.context.limits.upstreamIdleMs;
    this.deadline = idleMs === 0 || this.raw ? Number.POSITIVE_INFINITY : this.context.sweeper.now + idleMs;
  }

  /** Somewhat shorter than the endpoint says, so that we close first. */
  private idleMs(): number {
    const { poolIdleMs } = this.context.limits;
    if (this.keepAliveSeconds === undefined) return poolIdleMs;
    return Math.min(poolIdleMs, Math.max(0, this.keepAliveSeconds * 1_000 - 1_000));
  }

  private leave(): void {
    this.gone = true;
    this.context.sweeper.delete(this);
    this.context.onClosed(this);
  }
}
