import { type DatagramSink, type Datagrams, MeshError, type Timer } from '@edgemesh/core';
import type { BatchWriter } from './batch.ts';
import type { ChannelHost } from './channel.ts';
import type { Sendable } from './scheduler.ts';
import {
  decodeReset,
  encodeOpen,
  encodeReset,
  FRAME,
  HEADER_BYTES,
  MAX_PACKET_BYTES,
  MAX_UDP_BYTES,
  NO_BYTES,
  type OpenFrame,
  type StreamKind,
} from './wire.ts';

/**
 * One datagram channel of a session. Datagrams wait in a bounded queue for their turn at the carrier and are dropped when
 * it is full; they are never repeated after a change of carrier.
 */
export class MuxDatagrams implements Datagrams, Sendable {
  queue: Sendable['queue'] = 'none';
  readonly id: number;
  dialTimer: Timer | undefined;
  private readonly host: ChannelHost;
  private readonly open: OpenFrame | undefined;
  private readonly kind: StreamKind;
  private readonly maxBytes: number;
  private readonly maxQueueBytes: number;
  private sink: DatagramSink | undefined;
  private out: Uint8Array[] = [];
  private outHead = 0;
  private outBytes = 0;
  private ring: CopyRing | undefined;
  /** What arrived before `attach`; within the same bound as the queue. */
  private inbox: Buffer[] = [];
  private inboxBytes = 0;
  private openSent: boolean;
  private accepted = false;
  private owesAccept: boolean;
  private done = false;
  private endSent = false;
  private owesClosed: { error: MeshError | undefined } | undefined;

  constructor(host: ChannelHost, id: number, kind: StreamKind, open: OpenFrame | undefined, maxQueueBytes: number) {
    this.host = host;
    this.id = id;
    this.open = open;
    this.openSent = open === undefined;
    this.owesAccept = open === undefined;
    this.kind = kind;
    this.maxBytes = kind === 'packets' ? MAX_PACKET_BYTES : MAX_UDP_BYTES;
    this.maxQueueBytes = maxQueueBytes;
  }

  get isUnsent(): boolean {
    return !this.openSent;
  }

  attach(sink: DatagramSink): void {
    if (this.sink !== undefined) throw new TypeError('attach is called once');
    this.sink = sink;
    queueMicrotask(() => this.flush(sink));
  }

  send(payload: Uint8Array): boolean {
    if (this.done || payload.length > this.maxBytes) return false;
    // The header counts too: empty datagrams must not make an endless queue.
    if (this.outBytes + payload.length + HEADER_BYTES > this.maxQueueBytes) {
      this.host.dropped();
      return false;
    }
    this.out.push(payload);
    this.outBytes += payload.length + HEADER_BYTES;
    this.host.ready(this, payload.length);
    return true;
  }

  sendCopy(payload: Uint8Array): boolean {
    // A payload that will be dropped is not worth a copy.
    if (this.done || this.outBytes + payload.length + HEADER_BYTES > this.maxQueueBytes) return this.send(payload);
    this.ring ??= new CopyRing(this.maxQueueBytes, this.maxBytes);
    return this.send(this.ring.copy(payload));
  }

  close(error?: MeshError): void {
    if (this.done) return;
    if (error !== undefined && this.openSent) {
      this.endSent = true;
      this.host.sendReset(this.id, encodeReset(error));
    }
    // Without error END goes out behind what is queued; nothing does where the peer never heard of the channel.
    if (error !== undefined || (!this.openSent && this.outBytes === 0)) this.end();
    this.sayClosed(error);
    if (!this.endSent) this.host.ready(this, 0);
  }

  /** Sends ACCEPT, on the side that was asked. */
  accept(): void {
    this.host.ready(this, 0);
  }

  /** The payload is valid during the call only. */
  onDatagram(payload: Buffer): void {
    if (this.done) return;
    if (!this.accepted) this.onAccept();
    this.host.received(payload.length);
    if (this.sink !== undefined && this.inbox.length === 0) {
      // Packets go to a device within the call; a UDP socket keeps what it sends.
      this.sink.message(this.kind === 'packets' ? payload : Buffer.from(payload));
      return;
    }
    if (this.inboxBytes + payload.length + HEADER_BYTES > this.maxQueueBytes) {
      this.host.dropped();
      return;
    }
    this.inbox.push(Buffer.from(payload));
    this.inboxBytes += payload.length + HEADER_BYTES;
  }

  onFrame(type: number, payload: Buffer): void {
    if (type === FRAME.accept) this.onAccept();
    else if (type === FRAME.end) this.finish(undefined);
    else if (type === FRAME.reset) {
      const { code, reason, retryable } = decodeReset(payload);
      this.finish(new MeshError(code, reason || 'closed by the far side', { retryable }));
    }
  }

  fail(error: MeshError): void {
    this.finish(error);
  }

  emit(writer: BatchWriter, quantum: number): boolean {
    if (this.endSent) return false;
    if (!this.openSent && this.open !== undefined) {
      this.openSent = true;
      writer.numbered(FRAME.open, this.id, encodeOpen(this.open));
    }
    if (this.owesAccept) {
      this.owesAccept = false;
      writer.numbered(FRAME.accept, this.id, NO_BYTES);
    }
    for (let budget = quantum; budget > 0 && this.outHead < this.out.length && writer.hasRoom; ) {
      const payload = this.out[this.outHead] as Uint8Array;
      this.out[this.outHead++] = NO_BYTES;
      writer.unnumbered(FRAME.datagram, this.id, payload);
      this.outBytes -= payload.length + HEADER_BYTES;
      budget -= payload.length + HEADER_BYTES;
      this.host.sent(payload.length);
    }
    if (this.outHead < this.out.length) return true;
    this.out = [];
    this.outHead = 0;
    if (!this.done) return false;
    if (!writer.hasRoom) return true;
    writer.numbered(FRAME.end, this.id, NO_BYTES);
    this.end();
    return false;
  }

  afterPump(): void {
    // Nothing to say: datagrams have no backpressure.
  }

  /** A carrier was lost: what waited for it is stale. */
  dropQueued(): void {
    for (let i = this.outHead; i < this.out.length; i++) this.host.dropped();
    this.out = [];
    this.outHead = 0;
    this.outBytes = 0;
  }

  private onAccept(): void {
    this.accepted = true;
    this.dialTimer?.cancel();
    this.dialTimer = undefined;
  }

  private flush(sink: DatagramSink): void {
    const waiting = this.inbox;
    for (const payload of waiting) {
      if (this.done) break;
      sink.message(payload);
    }
    this.inbox = [];
    this.inboxBytes = 0;
    if (this.owesClosed === undefined) return;
    const { error } = this.owesClosed;
    this.owesClosed = undefined;
    sink.closed(error);
  }

  /** The far side, or the session, has ended the channel. */
  private finish(error: MeshError | undefined): void {
    this.end();
    this.sayClosed(error);
  }

  /** Nothing more goes out; the session may forget the channel. */
  private end(): void {
    this.endSent = true;
    this.dialTimer?.cancel();
    this.dialTimer = undefined;
    this.out = [];
    this.outHead = 0;
    this.outBytes = 0;
    this.ring = undefined;
    this.host.forget(this.id);
  }

  private sayClosed(error: MeshError | undefined): void {
    if (this.done) return;
    this.done = true;
    this.dialTimer?.cancel();
    this.dialTimer = undefined;
    if (this.sink !== undefined) this.sink.closed(error);
    else this.owesClosed = { error };
  }
}

/**
 * Memory for queued copies, used round and round. Datagrams leave in the order in which they came and are copied when they
 * leave, so what is older than a full queue is free. The queue holds at most `queueBytes`; at each end up to one datagram's
 * length is left out, because a copy is never split.
 */
class CopyRing {
  private readonly memory: Buffer;
  private at = 0;

  constructor(queueBytes: number, maxBytes: number) {
    this.memory = Buffer.allocUnsafeSlow(queueBytes + 2 * maxBytes);
  }

  copy(payload: Uint8Array): Buffer {
    if (this.at + payload.length > this.memory.length) this.at = 0;
    const start = this.at;
    this.at += payload.length;
    this.memory.set(payload, start);
    return this.memory.subarray(start, this.at);
  }
}
