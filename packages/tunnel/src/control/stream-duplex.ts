import { Duplex } from 'node:stream';
import type { Stream } from '@libp2p/interface';

/** A libp2p stream as a Node stream, with backpressure both ways and half-close. */
export function streamToDuplex(stream: Stream): Duplex {
  return new StreamDuplex(stream);
}

class StreamDuplex extends Duplex {
  readonly #stream: Stream;
  #onDrain: (() => void) | undefined;
  #inputEnded = false;

  constructor(stream: Stream) {
    super({ allowHalfOpen: true, highWaterMark: 256 * 1024 });
    this.#stream = stream;
    stream.addEventListener('message', (event) => {
      const chunk = event.data instanceof Uint8Array ? event.data : event.data.subarray();
      if (this.push(chunk)) return;
      // libp2p undoes a pause that happens inside of a message event, so it waits for the end of the dispatch
      queueMicrotask(() => {
        if (stream.status === 'open' && this.readableLength >= this.readableHighWaterMark) stream.pause();
      });
    });
    // not 'remoteCloseWrite': while paused, that comes before the last bytes
    stream.addEventListener('end', () => this.#endOfInput());
    stream.addEventListener('drain', () => {
      const resume = this.#onDrain;
      this.#onDrain = undefined;
      resume?.();
    });
    stream.addEventListener('close', (event) => {
      if (event.error !== undefined) this.destroy(event.error);
      // what is buffered is still to be read; the end of both sides destroys
      else if (stream.readableEnded) this.#endOfInput();
    });
  }

  #endOfInput(): void {
    if (!this.#inputEnded) this.push(null);
    this.#inputEnded = true;
  }

  override _read(): void {
    if (this.#stream.readStatus === 'paused') this.#stream.resume();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    try {
      if (this.#stream.send(chunk)) done();
      else this.#onDrain = done;
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.close().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#stream.status === 'open') this.#stream.abort(error ?? new Error('stream destroyed'));
    done(error);
  }
}
