import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseSink, UpstreamStream } from '../message.ts';

/** What a request asks of its connection. */
export interface StreamConnection {
  readonly isOpen: boolean;
  /** False: taken, but wait for `drained`. */
  writeBody(stream: Http1Stream, chunk: Uint8Array): boolean;
  endBody(stream: Http1Stream, trailers: HeaderList | undefined): void;
  pause(): void;
  resume(): void;
  destroy(): void;
}

/** One request on a connection; keeps late calls away from the next one. */
export class Http1Stream implements UpstreamStream {
  over = false;
  requestDone: boolean;
  readonly chunked: boolean;
  readonly method: string;
  readonly idleMs: number | undefined;
  readonly sink: ResponseSink;
  private readonly connection: StreamConnection;

  constructor(connection: StreamConnection, head: RequestHead, sink: ResponseSink) {
    this.connection = connection;
    this.sink = sink;
    this.method = head.method;
    this.chunked = head.body === 'stream';
    this.requestDone = head.body === 'none';
    this.idleMs = head.idleMs;
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  write(chunk: Uint8Array): boolean {
    return this.over || this.connection.writeBody(this, chunk);
  }

  end(trailers?: HeaderList): void {
    if (!this.over) this.connection.endBody(this, trailers);
  }

  cancel(): void {
    if (this.over) return;
    this.over = true;
    this.connection.destroy();
  }

  pause(): void {
    if (!this.over) this.connection.pause();
  }

  resume(): void {
    if (!this.over) this.connection.resume();
  }
}
