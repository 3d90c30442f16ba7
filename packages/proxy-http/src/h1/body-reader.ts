import type { HttpProxyError } from '../errors.ts';
import type { HeaderList } from '../headers.ts';
import type { HttpLimits } from '../options.ts';
import { type BodyDecoder, type BodyEvents, ChunkedDecoder, LengthDecoder } from './body-decoder.ts';
import { unreadable } from './refusal.ts';
import type { Http1Exchange } from './server-exchange.ts';

/**
 * Takes the request bodies of one connection apart, one after another: what has arrived waits here until somebody wants it,
 * then goes to the exchange or, when that is over, is dropped within bounds.
 */
export class BodyReader implements BodyEvents {
  private readonly limits: HttpLimits;
  private readonly onTooMuchDropped: () => void;
  /** Who gets the body. */
  private exchange: Http1Exchange | undefined;
  private decoder: BodyDecoder | undefined;
  /** Bytes that arrived before somebody could take them. */
  private waiting: Buffer | undefined;
  private droppedBytes = 0;

  constructor(limits: HttpLimits, onTooMuchDropped: () => void) {
    this.limits = limits;
    this.onTooMuchDropped = onTooMuchDropped;
  }

  /** False when the request has no body. */
  begin(exchange: Http1Exchange): boolean {
    this.exchange = exchange;
    this.decoder = this.decoderOf(exchange);
    return this.decoder !== undefined;
  }

  private decoderOf({ head }: Http1Exchange): BodyDecoder | undefined {
    if (head.body === 'none') return undefined;
    if (head.body === 'length') return new LengthDecoder(head.contentLength as number, this);
    const { maxHeaderBytes, maxHeaderCount, maxChunkExtensionBytes } = this.limits;
    const limits = { maxTrailerBytes: maxHeaderBytes, maxTrailerCount: maxHeaderCount, maxChunkExtensionBytes };
    return new ChunkedDecoder(this, limits, 'bad-request');
  }

  get hasWaiting(): boolean {
    return this.waiting !== undefined;
  }

  keep(chunk: Buffer): void {
    this.waiting = this.waiting === undefined ? chunk : Buffer.concat([this.waiting, chunk]);
  }

  take(): Buffer | undefined {
    const { waiting } = this;
    this.waiting = undefined;
    return waiting;
  }

  /** Reads what has waited. What follows the body waits on. Returns why the body cannot be read. */
  read(): HttpProxyError | undefined {
    const chunk = this.take() as Buffer;
    try {
      const at = (this.decoder as BodyDecoder).feed(chunk, 0);
      if (at < chunk.length) this.keep(chunk.subarray(at));
      return undefined;
    } catch (error) {
      this.decoder = undefined;
      return unreadable(error);
    }
  }

  /** The whole body has been read. */
  get done(): boolean {
    return this.decoder?.done === true;
  }

  /** Reads no more of this body. */
  stop(): void {
    this.decoder = undefined;
  }

  /** The exchange is over, and hears of nothing that comes. */
  detach(): void {
    this.exchange = undefined;
  }

  /** Counts from here what is dropped; what waits is the first, when nobody will read it. */
  startDropping(what: 'all' | 'body'): void {
    this.droppedBytes = what === 'all' ? (this.take()?.length ?? 0) : 0;
  }

  drop(bytes: number): void {
    this.droppedBytes += bytes;
    if (this.droppedBytes > this.limits.maxLingerBytes) this.onTooMuchDropped();
  }

  /** BodyEvents, from the decoder. */
  data(chunk: Uint8Array): void {
    // Without an exchange the response is complete and the connection stays.
    if (this.exchange === undefined) this.drop(chunk.length);
    else this.exchange.sink?.data(chunk);
  }

  ended(trailers: HeaderList | undefined): void {
    this.exchange?.endBody(trailers);
  }
}
