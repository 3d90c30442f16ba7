import type { Clock, Timer } from '@edgemesh/core';
import type { Stream } from '@libp2p/interface';

/** One direction of two joined streams: how much came in, and a brake. */
export interface StreamFlow {
  bytes(): number;
  /** Stops reading until every `hold(true)` has had its `hold(false)`; the muxer's window then holds the sender back. */
  hold(on: boolean): void;
}

export interface JoinOptions {
  /** Told of both directions when they begin, and when both streams have closed. */
  readonly place: { start(flows: readonly [StreamFlow, StreamFlow]): void; end(): void };
  /** Cut without a byte in either direction for this long, in milliseconds: seen after one to two of them. */
  readonly idleMs: number;
  readonly clock: Clock;
}

/**
 * Passes on what comes on either stream until both are closed. Nothing is read that the other side has no room for; half-close
 * passes through, and what is cut short on one side is aborted on the other.
 */
export function joinStreams(near: Stream, far: Stream, { place, idleMs, clock }: JoinOptions): void {
  const there = new Flow(near, far);
  const back = new Flow(far, near);
  let timer: Timer | undefined;
  let seen = -1;
  const look = () => {
    const bytes = there.bytes() + back.bytes();
    if (bytes === seen) {
      for (const stream of [near, far]) stream.abort(new Error(`no byte on the circuit for ${idleMs} ms`));
    } else {
      seen = bytes;
      timer = clock.after(idleMs, look);
    }
  };
  let open = 2;
  const onClosed = () => {
    if (--open > 0) return;
    timer?.cancel();
    place.end();
  };
  place.start([there, back]);
  look();
  for (const flow of [there, back]) flow.begin(onClosed);
}

class Flow implements StreamFlow {
  readonly #from: Stream;
  readonly #to: Stream;
  #bytes = 0;
  #holds = 0;
  #isFull = false;
  /** The sender has said that this was all; else an end is a loss. */
  #isComplete = false;

  constructor(from: Stream, to: Stream) {
    this.#from = from;
    this.#to = to;
  }

  bytes(): number {
    return this.#bytes;
  }

  hold(on: boolean): void {
    this.#holds += on ? 1 : -1;
    this.#readOn();
  }

  begin(onClosed: () => void): void {
    const from = this.#from;
    const to = this.#to;
    const finish = () => to.close().catch((error: Error) => to.abort(error));
    const leave = (error?: Error) => {
      if (error !== undefined || !this.#isComplete) to.abort(error ?? new Error('the circuit was cut short'));
      onClosed();
    };
    to.addEventListener('drain', () => {
      this.#isFull = to.writableNeedsDrain;
      this.#readOn();
    });
    from.addEventListener('remoteCloseWrite', () => {
      this.#isComplete = true;
    });
    from.addEventListener('end', () => {
      if (this.#isComplete) finish();
    });
    from.addEventListener('close', ({ error }) => leave(error));
    from.addEventListener('message', ({ data }) => this.#pass(data));
    // what has happened before anybody listened
    this.#isComplete = from.status === 'open' && from.remoteWriteStatus === 'closed';
    if (from.status !== 'open') leave();
    else if (from.readableEnded) finish();
  }

  #pass(data: Parameters<Stream['send']>[0]): void {
    this.#bytes += data.byteLength;
    if (this.#to.writeStatus !== 'writable' || this.#to.send(data)) return;
    this.#isFull = true;
    queueMicrotask(() => this.#readOn()); // libp2p undoes a pause that happens inside of a message event
  }

  #readOn(): void {
    const { readStatus } = this.#from;
    const isHeld = this.#isFull || this.#holds > 0;
    if (isHeld && readStatus === 'readable') this.#from.pause();
    else if (!isHeld && readStatus === 'paused') this.#from.resume();
  }
}
