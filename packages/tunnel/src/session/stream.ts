import { type ByteSink, type ByteStream, giveBorrowed, MeshError, type Timer } from '@edgemesh/core';
import type { BatchWriter } from './batch.ts';
import type { ChannelHost } from './channel.ts';
import { Outbox } from './outbox.ts';
import { ReceiveWindow } from './receive-window.ts';
import type { Sendable } from './scheduler.ts';
import {
  decodeCredit,
  decodeReset,
  encodeCredit,
  encodeOpen,
  encodeReset,
  FRAME,
  INITIAL_WINDOW_BYTES,
  MAX_DATA_BYTES,
  NO_BYTES,
  type OpenFrame,
  protocolError,
} from './wire.ts';

/** `write` answers false from here on; a writer that heeds it holds at most this and one chunk. */
const HIGH_WATER_BYTES = 524_288;
/** `drained` comes when no more than this is left. */
const LOW_WATER_BYTES = 131_072;
/** Writers of less are not made to wait for the next batch: they have little to say. */
const SMALL_BYTES = 16_384;
const MAX_CREDIT = 0x7fff_ffff;

/** One byte stream of a session. The opener's side has `open`; the acceptor's side sends ACCEPT by {@link accept}. */
export class MuxStream implements ByteStream, Sendable {
  queue: Sendable['queue'] = 'none';
  readonly id: number;
  dialTimer: Timer | undefined;
  private readonly host: ChannelHost;
  private readonly open: OpenFrame | undefined;
  private sink: ByteSink | undefined;
  private readonly window: ReceiveWindow;
  // Sending
  private readonly out = new Outbox();
  private credit = INITIAL_WINDOW_BYTES;
  private needsDrain = false;
  private awaitsRoom = false;
  private ending = false;
  private endSent = false;
  private openSent: boolean;
  private accepted = false;
  private owesAccept = false;
  private owesCredit = false;
  // Receiving
  private inbox: Buffer[] = [];
  private inboxBytes = 0;
  private paused = true;
  private userPaused = false;
  private flushing = false;
  private openedSaid = false;
  private peerEnded = false;
  private endSaid = false;
  private done = false;
  private owesClosed: { error: MeshError | undefined } | undefined;

  constructor(host: ChannelHost, id: number, open: OpenFrame | undefined) {
    this.host = host;
    this.id = id;
    this.open = open;
    this.openSent = open === undefined;
    this.window = new ReceiveWindow(host.windowBudget, host.now());
  }

  /** False once OPEN may have reached the peer: from then on a failed dial may have had effects there. */
  get isUnsent(): boolean {
    return !this.openSent;
  }

  // The port

  attach(sink: ByteSink): void {
    if (this.sink !== undefined) throw new TypeError('attach is called once');
    this.sink = sink;
    this.paused = this.userPaused;
    this.flushSoon();
  }

  write(chunk: Uint8Array): boolean {
    if (this.ending || this.done || chunk.length === 0) return true;
    if (this.open === undefined && !this.accepted) this.accept();
    this.out.push(chunk);
    this.host.ready(this, chunk.length);
    if (this.out.bytes < HIGH_WATER_BYTES) return true;
    this.needsDrain = true;
    return false;
  }

  writeCopy(chunk: Uint8Array): boolean {
    if (this.ending || this.done || chunk.length === 0) return true;
    const isNext = this.openSent && this.out.bytes === 0 && (this.open !== undefined || this.accepted);
    if (!isNext || this.owesAccept || chunk.length > this.credit || !this.host.addNow(this.id, chunk))
      return this.write(Buffer.from(chunk));
    this.credit -= chunk.length;
    if (chunk.length < SMALL_BYTES || (this.credit >= MAX_DATA_BYTES && this.host.hasRoomForMore())) return true;
    // The next chunk would have to be kept: better that the writer waits.
    this.needsDrain = true;
    if (this.credit >= MAX_DATA_BYTES) this.awaitRoom();
    return false;
  }

  end(): void {
    if (this.ending || this.done) return;
    if (this.open === undefined && !this.accepted) this.accept();
    this.ending = true;
    const isNext = this.openSent && !this.owesAccept && this.out.bytes === 0;
    if (!isNext || !this.host.endNow(this.id, this.peerEnded)) {
      this.host.ready(this, 0);
      return;
    }
    this.endSent = true;
    if (this.endSaid) this.host.afterPump(this);
  }

  reset(error?: MeshError): void {
    if (this.done) return;
    const reason = error ?? new MeshError('aborted', 'stream aborted');
    if (this.openSent) this.host.sendReset(this.id, encodeReset(reason));
    this.finish(reason);
  }

  pause(): void {
    this.userPaused = true;
    this.paused = true;
  }

  resume(): void {
    this.userPaused = false;
    if (this.sink === undefined || this.done || !this.paused) return;
    // Still paused inside until the flush, so that data which arrives before it queues behind the inbox.
    if (this.inboxBytes === 0 && !this.peerEnded) this.paused = false;
    else this.flushSoon();
  }

  /** Tells the opener that the local target has answered. */
  accept(): void {
    if (this.accepted || this.done) return;
    this.accepted = true;
    this.owesAccept = true;
    this.host.ready(this, 0);
  }

  // What the session tells

  /** The bytes are borrowed. */
  onData(bytes: Buffer): void {
    if (this.peerEnded) throw protocolError('data after the end of a stream');
    this.window.receive(bytes.length);
    if (!this.accepted && this.open !== undefined) this.onAccept();
    if (this.paused || this.flushing) {
      this.inbox.push(Buffer.from(bytes));
      this.inboxBytes += bytes.length;
      if (!this.host.buffered(bytes.length))
        this.reset(new MeshError('limit', 'the session buffers too much unread data'));
      return;
    }
    this.consume(bytes.length);
    if (this.sink !== undefined) giveBorrowed(this.sink, bytes);
  }

  onFrame(type: number, payload: Buffer): void {
    if (type === FRAME.accept) this.onAccept();
    else if (type === FRAME.credit) this.onCredit(decodeCredit(payload));
    else if (type === FRAME.end) this.onEnd();
    else if (type === FRAME.reset) this.onReset(payload);
  }

  /** The session is gone, or the dial took too long. */
  fail(error: MeshError): void {
    this.finish(error);
  }

  emit(writer: BatchWriter, quantum: number): boolean {
    if (this.done) return false;
    if (!this.openSent && this.open !== undefined) {
      this.openSent = true;
      writer.numbered(FRAME.open, this.id, encodeOpen(this.open));
    }
    if (this.owesAccept) {
      this.owesAccept = false;
      writer.numbered(FRAME.accept, this.id, NO_BYTES);
    }
    if (this.owesCredit) {
      this.owesCredit = false;
      const credit = this.window.grant(this.host.now(), this.host.rttMs());
      if (!this.peerEnded) writer.numbered(FRAME.credit, this.id, encodeCredit(credit));
    }
    const sent = this.out.emit(writer, this.id, Math.min(quantum, this.credit));
    this.credit -= sent;
    if (sent > 0) this.host.sent(sent);
    if (this.out.bytes === 0 && this.ending && !this.endSent && writer.hasRoom) {
      this.endSent = true;
      writer.numbered(FRAME.end, this.id, NO_BYTES);
    }
    const mustTell = (this.needsDrain && this.out.bytes <= LOW_WATER_BYTES) || (this.endSent && this.endSaid);
    if (mustTell) this.host.afterPump(this);
    return (this.out.bytes > 0 && this.credit > 0) || (this.out.bytes === 0 && this.ending && !this.endSent);
  }

  /** What must be said outside of a pump: drained, closed. */
  afterPump(): void {
    this.awaitsRoom = false;
    if (this.done) return;
    if (this.endSent && this.endSaid) {
      this.finish(undefined);
      return;
    }
    if (!this.needsDrain || this.out.bytes > LOW_WATER_BYTES) return;
    this.needsDrain = false;
    if (!this.ending) this.sink?.drained();
  }

  private awaitRoom(): void {
    if (this.awaitsRoom) return;
    this.awaitsRoom = true;
    this.host.awaitRoom(this);
  }

  private onAccept(): void {
    if (this.accepted || this.open === undefined) return;
    this.accepted = true;
    this.dialTimer?.cancel();
    this.dialTimer = undefined;
    if (this.sink === undefined || this.flushing) {
      this.flushSoon();
      return;
    }
    this.openedSaid = true;
    this.sink.opened?.();
  }

  private onCredit(bytes: number): void {
    this.credit += bytes;
    if (this.credit > MAX_CREDIT) throw protocolError('credit overflow');
    if (this.out.bytes > 0) this.host.ready(this, 0);
    else if (this.needsDrain) this.awaitRoom();
  }

  private onEnd(): void {
    if (this.peerEnded) throw protocolError('a stream ends twice');
    if (this.open !== undefined) this.onAccept();
    this.peerEnded = true;
    if (this.paused || this.flushing) this.flushSoon();
    else this.sayEnd();
  }

  private onReset(payload: Buffer): void {
    const { code, reason, retryable } = decodeReset(payload);
    const refused = this.open !== undefined && !this.accepted;
    this.finish(new MeshError(code, reason || 'reset by the far side', { retryable: retryable || refused }));
  }

  private consume(bytes: number): void {
    this.host.received(bytes);
    if (!this.window.consume(bytes) || this.peerEnded) return;
    this.owesCredit = true;
    this.host.ready(this, 0);
  }

  private sayEnd(): void {
    if (this.endSaid || this.done) return;
    this.endSaid = true;
    this.sink?.ended();
    if (this.endSent && !this.done) this.finish(undefined);
  }

  /** Events are delivered from a microtask, never inside the user's `attach` or `resume`. */
  private flushSoon(): void {
    if (this.flushing || this.sink === undefined) return;
    this.flushing = true;
    queueMicrotask(() => this.flush());
  }

  private flush(): void {
    this.flushing = false;
    const sink = this.sink;
    if (sink === undefined) return;
    if (this.owesClosed !== undefined) {
      const { error } = this.owesClosed;
      this.owesClosed = undefined;
      sink.closed(error);
    }
    if (!this.done && this.accepted && this.open !== undefined && !this.openedSaid) {
      this.openedSaid = true;
      sink.opened?.();
    }
    if (this.done || this.userPaused) return;
    this.paused = false;
    let next = 0;
    while (next < this.inbox.length && !this.paused && !this.done) {
      const bytes = this.inbox[next++] as Buffer;
      this.inboxBytes -= bytes.length;
      this.host.buffered(-bytes.length);
      this.consume(bytes.length);
      sink.data(bytes);
    }
    this.inbox.splice(0, next);
    if (this.peerEnded && this.inbox.length === 0 && !this.paused) this.sayEnd();
  }

  private finish(error: MeshError | undefined): void {
    if (this.done) return;
    this.done = true;
    this.dialTimer?.cancel();
    this.dialTimer = undefined;
    this.out.clear();
    this.host.buffered(-this.inboxBytes);
    this.inbox = [];
    this.inboxBytes = 0;
    this.window.release();
    this.host.forget(this.id);
    if (this.sink !== undefined) this.sink.closed(error);
    else this.owesClosed = { error };
  }
}
