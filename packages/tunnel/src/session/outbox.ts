import type { BatchWriter } from './batch.ts';
import { FRAME, MAX_DATA_BYTES, NO_BYTES } from './wire.ts';

/** Sent chunks at the front of the list before it is cut. */
const MAX_SENT_CHUNKS = 64;

/** What a stream has to send, in order. */
export class Outbox {
  /** Bytes that wait. */
  bytes = 0;
  private chunks: Uint8Array[] = [];
  private head = 0;
  /** Bytes of the first chunk that are sent. */
  private offset = 0;

  push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
  }

  /** Puts up to `budget` bytes into DATA frames of stream `id`, while there is room. Returns how many. */
  emit(writer: BatchWriter, id: number, budget: number): number {
    let left = Math.min(budget, this.bytes);
    const before = left;
    while (left > 0 && writer.hasRoom) {
      const chunk = this.chunks[this.head] as Uint8Array;
      const length = Math.min(chunk.length - this.offset, left, MAX_DATA_BYTES);
      writer.numbered(FRAME.data, id, chunk, this.offset, length);
      left -= length;
      this.offset += length;
      if (this.offset < chunk.length) continue;
      this.offset = 0;
      this.chunks[this.head++] = NO_BYTES;
    }
    this.bytes -= before - left;
    if (this.head === this.chunks.length) {
      this.chunks.length = 0;
      this.head = 0;
    } else if (this.head > MAX_SENT_CHUNKS && this.head * 2 > this.chunks.length) {
      this.chunks.splice(0, this.head);
      this.head = 0;
    }
    return before - left;
  }

  clear(): void {
    this.chunks = [];
    this.head = 0;
    this.offset = 0;
    this.bytes = 0;
  }
}
