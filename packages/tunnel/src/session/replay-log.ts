import { protocolError } from './wire.ts';

/** The numbered bytes that were sent and not yet acknowledged: what the next carrier may have to carry again. */
export class ReplayLog {
  private chunks: Buffer[] = [];
  /** Index of the first chunk that is still needed; the array is compacted now and then. */
  private head = 0;
  /** Offset of the first byte of `chunks[head]`. */
  private headOffset = 0;
  /** Everything below has been acknowledged. */
  start = 0;
  /** Everything below has been sent at least once. */
  end = 0;

  get bytes(): number {
    return this.end - this.start;
  }

  append(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.chunks.push(chunk);
    this.end += chunk.length;
  }

  /** The peer has received everything below `offset`. A late, smaller acknowledgement changes nothing. */
  acknowledge(offset: number): void {
    if (offset > this.end) throw protocolError(`acknowledges byte ${offset} of ${this.end}`);
    if (offset <= this.start) return;
    this.start = offset;
    while (this.head < this.chunks.length) {
      const length = (this.chunks[this.head] as Buffer).length;
      if (this.headOffset + length > offset) break;
      this.headOffset += length;
      this.chunks[this.head++] = NONE;
    }
    if (this.head === this.chunks.length) {
      this.chunks = [];
      this.head = 0;
    } else if (this.head > 256 && this.head * 2 > this.chunks.length) {
      this.chunks.splice(0, this.head);
      this.head = 0;
    }
  }

  /** Up to `limit` bytes from `offset` on, without copying; empty at the end. */
  read(offset: number, limit: number): Buffer {
    let at = this.headOffset;
    for (let i = this.head; i < this.chunks.length; i++) {
      const chunk = this.chunks[i] as Buffer;
      if (offset < at + chunk.length) return chunk.subarray(offset - at, Math.min(chunk.length, offset - at + limit));
      at += chunk.length;
    }
    return NONE;
  }

  clear(): void {
    this.chunks = [];
    this.head = 0;
    this.headOffset = this.end;
    this.start = this.end;
  }
}

const NONE = Buffer.alloc(0);
