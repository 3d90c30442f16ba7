import { HttpProxyError, type HttpProxyErrorCode } from '../errors.ts';
import { FORBIDDEN_TRAILERS, type HeaderList } from '../headers.ts';
import { checkCharacters, parseFields } from './fields.ts';

/** What a body decoder finds. */
export interface BodyEvents {
  data(chunk: Uint8Array): void;
  ended(trailers: HeaderList | undefined): void;
}

export interface BodyDecoderLimits {
  readonly maxTrailerBytes: number;
  readonly maxTrailerCount: number;
  readonly maxChunkExtensionBytes: number;
}

/** Takes bytes of a connection apart; says how many belong to the body. */
export interface BodyDecoder {
  /**
   * Reads from `chunk` at `offset` and returns the offset behind the last byte that belongs to the body. `ended` has been
   * called exactly when less than everything may be left over.
   * @throws HttpProxyError for malformed chunks
   */
  feed(chunk: Uint8Array, offset: number): number;
  /** True once `ended` has been called. */
  readonly done: boolean;
}

/** A body of known length. */
export class LengthDecoder implements BodyDecoder {
  private left: number;
  private readonly events: BodyEvents;

  constructor(length: number, events: BodyEvents) {
    this.left = length;
    this.events = events;
  }

  get done(): boolean {
    return this.left === 0;
  }

  feed(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(this.left, chunk.length - offset);
    if (taken === 0) return offset;
    this.left -= taken;
    this.events.data(taken === chunk.length ? chunk : chunk.subarray(offset, offset + taken));
    if (this.left === 0) this.events.ended(undefined);
    return offset + taken;
  }
}

/** A body that lasts as long as the connection. */
export function createEndlessDecoder(events: Pick<BodyEvents, 'data'>): BodyDecoder {
  return {
    done: false,
    feed(chunk, offset) {
      events.data(offset === 0 ? chunk : chunk.subarray(offset));
      return chunk.length;
    },
  };
}

type ChunkedState = 'size' | 'extension' | 'size-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailer' | 'done';

const CR = 0x0d;
const LF = 0x0a;
/** 2^52 bytes: more digits than any body needs, and still exact. */
const MAX_SIZE_DIGITS = 13;

/**
 * The chunked coding (RFC 9112 7.1), strictly: every line ends with CRLF, sizes are plain hex digits, extensions are
 * dropped, trailer fields that may not stand there are dropped, too.
 *
 *     size *( ";" extension ) CRLF data CRLF ... "0" CRLF *( trailer CRLF ) CRLF
 */
export class ChunkedDecoder implements BodyDecoder {
  done = false;
  private state: ChunkedState = 'size';
  private left = 0;
  private digits = 0;
  private extensionBytes = 0;
  private trailer = '';
  private readonly events: BodyEvents;
  private readonly limits: BodyDecoderLimits;
  private readonly code: HttpProxyErrorCode;

  constructor(events: BodyEvents, limits: BodyDecoderLimits, code: HttpProxyErrorCode) {
    this.events = events;
    this.limits = limits;
    this.code = code;
  }

  feed(chunk: Uint8Array, offset: number): number {
    let at = offset;
    while (at < chunk.length && !this.done) {
      if (this.state === 'data') {
        const taken = Math.min(this.left, chunk.length - at);
        this.left -= taken;
        if (this.left === 0) this.state = 'data-cr';
        this.events.data(chunk.subarray(at, at + taken));
        at += taken;
      } else this.step(chunk[at++] as number);
    }
    return at;
  }

  private fail(what: string): never {
    throw new HttpProxyError(this.code, `malformed chunked body: ${what}`);
  }

  private step(byte: number): void {
    switch (this.state) {
      case 'size':
        this.size(byte);
        return;
      case 'extension':
        if (byte === CR) this.state = 'size-lf';
        else if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) this.fail('control character in an extension');
        else if (++this.extensionBytes > this.limits.maxChunkExtensionBytes) this.fail('extensions too long');
        return;
      case 'size-lf':
        if (byte !== LF) this.fail('CR without LF after a size');
        this.state = this.left === 0 ? 'trailer' : 'data';
        return;
      case 'data-cr':
        if (byte !== CR) this.fail('data longer than its size');
        this.state = 'data-lf';
        return;
      case 'data-lf':
        if (byte !== LF) this.fail('CR without LF after data');
        this.state = 'size';
        this.digits = 0;
        return;
      default:
        this.trailerByte(byte);
    }
  }

  private size(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      if (++this.digits > MAX_SIZE_DIGITS) this.fail('size too large');
      this.left = this.left * 16 + digit;
      return;
    }
    if (this.digits === 0) this.fail('missing size');
    if (byte === CR) this.state = 'size-lf';
    else if (byte === 0x3b) this.state = 'extension';
    else this.fail('invalid size');
  }

  private trailerByte(byte: number): void {
    this.trailer += String.fromCharCode(byte);
    if (this.trailer.length > this.limits.maxTrailerBytes) this.fail('trailers too long');
    if (byte !== LF) return;
    if (this.trailer === '\r\n') this.finish('');
    else if (this.trailer.endsWith('\r\n\r\n')) this.finish(this.trailer.slice(0, -4));
    else if (!this.trailer.endsWith('\r\n')) this.fail('bare LF');
  }

  private finish(text: string): void {
    this.done = true;
    this.state = 'done';
    this.events.ended(text === '' ? undefined : this.trailersOf(text));
  }

  private trailersOf(text: string): HeaderList {
    checkCharacters(text, this.code);
    const rules = {
      code: this.code,
      tooLarge: this.code,
      maxCount: this.limits.maxTrailerCount,
      foldEqualLengths: true,
    };
    const { headers } = parseFields(text, 0, rules);
    return keepTrailers(headers);
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** The trailer fields that may be passed on. */
export function keepTrailers(fields: HeaderList): HeaderList {
  const kept: HeaderList = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (!FORBIDDEN_TRAILERS.has(fields[i] as string)) kept.push(fields[i] as string, fields[i + 1] as string);
  }
  return kept;
}
