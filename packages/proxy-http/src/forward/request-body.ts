import type { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { HeaderList } from '../headers.ts';
import type { BodySink, UpstreamStream } from '../message.ts';

/**
 * The request body between the client and one try after another: flows to the current one, and its beginning is kept as
 * long as it might have to be sent again. Nothing is read before a try can take it.
 */
export class RequestBody implements BodySink {
  private readonly exchange: Exchange;
  private readonly onFailed: (error: HttpProxyError) => void;
  private readonly maxReplayBytes: number;
  private target: UpstreamStream | undefined;
  private kept: Buffer[] | undefined;
  private keptBytes = 0;
  private lost = false;
  private reading = false;
  private ended_ = false;
  private trailers: HeaderList | undefined;

  constructor(exchange: Exchange, keep: boolean, maxReplayBytes: number, onFailed: (error: HttpProxyError) => void) {
    this.exchange = exchange;
    this.maxReplayBytes = maxReplayBytes;
    this.onFailed = onFailed;
    this.kept = keep ? [] : undefined;
  }

  /** Whether another try can get the whole body. */
  get canReplay(): boolean {
    return !this.lost;
  }

  /** Sends everything so far and all to come to this try. */
  flowTo(target: UpstreamStream): void {
    this.target = target;
    for (const chunk of this.kept ?? []) target.write(chunk);
    if (this.ended_) {
      target.end(this.trailers);
      return;
    }
    if (this.reading) this.exchange.downstream.resumeBody();
    else {
      this.reading = true;
      this.exchange.downstream.readBody(this);
    }
  }

  /** The try is over; nothing is read until there is another. */
  detach(): void {
    this.target = undefined;
    if (this.reading && !this.ended_) this.exchange.downstream.pauseBody();
  }

  /** No other try will follow: what was kept is not needed any more. */
  commit(): void {
    this.kept = undefined;
    this.lost = true;
  }

  drained(): void {
    if (this.reading && !this.ended_) this.exchange.downstream.resumeBody();
  }

  data(chunk: Uint8Array): void {
    this.exchange.requestBytes += chunk.length;
    for (const tap of this.exchange.bodyTaps ?? []) tap.data(chunk);
    this.keep(chunk);
    if (this.target?.write(chunk) === false) this.exchange.downstream.pauseBody();
  }

  ended(trailers: HeaderList | undefined): void {
    this.ended_ = true;
    this.trailers = trailers;
    for (const tap of this.exchange.bodyTaps ?? []) tap.ended(trailers);
    this.target?.end(trailers);
  }

  failed(error: HttpProxyError): void {
    this.ended_ = true;
    for (const tap of this.exchange.bodyTaps ?? []) tap.failed(error);
    this.onFailed(error);
  }

  private keep(chunk: Uint8Array): void {
    if (this.kept === undefined || this.keptBytes + chunk.length > this.maxReplayBytes) {
      this.kept = undefined;
      this.lost = true;
      return;
    }
    this.keptBytes += chunk.length;
    // A copy: whoever the chunk is written to owns it.
    this.kept.push(Buffer.from(chunk));
  }
}
