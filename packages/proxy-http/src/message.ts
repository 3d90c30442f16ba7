import type { HttpProxyError } from './errors.ts';
import type { HeaderList } from './headers.ts';
import type { RouteTable } from './route-model.ts';

/**
 * A request, freed of what belongs to one hop: `headers` holds end-to-end fields only. Host, Connection and what it names,
 * Content-Length, Transfer-Encoding, TE, Expect, Upgrade, Keep-Alive have become properties or are gone (RFC 9110 7.6.1).
 */
export interface RequestHead {
  method: string;
  scheme: 'http' | 'https';
  authority: string;
  /** Origin form: path and query; `*` for OPTIONS of the server itself. */
  target: string;
  headers: HeaderList;
  version: '1.0' | '1.1' | '2';
  body: BodyKind;
  /** Where the length is known. */
  contentLength: number | undefined;
  expectContinue: boolean;
  /** `TE: trailers`. */
  acceptsTrailers: boolean;
  /** Protocol to upgrade to, lower-case: `websocket`. */
  upgrade: string | undefined;
  /** Towards endpoints: milliseconds without a byte, instead of `upstreamIdleMs`. */
  idleMs?: number | undefined;
}

/** `raw`: bytes both ways until either side ends, after an upgrade. */
export type BodyKind = 'none' | 'length' | 'stream' | 'raw';

/** A response, freed of what belongs to one hop, as {@link RequestHead}. */
export interface ResponseHead {
  status: number;
  headers: HeaderList;
  body: BodyKind;
  contentLength: number | undefined;
}

/** What the reader of a message body is told. `ended` or `failed` comes once and last. */
export interface BodySink {
  data(chunk: Uint8Array): void;
  ended(trailers: HeaderList | undefined): void;
  failed(error: HttpProxyError): void;
}

/** Who asks, over which connection. One per connection. */
export interface ClientInfo {
  readonly address: string;
  /** Port that the client connected to. */
  readonly localPort: number;
  readonly encrypted: boolean;
  /** Routes of the listener, where it has its own. */
  readonly routes?: () => RouteTable;
  /** Whether this connection may carry requests for a host (client certificates are asked for by host name). */
  mayServe?(host: string): boolean;
}

/** One request as its connection sees it: read the body, write the response. Implemented by HTTP/1 and HTTP/2. */
export interface Downstream {
  readonly head: RequestHead;
  readonly client: ClientInfo;
  /** Starts delivery of the request body. Called at most once. */
  readBody(sink: BodySink): void;
  pauseBody(): void;
  resumeBody(): void;
  /** 1xx; ignored where the client does not know them. */
  inform(status: number, headers: HeaderList): void;
  respond(head: ResponseHead): void;
  /** False: taken, but wait for `drained`. */
  write(chunk: Uint8Array): boolean;
  end(trailers?: HeaderList): void;
  /** Ends the response as broken: the client must not take it for complete. */
  abort(): void;
  /** Called when the client takes data again. */
  onDrained: (() => void) | undefined;
  /** Called once when the exchange is over; `complete` when the response was handed over whole. */
  onClosed: ((complete: boolean) => void) | undefined;
}

/** What a response brings. `head` once, then data, then `ended`; `failed` at any time instead, once and last. */
export interface ResponseSink {
  /** The connection stands: body bytes may flow. */
  opened(): void;
  informed(status: number, headers: HeaderList): void;
  head(head: ResponseHead): void;
  data(chunk: Uint8Array): void;
  ended(trailers: HeaderList | undefined): void;
  drained(): void;
  failed(error: HttpProxyError): void;
}

/**
 * One request on its way to an endpoint. Body bytes may be written once the connection stands: `isOpen`, or the sink's
 * `opened`. A request without body needs neither `write` nor `end`. After `cancel` the sink hears nothing any more.
 */
export interface UpstreamStream {
  readonly isOpen: boolean;
  /** False: taken, but wait for `drained`. */
  write(chunk: Uint8Array): boolean;
  end(trailers?: HeaderList): void;
  cancel(): void;
  pause(): void;
  resume(): void;
}
