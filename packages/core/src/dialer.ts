import type { Endpoint } from './endpoint.ts';
import type { ByteStream, Datagrams } from './stream.ts';

/** Where a stream shall end: an address and port as seen from the node that dials it. */
export interface DialTarget extends Pick<Endpoint, 'address' | 'port'> {
  /** The node that owns the address. Absent: wherever the local kernel routes it. */
  readonly nodeName?: string;
}

export interface DialOptions {
  /** Address of the original client, for logs and PROXY protocol. */
  readonly clientAddress?: string;
  /** Time for the far side to accept, in milliseconds; the implementation has its own default. */
  readonly timeoutMs?: number;
}

/**
 * Turns a chosen endpoint into bytes. Both calls return at once: failure comes through the sink's `closed`, with
 * `retryable` true when nothing was delivered and another endpoint may be tried.
 */
export interface Dialer {
  dial(target: DialTarget, options?: DialOptions): ByteStream;
  openDatagrams(target: DialTarget, options?: DialOptions): Datagrams;
}
