import { HttpProxyError, type HttpProxyErrorCode } from '../errors.ts';

/** What a feed brought: nothing yet, or a head and where the rest begins. */
export interface HeadFound {
  /** Latin1 text without the empty line at its end. */
  readonly text: string;
  /** What follows the head. */
  readonly rest: Uint8Array;
}

const CR = 0x0d;
const LF = 0x0a;
const END = Buffer.from('\r\n\r\n');

/**
 * Collects the bytes of one message head after another. A head usually comes in one piece and is then read in place; the
 * buffer for others grows by doubling, so that a byte at a time costs linear work.
 */
export class HeadBuffer {
  private kept: Buffer | undefined;
  private length = 0;
  private readonly maxBytes: number;
  private readonly tooLarge: HttpProxyErrorCode;
  private readonly malformed: HttpProxyErrorCode;

  constructor(maxBytes: number, tooLarge: HttpProxyErrorCode, malformed: HttpProxyErrorCode) {
    this.maxBytes = maxBytes;
    this.tooLarge = tooLarge;
    this.malformed = malformed;
  }

  /** Whether a head has begun. */
  get pending(): boolean {
    return this.length > 0;
  }

  /** @throws HttpProxyError when too large, or when a line ends without CR, which would never end the head. */
  feed(chunk: Uint8Array): HeadFound | undefined {
    const bytes = asBuffer(chunk);
    if (this.length === 0) {
      // RFC 9112 2.2: an empty line before the request line is skipped.
      let start = 0;
      while (start + 1 < bytes.length && bytes[start] === CR && bytes[start + 1] === LF) start += 2;
      const found = this.find(bytes, start, bytes.length, start);
      if (found !== undefined) return found;
      if (start < bytes.length) this.keep(start === 0 ? bytes : bytes.subarray(start));
      return undefined;
    }
    const from = Math.max(0, this.length - 3);
    this.keep(bytes);
    const all = (this.kept as Buffer).subarray(0, this.length);
    const found = this.find(all, 0, all.length, from);
    if (found !== undefined) {
      this.length = 0;
      this.kept = undefined;
    }
    return found;
  }

  private find(bytes: Buffer, start: number, end: number, from: number): HeadFound | undefined {
    const at = bytes.indexOf(END, from);
    const headLength = (at < 0 ? end : at) - start;
    if (headLength > this.maxBytes) throw new HttpProxyError(this.tooLarge, `head longer than ${this.maxBytes} bytes`);
    if (at < 0) {
      this.refuseBareLf(bytes, from, end);
      return undefined;
    }
    return { text: bytes.toString('latin1', start, at), rest: bytes.subarray(at + 4) };
  }

  private refuseBareLf(bytes: Buffer, from: number, end: number): void {
    for (let at = bytes.indexOf(LF, from); at >= 0 && at < end; at = bytes.indexOf(LF, at + 1)) {
      if (at === 0 || bytes[at - 1] !== CR) throw new HttpProxyError(this.malformed, 'line ends without CR');
    }
  }

  private keep(bytes: Buffer): void {
    const needed = this.length + bytes.length;
    if (this.kept === undefined || this.kept.length < needed) {
      const grown = Buffer.allocUnsafe(Math.max(needed, (this.kept?.length ?? 512) * 2));
      this.kept?.copy(grown, 0, 0, this.length);
      this.kept = grown;
    }
    bytes.copy(this.kept, this.length);
    this.length = needed;
  }
}

/** The same memory as a Buffer. */
export function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
