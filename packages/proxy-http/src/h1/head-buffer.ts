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
const SPACE = 0x20;
const TAB = 0x09;

/** 1 for what may not stand inside a line: controls but the tab, CR and LF among them. */
const ENDS_LINE = Uint8Array.from({ length: 256 }, (_, byte) =>
  (byte < 0x20 && byte !== TAB) || byte === 0x7f ? 1 : 0,
);

/**
 * Collects the bytes of one message head after another, and refuses what two parsers could read differently: bare CR, bare LF,
 * folded lines, NUL and other controls. A head usually comes in one piece and is then read in place; the buffer for others
 * grows by doubling and no byte is looked at twice, so that a byte at a time costs linear work.
 */
export class HeadBuffer {
  private kept: Buffer | undefined;
  private length = 0;
  /** Bytes of the kept head that have been looked at. */
  private scanned = 0;
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

  /** @throws HttpProxyError when too large or malformed */
  feed(chunk: Uint8Array): HeadFound | undefined {
    const bytes = asBuffer(chunk);
    if (this.length === 0) {
      // RFC 9112 2.2: an empty line before the request line is skipped.
      let start = 0;
      while (start + 1 < bytes.length && bytes[start] === CR && bytes[start + 1] === LF) start += 2;
      this.scanned = 0;
      const found = this.find(bytes, start);
      if (found === undefined && start < bytes.length) this.keep(start === 0 ? bytes : bytes.subarray(start));
      return found;
    }
    this.keep(bytes);
    const found = this.find((this.kept as Buffer).subarray(0, this.length), 0);
    if (found !== undefined) {
      this.length = 0;
      this.kept = undefined;
    }
    return found;
  }

  private find(bytes: Buffer, start: number): HeadFound | undefined {
    const at = this.endOfHead(bytes, start + this.scanned);
    const headLength = (at < 0 ? bytes.length : at) - start;
    if (headLength > this.maxBytes) throw new HttpProxyError(this.tooLarge, `head longer than ${this.maxBytes} bytes`);
    if (at >= 0) return { text: bytes.toString('latin1', start, at), rest: bytes.subarray(at + 4) };
    this.scanned = -1 - at - start;
    return undefined;
  }

  /** Offset of the final CRLF CRLF, or `-1 - offset` of the first byte that cannot be judged without the next ones. */
  private endOfHead(bytes: Buffer, from: number): number {
    const end = bytes.length;
    for (let at = from; at < end; ) {
      const byte = bytes[at] as number;
      if (ENDS_LINE[byte] === 0) {
        at++;
        continue;
      }
      if (byte !== CR) throw this.refusal(byte === LF ? 'line ends without CR' : 'control character in the head');
      if (at + 2 >= end) {
        if (at + 1 < end && bytes[at + 1] !== LF) throw this.refusal('CR without LF');
        return -1 - at;
      }
      if (bytes[at + 1] !== LF) throw this.refusal('CR without LF');
      const next = bytes[at + 2] as number;
      if (next === SPACE || next === TAB) throw this.refusal('folded line');
      if (next === CR) {
        if (at + 3 >= end) return -1 - at;
        if (bytes[at + 3] === LF) return at;
        throw this.refusal('CR without LF');
      }
      at += 2;
    }
    return -1 - end;
  }

  private refusal(why: string): HttpProxyError {
    return new HttpProxyError(this.malformed, why);
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
