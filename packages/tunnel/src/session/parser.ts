import {
  FRAME,
  HEADER_BYTES,
  isNumbered,
  MAX_CONTROL_BYTES,
  MAX_DATA_BYTES,
  MAX_PACKET_BYTES,
  MAX_REPLAY_BYTES,
  protocolError,
} from './wire.ts';

/** What a parser found. Every call may throw TunnelError `protocol`, which ends the session. */
export interface FrameHandler {
  /** A piece of a DATA frame, at least one byte; a part of the pushed chunk. */
  onData(id: number, bytes: Buffer): void;
  /** Any other known frame, whole. The payload is valid during the call only. */
  onFrame(type: number, id: number, payload: Buffer): void;
  /** Numbered bytes were taken; they will not have to be sent again. */
  onNumbered(bytes: number): void;
}

/** An unfinished DATA frame: it continues on the next carrier, for numbered bytes are one long string. */
export interface DataInProgress {
  readonly id: number;
  readonly remaining: number;
}

const KNOWN: ReadonlySet<number> = new Set(Object.values(FRAME));

const EMPTY = Buffer.alloc(0);

function limitOf(type: number): number {
  if (type === FRAME.data) return MAX_DATA_BYTES;
  if (type === FRAME.datagram) return MAX_PACKET_BYTES;
  if (type === FRAME.replay) return MAX_REPLAY_BYTES;
  return KNOWN.has(type) ? MAX_CONTROL_BYTES : 0xff_ffff;
}

/**
 * Cuts a byte stream into frames, wherever the chunks are split. The chunks are not kept: data is handed out in subarrays of
 * them; other frames are put together, bounded by their type's limit; unknown types are skipped without being kept.
 */
export class FrameParser {
  private readonly handler: FrameHandler;
  private readonly header = Buffer.allocUnsafe(HEADER_BYTES);
  private headerBytes = 0;
  private type = 0;
  private id = 0;
  /** Payload bytes of the current frame that are still to come. */
  private remaining = 0;
  /** Where the payload of a frame that spans chunks is collected. */
  private body: Buffer | undefined;
  private bodyBytes = 0;
  /** Datagrams are collected here, one after the other: at a gigabit fresh memory for each costs more than reading them. */
  private scratch = EMPTY;
  private stopped = false;

  constructor(handler: FrameHandler, inProgress?: DataInProgress) {
    this.handler = handler;
    if (inProgress === undefined) return;
    this.type = FRAME.data;
    this.id = inProgress.id;
    this.remaining = inProgress.remaining;
    this.headerBytes = HEADER_BYTES;
  }

  /** Where a DATA frame was cut, for the parser that continues. Partial headers and other frames are sent again whole. */
  get inProgress(): DataInProgress | undefined {
    if (this.headerBytes < HEADER_BYTES || this.type !== FRAME.data) return undefined;
    return { id: this.id, remaining: this.remaining };
  }

  /** Bytes taken of a frame that has not been counted yet, because it is not whole. */
  get heldBytes(): number {
    if (this.headerBytes < HEADER_BYTES) return this.headerBytes;
    return this.type === FRAME.data ? 0 : HEADER_BYTES + this.bodyBytes;
  }

  /** True between two frames. */
  get idle(): boolean {
    return this.headerBytes === 0;
  }

  /** Ends parsing for good, also in the middle of a chunk: what follows on this carrier does not count any more. */
  stop(): void {
    this.stopped = true;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.stopped) {
      if (this.headerBytes < HEADER_BYTES) at = this.takeHeader(chunk, at);
      else if (this.type === FRAME.data) at = this.takeData(chunk, at);
      else at = this.takeBody(chunk, at);
    }
  }

  private takeHeader(chunk: Buffer, start: number): number {
    let at = start;
    if (this.headerBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.startFrame(chunk, at);
      return at + HEADER_BYTES;
    }
    while (at < chunk.length && this.headerBytes < HEADER_BYTES)
      this.header[this.headerBytes++] = chunk[at++] as number;
    if (this.headerBytes === HEADER_BYTES) this.startFrame(this.header, 0);
    return at;
  }

  private startFrame(from: Buffer, at: number): void {
    this.headerBytes = HEADER_BYTES;
    this.type = from[at] as number;
    this.remaining = ((from[at + 1] as number) << 16) | ((from[at + 2] as number) << 8) | (from[at + 3] as number);
    this.id = from.readUInt32BE(at + 4);
    if (this.remaining > limitOf(this.type))
      throw protocolError(`frame type 0x${this.type.toString(16)} of ${this.remaining} bytes`);
    if (this.type === FRAME.data) this.handler.onNumbered(HEADER_BYTES);
    if (this.remaining > 0) return;
    if (this.type === FRAME.data) this.headerBytes = 0;
    else this.finish(EMPTY);
  }

  private takeData(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.remaining);
    this.remaining -= end - at;
    if (this.remaining === 0) this.headerBytes = 0;
    this.handler.onNumbered(end - at);
    this.handler.onData(this.id, at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
    return end;
  }

  private takeBody(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.remaining);
    if (!KNOWN.has(this.type)) {
      this.remaining -= end - at;
      this.bodyBytes += end - at;
      if (this.remaining === 0) this.finish(EMPTY);
      return end;
    }
    if (this.body === undefined && end - at === this.remaining) {
      this.remaining = 0;
      this.bodyBytes = end - at;
      this.finish(chunk.subarray(at, end));
      return end;
    }
    this.body ??= this.memoryFor(this.remaining);
    chunk.copy(this.body, this.bodyBytes, at, end);
    this.bodyBytes += end - at;
    this.remaining -= end - at;
    if (this.remaining === 0) this.finish(this.body);
    return end;
  }

  private memoryFor(length: number): Buffer {
    if (this.type !== FRAME.datagram) return Buffer.allocUnsafeSlow(length);
    if (this.scratch.length < length) this.scratch = Buffer.allocUnsafeSlow(length);
    return this.scratch.subarray(0, length);
  }

  private finish(payload: Buffer): void {
    const bytes = HEADER_BYTES + this.bodyBytes;
    this.headerBytes = 0;
    this.body = undefined;
    this.bodyBytes = 0;
    if (isNumbered(this.type)) this.handler.onNumbered(bytes);
    if (KNOWN.has(this.type)) this.handler.onFrame(this.type, this.id, payload);
  }
}
