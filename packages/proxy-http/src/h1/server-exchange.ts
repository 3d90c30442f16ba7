import type { HttpProxyError } from '../errors.ts';
import type { HeaderList } from '../headers.ts';
import type { BodySink, ClientInfo, Downstream, RequestHead, ResponseHead } from '../message.ts';

/** What an exchange asks of its connection. */
export interface ExchangeConnection {
  readonly client: ClientInfo;
  startBody(): void;
  pauseReading(): void;
  resumeReading(): void;
  writeInformational(status: number, headers: HeaderList): void;
  writeHead(head: ResponseHead): void;
  writeBody(chunk: Uint8Array): boolean;
  endResponse(trailers: HeaderList | undefined): void;
  abort(): void;
}

/** One request on an HTTP/1 connection. Calls after its end are ignored, so that late answers cannot reach the next request. */
export class Http1Exchange implements Downstream {
  onDrained: (() => void) | undefined;
  onClosed: ((complete: boolean) => void) | undefined;
  readonly head: RequestHead;
  readonly client: ClientInfo;
  sink: BodySink | undefined;
  responded = false;
  over = false;
  private readonly connection: ExchangeConnection;
  private bodyOver = false;

  constructor(head: RequestHead, connection: ExchangeConnection) {
    this.head = head;
    this.client = connection.client;
    this.connection = connection;
  }

  readBody(sink: BodySink): void {
    this.sink = sink;
    if (!this.over) this.connection.startBody();
  }

  pauseBody(): void {
    if (!this.over) this.connection.pauseReading();
  }

  resumeBody(): void {
    if (!this.over) this.connection.resumeReading();
  }

  inform(status: number, headers: HeaderList): void {
    if (!this.over && !this.responded && this.head.version !== '1.0')
      this.connection.writeInformational(status, headers);
  }

  respond(head: ResponseHead): void {
    if (this.over || this.responded) return;
    this.responded = true;
    this.connection.writeHead(head);
  }

  write(chunk: Uint8Array): boolean {
    return this.over || this.connection.writeBody(chunk);
  }

  end(trailers?: HeaderList): void {
    if (!this.over) this.connection.endResponse(trailers);
  }

  abort(): void {
    if (!this.over) this.connection.abort();
  }

  /** Delivers the end of the request body, once. */
  endBody(trailers: HeaderList | undefined): void {
    if (this.bodyOver) return;
    this.bodyOver = true;
    this.sink?.ended(trailers);
  }

  failBody(error: HttpProxyError): void {
    if (this.bodyOver) return;
    this.bodyOver = true;
    this.sink?.failed(error);
  }

  /** Tells the owner, once. */
  close(complete: boolean): void {
    if (this.over) return;
    this.over = true;
    this.onClosed?.(complete);
  }
}
