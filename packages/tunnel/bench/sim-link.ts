/** Carriers without sockets, whose bytes move only when a test says so: for every order and cut that a network can produce. */
import { TunnelError } from '../src/errors.ts';
import type { CarrierLink, LinkReader } from '../src/session/link.ts';
import { encodeFrame, encodeGoaway, FRAME, type GoawayCode } from '../src/session/wire.ts';
import type { PathKind } from '../src/types.ts';

/** How much a carrier takes. By default it is fast: batches may be begun while the last one is on its way. */
export interface SimSpeed {
  /** Bytes on their way before it is congested. Default 65,536. */
  readonly capacity?: number;
  /** Default 262,144. */
  readonly batchBytes?: number;
}

/** One end of a simulated carrier. */
export class SimLink implements CarrierLink {
  readonly nodeName: string;
  readonly peerId: string;
  readonly path: PathKind;
  readonly remoteAddress = 'sim';
  readonly batchBytes: number;
  readonly initiator: boolean;
  far: SimLink | undefined;
  /** Bytes on their way to this end. */
  readonly inbox: Buffer[] = [];
  pendingBytes = 0;
  /** This end has closed, or heard that the other has. */
  closed = false;
  /** The far end sends nothing more; `onLost` comes behind the bytes. */
  farClosed = false;
  private reader: LinkReader | undefined;
  private wasCongested = false;
  private readonly capacity: number;

  constructor(peerId: string, path: PathKind, initiator: boolean, { capacity, batchBytes }: Required<SimSpeed>) {
    this.peerId = peerId;
    this.nodeName = `node-${peerId}`;
    this.path = path;
    this.initiator = initiator;
    this.capacity = capacity;
    this.batchBytes = batchBytes;
  }

  get congested(): boolean {
    return (this.far as SimLink).pendingBytes >= this.capacity;
  }

  bind(reader: LinkReader): void {
    this.reader = reader;
  }

  write(bytes: Buffer): void {
    const far = this.far as SimLink;
    if (this.closed || far.closed) return;
    // A copy: what the sender does with its memory later must not matter, and the receiver's memory is used again.
    far.inbox.push(Buffer.from(bytes));
    far.pendingBytes += bytes.length;
    if (this.congested) this.wasCongested = true;
  }

  close(code: GoawayCode, reason: string): void {
    if (this.closed) return;
    this.write(encodeFrame(FRAME.goaway, 0, encodeGoaway(code, reason)));
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
    (this.far as SimLink).farClosed = true;
  }

  /** Something can happen at this end. */
  get isReady(): boolean {
    return !this.closed && this.reader !== undefined && (this.pendingBytes > 0 || this.farClosed);
  }

  /** Delivers up to `bytes`, or the loss of the carrier when nothing else is left. */
  step(bytes: number): void {
    if (!this.isReady) return;
    const first = this.inbox.shift();
    if (first === undefined) {
      this.lose();
      return;
    }
    const piece = first.subarray(0, bytes);
    if (piece.length < first.length) this.inbox.unshift(first.subarray(piece.length));
    this.pendingBytes -= piece.length;
    this.reader?.onBytes(piece);
    piece.fill(0xee); // the memory is used again
    const far = this.far as SimLink;
    if (!far.wasCongested || far.closed || this.pendingBytes > this.capacity / 2) return;
    far.wasCongested = false;
    far.reader?.onWritable();
  }

  /** The carrier is lost here and now; bytes on their way are gone. */
  lose(): void {
    if (this.closed) return;
    this.inbox.length = 0;
    this.pendingBytes = 0;
    this.destroy();
    this.reader?.onLost(new TunnelError('unreachable', 'simulated loss'));
  }
}

/** Two ends of one simulated carrier between peers `a` and `b`. */
export function simPair(
  a: string,
  b: string,
  path: PathKind,
  dialledBy: 'a' | 'b',
  { capacity = 65_536, batchBytes = 262_144 }: SimSpeed = {},
): [SimLink, SimLink] {
  const atA = new SimLink(b, path, dialledBy === 'a', { capacity, batchBytes });
  const atB = new SimLink(a, path, dialledBy === 'b', { capacity, batchBytes });
  atA.far = atB;
  atB.far = atA;
  return [atA, atB];
}

/** A small seeded generator (mulberry32): the whole run follows from one number. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
