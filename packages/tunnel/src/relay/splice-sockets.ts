import type { Socket } from 'node:net';
import { readInto, writeThrough } from '@edgemesh/core';

/** All circuits read into this memory: what is read is passed on before the next read. */
const RECEIVED = Buffer.allocUnsafeSlow(131_072);

export interface SpliceTotals {
  readonly bytesAtoB: number;
  readonly bytesBtoA: number;
}

/** One direction of a splice: how much came in, and a brake. */
export interface SpliceFlow {
  bytes(): number;
  /** Stops reading until every `hold(true)` has had its `hold(false)`; TCP's window then holds the sender back. */
  hold(on: boolean): void;
}

/**
 * Pipes two raw sockets both ways until both directions have ended or one socket fails. Bytes are not looked at: TLS
 * stays end to end. Half-close passes through; an error on one side destroys the other.
 *
 * @param idleMs a circuit without a byte in either direction for this long is cut (a peer may have vanished silently)
 * @returns the flows that start at `a` and at `b`
 */
export function spliceSockets(
  a: Socket,
  b: Socket,
  idleMs: number,
  onDone: (totals: SpliceTotals) => void,
): [SpliceFlow, SpliceFlow] {
  let open = 2;
  const done = () => {
    if (--open === 0) onDone({ bytesAtoB: flows[0].bytes(), bytesBtoA: flows[1].bytes() });
  };
  const flows = [new Flow(a, b, idleMs, done), new Flow(b, a, idleMs, done)] as const;
  for (const flow of flows) flow.start();
  return [flows[0], flows[1]];
}

/** One direction: what comes from one socket and goes to the other. */
class Flow implements SpliceFlow {
  private readonly from: Socket;
  private readonly to: Socket;
  /** What came before the splice (a ticket) is not part of it. */
  private readonly before: number;
  /** Reasons not to read: limits, and a full socket on the other side. */
  private holds = 0;
  private isFull = false;

  constructor(from: Socket, to: Socket, idleMs: number, onClosed: () => void) {
    this.from = from;
    this.to = to;
    this.before = from.bytesRead - from.readableLength;
    from.setNoDelay(true);
    from.setTimeout(idleMs, () => from.destroy());
    from.on('error', () => from.destroy()); // 'close' follows
    from.on('end', () => to.end());
    from.on('close', () => {
      // Cut short: the other end must see a failure, not an end. In order, `to` still flushes what it has; what it sends
      // after that has nowhere to go.
      if (from.readableEnded) to.destroySoon();
      else to.resetAndDestroy();
      onClosed();
    });
    to.on('drain', () => {
      this.isFull = false;
      this.readOn();
    });
  }

  bytes(): number {
    return this.from.bytesRead - this.before;
  }

  hold(on: boolean): void {
    this.holds += on ? 1 : -1;
    this.readOn();
  }

  start(): void {
    const { from } = this;
    const early: Buffer | null = from.read();
    if (early !== null) this.pass(early);
    if (!readInto(from, RECEIVED, (length) => this.pass(RECEIVED.subarray(0, length))))
      from.on('data', (chunk: Buffer) => this.pass(chunk));
    this.readOn();
  }

  private pass(bytes: Buffer): void {
    if (writeThrough(this.to, bytes)) return;
    this.isFull = true;
    this.from.pause();
  }

  private readOn(): void {
    if (this.isFull || this.holds > 0) this.from.pause();
    else if (!this.from.destroyed) this.from.resume();
  }
}
