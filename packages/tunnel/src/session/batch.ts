import type { ReplayLog } from './replay-log.ts';
import { HEADER_BYTES, MAX_PACKET_BYTES, putHeader } from './wire.ts';

/** Memory that batches are cut from; a fresh one when it is full. Larger slabs mean fewer, smaller ones less waste. */
const SLAB_BYTES = 524_288;
/** Room for any one frame. */
const FRAME_ROOM = HEADER_BYTES + MAX_PACKET_BYTES;

/**
 * Puts frames side by side into one buffer, which one TLS write takes, and which the replay log keeps: one copy, and no
 * object per frame. Shared by all sessions of a table; a batch is made within one call.
 */
export class BatchWriter {
  private slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  private at = 0;
  private batchStart = 0;
  /** Where the numbered bytes begin that the log does not have yet. */
  private runStart = 0;
  private log: ReplayLog | undefined;

  begin(log: ReplayLog): void {
    if (this.slab.length - this.at < 2 * FRAME_ROOM) {
      this.slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.at = 0;
    }
    this.log = log;
    this.batchStart = this.at;
    this.runStart = this.at;
  }

  /** Bytes in the batch so far. */
  get bytes(): number {
    return this.at - this.batchStart;
  }

  /** False when the next frame needs a new batch. */
  get hasRoom(): boolean {
    return this.slab.length - this.at >= FRAME_ROOM;
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
    if (this.at === this.batchStart) return undefined;
    return this.slab.subarray(this.batchStart, this.at);
  }

  private endRun(): void {
    if (this.at > this.runStart) this.log?.append(this.slab.subarray(this.runStart, this.at));
    this.runStart = this.at;
  }

  private put(type: number, id: number, payload: Uint8Array, from: number, length: number): void {
    putHeader(this.slab, this.at, type, id, length);
    this.at += HEADER_BYTES;
    if (length === 0) return;
    this.slab.set(from === 0 && length === payload.length ? payload : payload.subarray(from, from + length), this.at);
    this.at += length;
  }
}
