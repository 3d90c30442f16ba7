import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { HttpProxyError } from '../errors.ts';
import { failureStatus } from '../failure-status.ts';
import type { ClientInfo, RequestHead } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { ServerConnection, ServerConnectionContext } from '../server-connection.ts';
import type { Deadlined } from '../sweeper.ts';
import { parseHttp2Request } from './parse-request.ts';
import { Http2Exchange, type Http2ExchangeContext } from './server-exchange.ts';

/** Window in which resets are counted against `maxStreamResets`. */
const RESET_WINDOW_MS = 10_000;

/** The server side of one HTTP/2 connection. Framing and flow control are nghttp2's; limits and floods are bounded here. */
export class Http2ServerConnection implements ServerConnection, Deadlined {
  deadline: number;
  private readonly session: ServerHttp2Session;
  private readonly context: ServerConnectionContext;
  private readonly exchangeContext: Http2ExchangeContext;
  private streams = 0;
  private requests = 0;
  private resets = 0;
  private resetWindowEnds = 0;
  private draining = false;

  constructor(socket: Socket, client: ClientInfo, context: ServerConnectionContext) {
    this.context = context;
    const { limits, sweeper } = context;
    this.exchangeContext = {
      client,
      limits,
      sweeper,
      onReset: () => this.countReset(),
      onOver: () => this.streamOver(),
    };
    this.session = performServerHandshake(socket, sessionOptions(limits));
    this.session.on('stream', (stream, _headers, flags, raw) =>
      this.onStream(stream, flags, raw as unknown as string[]),
    );
    // The socket may be half-open, but a client that sends no more can open no windows either: it is gone.
    socket.once('end', () => this.session.destroy());
    this.session.on('error', () => this.session.destroy());
    this.session.once('close', () => {
      sweeper.delete(this);
      context.onClosed(this);
    });
    // The head of a session is its preface and first request: as long as an HTTP/1 client may take for its head.
    this.deadline = sweeper.now + limits.headerTimeoutMs;
    sweeper.add(this);
  }

  drain(): void {
    if (this.draining) return;
    this.draining = true;
    // GOAWAY; streams in progress go on, the session closes with the last one.
    this.session.close();
  }

  destroy(): void {
    this.session.destroy();
  }

  onDeadline(): void {
    if (this.streams === 0) this.drain();
    // A client that does not even answer GOAWAY by closing.
    if (this.draining) this.session.destroy();
  }

  private onStream(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    const { limits } = this.context;
    const { client } = this.exchangeContext;
    // Opened and reset within one read, or with what broke the session: no endpoint shall hear of it.
    if (stream.closed || stream.destroyed || this.session.destroyed) {
      // It may still fail, and an error that nobody listens to would end the process.
      stream.on('error', () => stream.destroy());
      this.countReset();
      return;
    }
    this.streams++;
    this.requests++;
    this.deadline = Number.POSITIVE_INFINITY;
    let head: RequestHead;
    try {
      const endStream = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      head = parseHttp2Request(raw, endStream, limits, client.encrypted);
    } catch (error) {
      stream.once('close', () => this.streamOver());
      this.refuse(stream, error);
      return;
    }
    const exchange = new Http2Exchange(stream, head, this.exchangeContext);
    this.context.onRequest(exchange);
    if (limits.maxRequestsPerConnection > 0 && this.requests >= limits.maxRequestsPerConnection) this.drain();
  }

  private refuse(stream: ServerHttp2Stream, cause: unknown): void {
    const error =
      cause instanceof HttpProxyError
        ? cause
        : new HttpProxyError('bad-request', 'the request could not be read', { cause });
    this.context.onMalformed(error, this.exchangeContext.client);
    stream.on('error', () => stream.destroy());
    if (stream.destroyed) return;
    stream.respond({ ':status': failureStatus(error.code).http, 'content-type': 'text/plain; charset=utf-8' });
    stream.end(`${error.message}\n`);
    stream.resume();
  }

  /** CVE-2023-44487: streams that are opened only to be reset cost the endpoints work. */
  private countReset(): void {
    const { limits, sweeper } = this.context;
    if (sweeper.now >= this.resetWindowEnds) {
      this.resets = 0;
      this.resetWindowEnds = sweeper.now + RESET_WINDOW_MS;
    }
    if (++this.resets < limits.maxStreamResets || this.session.destroyed) return;
    this.context.onMalformed(new HttpProxyError('overload', 'too many stream resets'), this.exchangeContext.client);
    this.session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    this.session.destroy();
  }

  private streamOver(): void {
    this.streams--;
    if (this.streams > 0) return;
    const { limits, sweeper } = this.context;
    this.deadline = sweeper.now + (this.draining ? limits.lingerMs : limits.keepAliveMs);
  }
}

function sessionOptions(limits: HttpLimits) {
  return {
    settings: {
      maxConcurrentStreams: limits.maxConcurrentStreams,
      initialWindowSize: limits.http2WindowBytes,
      maxHeaderListSize: limits.maxHeaderBytes,
      enableConnectProtocol: true,
    },
    maxHeaderListPairs: limits.maxHeaderCount + 28,
    maxSessionMemory: limits.maxSessionMemoryMiB,
    maxSettings: limits.maxHttp2Settings,
    maxOutstandingPings: 10,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxSendHeaderBlockLength: 262_144,
    // nghttp2's own bound of the same flood, in C before a stream reaches us.
    streamResetBurst: limits.maxStreamResets,
    streamResetRate: Math.max(1, Math.floor(limits.maxStreamResets / 10)),
  };
}
