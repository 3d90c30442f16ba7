import type { TLSSocket } from 'node:tls';
import { TunnelError } from '../errors.ts';
import type { PathKind } from '../types.ts';
import type { CarrierLink, LinkReader } from './link.ts';
import { encodeFrame, encodeGoaway, FRAME, type GoawayCode } from './wire.ts';

/** Bytes per write. Each write costs TLS a turn of the event loop, so a fast path takes big ones. */
const MIN_BATCH_BYTES = 65_536;
const MAX_BATCH_BYTES = 524_288;
/** A batch that is gone sooner was too small; one that takes longer holds back what comes behind it. In milliseconds. */
const QUICK_WRITE_MS = 4;
const SLOW_WRITE_MS = 20;
/** How long a closing carrier may take to send its last bytes, in milliseconds. */
const LINGER_MS = 2_000;

/** A TLS socket as a carrier. Bytes that arrive before {@link bind} wait in the socket. */
export class TlsCarrier implements CarrierLink {
  readonly peerId: string;
  readonly path: PathKind;
  readonly remoteAddress: string;
  readonly initiator: boolean;
  /** From the record at first where the dialler knows it, then from the peer's HELLO. */
  nodeName: string;
  private readonly socket: TLSSocket;
  private reader: LinkReader | undefined;
  private early: Buffer[] = [];
  private error: TunnelError | undefined;
  private closed = false;
  private wasCongested = false;
  batchBytes = 2 * MIN_BATCH_BYTES;
  private lastWrite = { bytes: 0, at: 0 };
  private readonly onWritten: () => void;

  constructor(
    socket: TLSSocket,
    about: { peerId: string; nodeName: string; path: PathKind; remoteAddress: string; initiator: boolean },
  ) {
    this.socket = socket;
    this.peerId = about.peerId;
    this.nodeName = about.nodeName;
    this.path = about.path;
    this.remoteAddress = about.remoteAddress;
    this.initiator = about.initiator;
    this.onWritten = () => this.written();
    socket.on('close', () => this.lost());
  }

  /**
   * One batch at a time: what waits in the socket can no longer be overtaken by a small message, and two waiting buffers cost
   * TLS another copy. The kernel's send buffer keeps the path busy between two batches.
   */
  get congested(): boolean {
    return this.socket.writableLength > 0;
  }

  bind(reader: LinkReader): void {
    this.reader = reader;
    process.nextTick(() => {
      const early = this.early;
      this.early = [];
      for (const chunk of early) if (!this.closed) reader.onBytes(chunk);
      if (this.socket.closed && !this.closed) this.lost();
      else this.socket.resume();
    });
  }

  write(bytes: Buffer): void {
    if (this.closed) return;
    if (bytes.length >= MIN_BATCH_BYTES / 2) {
      this.lastWrite.bytes = bytes.length;
      this.lastWrite.at = performance.now();
    }
    this.socket.write(bytes, this.onWritten);
    if (this.congested) this.wasCongested = true;
  }

  close(code: GoawayCode, reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.socket.write(encodeFrame(FRAME.goaway, 0, encodeGoaway(code, reason)));
    this.socket.destroySoon();
    this.socket.resume();
    // A dead path never takes the last bytes, and a silent peer never closes.
    const timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
    timer.unref();
    this.socket.once('close', () => clearTimeout(timer));
  }

  destroy(): void {
    this.closed = true;
    this.socket.destroy();
  }

  // From the handshake that made the carrier

  /** Bytes behind the peer's HELLO, in memory that is used again after the call. */
  receive(chunk: Buffer): void {
    if (this.closed) return;
    if (this.reader !== undefined && this.early.length === 0) {
      this.reader.onBytes(chunk);
      return;
    }
    this.early.push(Buffer.from(chunk));
    this.socket.pause();
  }

  /** Remembers why the socket is about to close. */
  blame(error: TunnelError): void {
    this.error ??= error;
  }

  private written(): void {
    if (!this.wasCongested || this.closed || this.socket.writableLength > 0) return;
    this.wasCongested = false;
    this.adapt();
    this.reader?.onWritable();
  }

  private adapt(): void {
    const { bytes, at } = this.lastWrite;
    if (bytes === 0) return;
    this.lastWrite.bytes = 0;
    const elapsed = performance.now() - at;
    if (elapsed > SLOW_WRITE_MS) this.batchBytes = Math.max(MIN_BATCH_BYTES, this.batchBytes / 2);
    else if (elapsed < QUICK_WRITE_MS && bytes >= this.batchBytes / 2)
      this.batchBytes = Math.min(MAX_BATCH_BYTES, this.batchBytes * 2);
  }

  private lost(): void {
    if (this.closed || this.reader === undefined) return;
    this.closed = true;
    const where = `${this.path} path to ${this.nodeName} (${this.remoteAddress})`;
    this.reader.onLost(this.error ?? new TunnelError('unreachable', `the ${where} was closed`, { retryable: true }));
  }
}
