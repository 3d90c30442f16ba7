import type { ReplayLog } from './replay-log.ts';
import { HEADER_BYTES, MAX_PACKET_BYTES, putHeader } from './wire.ts';

/** Memory that batches are cut from; another slab when it is full. */
const SLAB_BYTES = 1_048_576;
/** Room for any one frame. */
const FRAME_ROOM = HEADER_BYTES + MAX_PACKET_BYTES;
/** Used slabs that wait to be used again; what is in flight on a fast LAN. */
const MAX_WAITING_SLABS = 8;

interface UsedSlab {
  readonly slab: Buffer;
  /** Session offset of the last numbered byte in it. */
  readonly end: number;
}

/**
 * Puts frames side by side into one buffer, which one TLS write takes, and which the replay log keeps: one copy, and no
 * object per frame. Slabs are used again, for fresh memory costs page faults and garbage collection at every gigabit: a
 * slab is free once the peer has acknowledged all numbered bytes in it. That it has left this process is for the caller to see to:
 * see {@link begin}.
 */
export class BatchWriter {
  private readonly log: ReplayLog;
  private slab: Buffer | undefined;
  private at = 0;
  private batchStart = 0;
  /** Where the numbered bytes begin that the log does not have yet. */
  private runStart = 0;
  private used: UsedSlab[] = [];
  private isOpen = false;
  /** The slab must not be used again: an earlier carrier may still hold parts of it. */
  private isForgotten = false;

  constructor(log: ReplayLog) {
    this.log = log;
  }

  /**
   * Starts a batch, or goes on with the open one. Unless one {@link canOpen}, the carrier must have taken all batches before it: their
   * memory may be written over now.
   */
  begin(): void {
    if (this.isOpen) return;
    if (!this.canOpen) this.nextSlab();
    this.isOpen = true;
    this.batchStart = this.at;
    this.runStart = this.at;
  }

  /** True when a batch is open, or needs no memory that was used before. */
  get canOpen(): boolean {
    return this.isOpen || (this.slab !== undefined && this.slab.length - this.at >= 2 * FRAME_ROOM);
  }

  /** Another carrier is used now. What the last one still holds of our memory must not change any more. */
  forgetSlabs(): void {
    this.used = [];
    this.isForgotten = this.isOpen;
    if (!this.isOpen) this.slab = undefined;
  }

  /** Bytes in the open batch so far. */
  get bytes(): number {
    return this.isOpen ? this.at - this.batchStart : 0;
  }

  /** False when the next frame needs a new batch. */
  get hasRoom(): boolean {
    return (this.slab as Buffer).length - this.at >= FRAME_ROOM;
  }

  /** True when `bytes` of frames fit into the open batch, or into one that is to be opened. */
  hasRoomFor(bytes: number): boolean {
    return bytes <= (this.isOpen ? (this.slab as Buffer).length - this.at : 2 * FRAME_ROOM);
  }

  /** A numbered frame with `length` bytes of `payload` from `from` on. */
  numbered(type: number, id: number, payload: Uint8Array, from = 0, length = payload.length): void {
    this.put(type, id, payload, from, length);
  }

  /** A frame that is not repeated on another carrier. */
  unnumbered(type: number, id: number, payload: Uint8Array): void {
    this.endRun();
    this.put(type, id, payload, 0, payload.length);
    this.runStart = this.at;
  }

  /** The finished batch; its numbered bytes are in the log now. Undefined when nothing was written. */
  finish(): Buffer | undefined {
    this.endRun();
    this.isOpen = false;
    if (this.at === this.batchStart) return undefined;
    return (this.slab as Buffer).subarray(this.batchStart, this.at);
  }

  private nextSlab(): void {
    if (this.slab !== undefined && !this.isForgotten) {
      this.used.push({ slab: this.slab, end: this.log.end });
      if (this.used.length > MAX_WAITING_SLABS) this.used.shift();
    }
    this.isForgotten = false;
    const oldest = this.used[0];
    const isFree = oldest !== undefined && this.log.start >= oldest.end;
    this.slab = isFree ? (this.used.shift() as UsedSlab).slab : Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.at = 0;
  }

  private endRun(): void {
    if (this.at > this.runStart) this.log.append((this.slab as Buffer).subarray(this.runStart, this.at));
    this.runStart = this.at;
  }

  private put(type: number, id: number, payload: Uint8Array, from: number, length: number): void {
    const slab = this.slab as Buffer;
    putHeader(slab, this.at, type, id, length);
    this.at += HEADER_BYTES;
    if (length === 0) return;
    slab.set(from === 0 && length === payload.length ? payload : payload.subarray(from, from + length), this.at);
    this.at += length;
  }
}
