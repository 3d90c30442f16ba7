import type { TunnelError } from '../errors.ts';
import type { KeepaliveState } from './keepalive.ts';
import type { CarrierLink, LinkReader } from './link.ts';
import type { Mux } from './mux.ts';
import { type DataInProgress, type FrameHandler, FrameParser } from './parser.ts';
import { type AttachFrame, encodeFrame, FRAME, isNumbered, protocolError } from './wire.ts';

/** What an attached carrier needs of the set that it belongs to. */
export interface AttachedOwner {
  readonly mux: Mux;
  /** The carrier on which the peer's new bytes are expected. */
  readonly inbound: Attached | undefined;
  now(): number;
  countReceived(bytes: number): void;
  afterBytes(): void;
  onWritable(carrier: Attached): void;
  onFrame(carrier: Attached, type: number, payload: Buffer): void;
  onBroken(error: unknown): void;
  onLost(carrier: Attached, error: TunnelError): void;
}

/** One carrier of a session: its parser, and how far the two sides have come in agreeing on it. */
export class Attached implements LinkReader, FrameHandler {
  readonly link: CarrierLink;
  readonly attachedAt: number;
  readonly live: KeepaliveState;
  /** This side asked for it whatever its path. */
  readonly preferred: boolean;
  /** The peer's last ATTACH that fits this session. */
  peerAttach: AttachFrame | undefined;
  /** What is left to repeat on it before new frames: session offsets. */
  replayAt = 0;
  replayEnd = 0;
  /** Times that the peer began anew on it. */
  restarts = 0;
  /** Why the peer said it will close. */
  goodbye: TunnelError | undefined;
  private readonly set: AttachedOwner;
  private readonly parser: FrameParser;
  private replay: FrameParser | undefined;
  /** The session offset at which new frames begin; until it is reached only REPLAY may carry numbered bytes. */
  private newFrom = 0;
  private pong: Buffer | undefined;

  constructor(set: AttachedOwner, link: CarrierLink, preferred: boolean, now: number) {
    this.set = set;
    this.link = link;
    this.preferred = preferred;
    this.attachedAt = now;
    this.live = { lastReceivedAt: now, pingAt: Number.NEGATIVE_INFINITY };
    this.parser = new FrameParser(this);
  }

  // The peer's numbered bytes come on this carrier from now on.

  /** New frames begin at session offset `newFrom`; an unfinished DATA frame continues in what is repeated before. */
  takeOver(newFrom: number, inProgress: DataInProgress | undefined): void {
    this.newFrom = newFrom;
    this.replay = new FrameParser(new ReplayHandler(this.set), inProgress);
  }

  /** Where a DATA frame was cut, for the carrier that continues. */
  get progress(): DataInProgress | undefined {
    return this.parser.inProgress ?? this.replay?.inProgress;
  }

  /** Nothing that comes here counts any more. */
  retire(): void {
    this.parser.stop();
  }

  // LinkReader

  onBytes(chunk: Buffer): void {
    this.live.lastReceivedAt = this.set.now();
    try {
      this.parser.push(chunk);
    } catch (error) {
      this.set.onBroken(error);
      return;
    }
    this.set.afterBytes();
  }

  onWritable(): void {
    if (this.pong !== undefined) this.link.write(this.pong);
    this.pong = undefined;
    this.set.onWritable(this);
  }

  onLost(error: TunnelError): void {
    this.set.onLost(this, this.goodbye ?? error);
  }

  // FrameHandler

  onNumbered(bytes: number): void {
    if (this.set.inbound !== this) throw protocolError('stream frames before START');
    if (this.replay !== undefined) this.endReplay(this.replay);
    this.set.countReceived(bytes);
  }

  onData(id: number, bytes: Buffer): void {
    this.set.mux.onData(id, bytes);
  }

  /** Takes what is new of a repeated piece. */
  onReplay({ offset, bytes }: { readonly offset: number; readonly bytes: Buffer }): void {
    if (this.set.inbound !== this || this.replay === undefined) throw protocolError('REPLAY without START');
    const skip = this.set.mux.receivedOffset + this.replay.heldBytes - offset;
    if (skip < 0 || offset + bytes.length > this.newFrom) throw protocolError(`REPLAY of byte ${offset}`);
    if (skip < bytes.length) this.replay.push(skip === 0 ? bytes : bytes.subarray(skip));
  }

  onFrame(type: number, id: number, payload: Buffer): void {
    if (isNumbered(type) || type === FRAME.datagram) this.set.mux.onFrame(type, id, payload);
    else if (type === FRAME.ping) this.onPing(payload);
    else this.set.onFrame(this, type, payload);
  }

  private endReplay(replay: FrameParser): void {
    if (this.set.mux.receivedOffset !== this.newFrom || !replay.idle)
      throw protocolError('new frames before the end of a replay');
    this.replay = undefined;
  }

  /** Only the last ping is answered when the carrier is full: answers must not pile up behind a peer that floods us. */
  private onPing(payload: Buffer): void {
    const pong = encodeFrame(FRAME.pong, 0, payload);
    if (this.link.congested) this.pong = pong;
    else this.link.write(pong);
  }
}

/** Handles what is inside REPLAY frames: numbered frames only. */
class ReplayHandler implements FrameHandler {
  private readonly set: AttachedOwner;

  constructor(set: AttachedOwner) {
    this.set = set;
  }

  onNumbered(bytes: number): void {
    this.set.countReceived(bytes);
  }
  onData(id: number, bytes: Buffer): void {
    this.set.mux.onData(id, bytes);
  }
  onFrame(type: number, id: number, payload: Buffer): void {
    if (!isNumbered(type)) throw protocolError('an unnumbered frame inside REPLAY');
    this.set.mux.onFrame(type, id, payload);
  }
}
