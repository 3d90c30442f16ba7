import type { Socket } from 'node:net';
import { HttpProxyError } from '../errors.ts';
import type { HeaderList } from '../headers.ts';
import type { ClientInfo, ResponseHead } from '../message.ts';
import type { ServerConnection, ServerConnectionContext } from '../server-connection.ts';
import { readSocket } from '../sockets/read-socket.ts';
import type { Deadlined } from '../sweeper.ts';
import { BodyReader } from './body-reader.ts';
import { Deadlines } from './deadlines.ts';
import { HeadBuffer } from './head-buffer.ts';
import { Output } from './output.ts';
import { type ParsedRequest, parseRequestHead } from './parse-request.ts';
import { refusalText, unreadable } from './refusal.ts';
import { ResponseWriter } from './response-writer.ts';
import { type ExchangeConnection, Http1Exchange } from './server-exchange.ts';
import { informationalText } from './write-head.ts';

/** Request head; body; response still to come; raw bytes after an upgrade; reading and dropping before the end; gone. */
type State = 'head' | 'body' | 'response' | 'raw' | 'linger' | 'closed';

/**
 * The server side of one HTTP/1 connection: requests one after another (pipelined ones wait), body and response at their own
 * pace, then keep-alive, an upgrade, or an end that lets the client read its answer.
 */
export class Http1ServerConnection implements ServerConnection, ExchangeConnection, Deadlined {
  deadline: number;
  readonly client: ClientInfo;
  private readonly socket: Socket;
  private readonly context: ServerConnectionContext;
  private readonly heads: HeadBuffer;
  private readonly body: BodyReader;
  private readonly deadlines: Deadlines;
  private readonly output: Output;
  private readonly writer: ResponseWriter;
  private state: State = 'head';
  private exchange: Http1Exchange | undefined;
  private requests = 0;
  private close = false;
  /** The client has sent its FIN, and waits for what it has asked for. */
  private halfClosed = false;
  private advancing = false;

  constructor(socket: Socket, client: ClientInfo, context: ServerConnectionContext) {
    this.socket = socket;
    this.client = client;
    this.context = context;
    const { limits, sweeper } = context;
    this.heads = new HeadBuffer(limits.maxHeaderBytes, 'header-too-large', 'bad-request');
    this.body = new BodyReader(limits, () => socket.destroy());
    this.deadlines = new Deadlines(limits, sweeper);
    this.output = new Output((bytes) => socket.write(bytes));
    this.writer = new ResponseWriter(this.output);
    readSocket(socket, (chunk) => this.feed(chunk));
    socket.on('end', () => this.onEnd());
    socket.on('drain', () => this.onDrain());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.onClose());
    sweeper.add(this);
    this.deadline = this.deadlines.head();
  }

  drain(): void {
    this.close = true;
    if (this.state === 'head' && !this.heads.pending && this.requests > 0) this.finish();
  }

  destroy(): void {
    this.socket.destroy();
  }

  // Reading.

  /** Bytes of the connection. */
  feed(chunk: Buffer): void {
    this.deadlines.heard();
    switch (this.state) {
      case 'head':
        this.advance(chunk);
        return;
      case 'raw':
        this.deadline = this.deadlines.tunnel();
        (this.exchange as Http1Exchange).sink?.data(chunk);
        return;
      case 'linger':
        this.body.drop(chunk.length);
        return;
      case 'closed':
        return;
      default:
        this.body.keep(chunk);
        if (this.state === 'body' && this.exchange?.sink !== undefined) this.readBody();
        else this.socket.pause();
    }
  }

  /** Reads heads as long as requests are answered at once; a loop, so that a pipeline does not grow the stack. */
  private advance(first: Buffer | undefined): void {
    this.advancing = true;
    let chunk = first;
    try {
      while (this.state === 'head' && chunk !== undefined && chunk.length > 0) {
        if (!this.heads.pending) this.deadline = this.deadlines.head();
        const found = this.heads.feed(chunk);
        if (found === undefined) break;
        if (found.rest.length > 0) this.body.keep(found.rest as Buffer);
        this.begin(parseRequestHead(found.text, this.client.encrypted ? 'https' : 'http', this.context.limits));
        chunk = this.state === 'head' ? this.body.take() : undefined;
      }
    } catch (error) {
      this.refuse(error);
    } finally {
      this.advancing = false;
    }
    // Nothing more can come.
    if (this.halfClosed && this.state === 'head') this.finish();
  }

  private begin({ head, close }: ParsedRequest): void {
    this.requests++;
    const { limits } = this.context;
    if (close || (limits.maxRequestsPerConnection > 0 && this.requests >= limits.maxRequestsPerConnection))
      this.close = true;
    const exchange = new Http1Exchange(head, this);
    this.exchange = exchange;
    this.deadline = Number.POSITIVE_INFINITY;
    this.state = this.body.begin(exchange) ? 'body' : 'response';
    this.context.onRequest(exchange);
  }

  startBody(): void {
    if (this.state === 'body') {
      this.deadline = this.deadlines.body(this.exchange?.responded === true);
      this.socket.resume();
      this.readBody();
    } else if (this.state === 'raw') {
      const chunk = this.body.take();
      this.socket.resume();
      if (chunk !== undefined) this.exchange?.sink?.data(chunk);
    } else this.exchange?.endBody(undefined);
  }

  private readBody(): void {
    const { body } = this;
    if (!body.hasWaiting) {
      // The rest of the body will never come.
      if (this.halfClosed) this.socket.destroy();
      return;
    }
    this.deadline = this.deadlines.body(this.exchange?.responded === true);
    const error = body.read();
    if (error !== undefined) {
      this.close = true;
      this.state = this.state === 'body' ? 'response' : this.state;
      this.exchange?.failBody(error);
    } else if (body.done) this.bodyRead();
    else if (this.halfClosed) this.socket.destroy();
  }

  private bodyRead(): void {
    this.body.stop();
    if (this.state !== 'body') return;
    this.deadline = this.deadlines.response(this.halfClosed);
    if (this.exchange === undefined) this.nextRequest();
    else {
      this.state = 'response';
      this.socket.resume();
    }
  }

  pauseReading(): void {
    this.socket.pause();
    this.deadline = Number.POSITIVE_INFINITY;
  }

  resumeReading(): void {
    this.socket.resume();
    if (this.state === 'body') this.deadline = this.deadlines.body(this.exchange?.responded === true);
  }

  // Writing.

  writeInformational(status: number, headers: HeaderList): void {
    this.output.addText(informationalText(status, headers));
  }

  writeHead(head: ResponseHead): void {
    const exchange = this.exchange as Http1Exchange;
    if (head.status === 101) {
      this.writer.switchToRaw(informationalText(101, head.headers, exchange.head.upgrade));
      this.state = 'raw';
      this.deadline = this.deadlines.tunnel();
      return;
    }
    const legacy = exchange.head.version === '1.0';
    // A 1.0 client finds the end by the close; a body that nobody will read makes the connection useless; and a client that
    // has closed its side will not ask again.
    const untilClose = head.body === 'stream' && legacy;
    const unread = this.state === 'body' && exchange.sink === undefined;
    if (untilClose || unread || (this.halfClosed && !this.body.hasWaiting)) this.close = true;
    this.writer.head(head, { legacy, close: this.close });
  }

  writeBody(chunk: Uint8Array): boolean {
    if (!this.writer.body(chunk)) return true;
    if (this.state === 'raw') this.deadline = this.deadlines.tunnel();
    else if (this.halfClosed) this.deadline = this.deadlines.response(this.halfClosed);
    if (!this.output.isFull) return true;
    if (this.state === 'response') this.deadline = this.deadlines.write();
    return false;
  }

  private onDrain(): void {
    this.output.drained();
    if (this.state === 'response') this.deadline = this.deadlines.response(this.halfClosed);
    this.exchange?.onDrained?.();
  }

  endResponse(trailers: HeaderList | undefined): void {
    const exchange = this.exchange as Http1Exchange;
    if (this.state === 'raw') {
      this.output.flush();
      this.socket.end();
      if (this.socket.readableEnded) exchange.close(true);
      return;
    }
    this.writer.end(trailers);
    this.exchange = undefined;
    this.body.detach();
    if (this.close) this.finish();
    else if (this.state === 'body') this.dropBody();
    else this.nextRequest();
    exchange.close(true);
    // Answered while heads are being read: that loop goes on by itself with what waits.
    if (this.state === 'head' && !this.advancing) this.advance(this.body.take());
  }

  /** The answer came before the request was complete, and promised that the connection stays. */
  private dropBody(): void {
    this.body.startDropping('body');
    this.deadline = this.deadlines.linger();
    this.socket.resume();
    this.readBody();
  }

  private nextRequest(): void {
    this.state = 'head';
    this.deadline = this.deadlines.keepAlive();
    this.socket.resume();
  }

  // Ending.

  /** Half-closes and reads on for a while: closing with unread bytes would send a RST that destroys the answer on its way. */
  private finish(): void {
    this.output.flush();
    this.state = 'linger';
    this.body.startDropping('all');
    // What is still to be taken by the client comes first.
    this.deadline = this.deadlines.write();
    this.socket.end(() => {
      this.deadline = this.deadlines.linger();
    });
    this.socket.resume();
  }

  private refuse(cause: unknown): void {
    const error = unreadable(cause);
    this.context.onMalformed(error, this.client);
    this.output.addText(refusalText(error));
    this.finish();
  }

  abort(): void {
    this.output.flush();
    // A RST, so that a body that lasts until the close is not taken for complete. TLS has no reset, but its own end alert.
    if ('encrypted' in this.socket) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  onDeadline(): void {
    const { exchange } = this;
    if (this.state === 'head' && this.heads.pending) {
      this.refuse(new HttpProxyError('request-timeout', 'the request head did not arrive in time'));
    } else if (this.state === 'body' && exchange !== undefined && !this.output.isFull) {
      this.body.stop();
      this.close = true;
      this.state = 'response';
      exchange.failBody(new HttpProxyError('request-timeout', 'the request body did not arrive in time'));
    } else this.socket.destroy();
  }

  private onEnd(): void {
    if (this.state === 'raw') {
      this.exchange?.endBody(undefined);
      if (this.socket.writableEnded) this.exchange?.close(true);
      return;
    }
    if (this.exchange !== undefined && this.deadlines.isHalfClose()) {
      this.halfClosed = true;
      if (this.state === 'response') this.deadline = this.deadlines.response(this.halfClosed);
      // What was not read yet may still complete the body.
      else if (!this.body.hasWaiting) this.socket.destroy();
      return;
    }
    // While it lingers the socket closes by itself: when the client has taken all.
    if (this.state === 'linger') return;
    if (this.exchange !== undefined) this.socket.destroy();
    else this.socket.end();
  }

  private onClose(): void {
    if (this.state === 'closed') return;
    const raw = this.state === 'raw';
    this.state = 'closed';
    this.context.sweeper.delete(this);
    const { exchange } = this;
    this.exchange = undefined;
    this.body.detach();
    exchange?.failBody(new HttpProxyError('client-gone', 'the client closed the connection'));
    exchange?.close(raw && !this.socket.errored && this.socket.writableFinished);
    this.context.onClosed(this);
  }
}
