import { type ByteStream, type Clock, type Datagrams, type DialOptions, MeshError } from '@edgemesh/core';
import type { InboundHandler } from '../types.ts';
import { BatchWriter } from './batch.ts';
import type { ChannelHost, HeldBack } from './channel.ts';
import { MuxDatagrams } from './datagrams.ts';
import { serveDatagrams, serveStream } from './inbound.ts';
import { RateLimit, type SessionAccounts } from './limits.ts';
import { Opener } from './opener.ts';
import type { WindowBudget } from './receive-window.ts';
import { ReplayLog } from './replay-log.ts';
import { Scheduler, type Sendable } from './scheduler.ts';
import { MuxStream } from './stream.ts';
import {
  decodeOpen,
  encodeReset,
  FRAME,
  HEADER_BYTES,
  isNumbered,
  MAX_DATA_BYTES,
  NO_BYTES,
  protocolError,
  type StreamKind,
} from './wire.ts';

/** What a mux needs of the session around it. */
export interface MuxHost {
  readonly peerId: string;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly inbound: InboundHandler;
  readonly accounts: SessionAccounts;
  /** Parity of the stream ids that this side gives out. */
  readonly idParity: 0 | 1;
  /** A carrier was in use once: what was sent may have had effects at the peer. */
  readonly everAttached: boolean;
  /** A carrier is in use, and it answers. */
  readonly hasPath: boolean;
  rttMs(): number | undefined;
  /** True when the next batch takes these bytes, in order, without harm to what else wants to be sent. */
  hasRoomFor(bytes: number): boolean;
  /** Something waits to be sent. */
  wake(addedBytes: number): void;
  /** The same for what may wait a moment for something to go with. */
  wakeLater(): void;
}

export interface MuxTarget {
  readonly address: string;
  readonly port: number;
  readonly kind: StreamKind;
}

type Channel = MuxStream | MuxDatagrams;
/** Refusals that wait for the carrier; a peer that opens on and on without reading them is no peer. */
const MAX_WAITING_RESETS = 16_384;

/**
 * The streams of one session between two losses: ids, limits, dispatch of numbered frames, and the order in which
 * streams are sent. Knows nothing of carriers.
 */
export class Mux implements ChannelHost {
  readonly log = new ReplayLog();
  readonly writer = new BatchWriter(this.log);
  readonly windowBudget: WindowBudget;
  /** Numbered bytes taken from the peer. */
  receivedOffset = 0;
  bytesIn = 0;
  bytesOut = 0;
  private readonly host: MuxHost;
  private readonly channels = new Map<number, Channel>();
  private readonly scheduler = new Scheduler();
  private readonly openRate: RateLimit;
  private readonly opener: Opener;
  private resets: { id: number; payload: Uint8Array }[] = [];
  private waiting: { afterPump(): void }[] = [];
  private awaitingRoom: HeldBack[] = [];
  private streamsIn = 0;
  private unread = 0;

  constructor(host: MuxHost) {
    this.host = host;
    const { options } = host.accounts;
    this.windowBudget = { spareBytes: options.maxSessionWindowBytes, maxWindowBytes: options.maxStreamWindowBytes };
    this.openRate = new RateLimit(options.maxOpensPerSecond, host.clock);
    this.opener = new Opener(host, {
      has: (id) => this.channels.has(id),
      begin: (channel) => this.ready(channel, 0),
      sendReset: (id, payload) => this.sendReset(id, payload),
    });
  }

  get streams(): number {
    return this.channels.size;
  }

  /** True when a batch would not be empty. */
  get hasWork(): boolean {
    return this.writer.bytes > 0 || this.resets.length > 0 || !this.scheduler.isEmpty;
  }

  // Opening

  dial(target: MuxTarget, options: DialOptions = {}): ByteStream {
    const open = { ...target, clientAddress: options.clientAddress ?? '' };
    const stream = new MuxStream(this, this.opener.takeId(), open);
    this.launch(stream, options);
    return stream;
  }

  openDatagrams(target: MuxTarget, options: DialOptions = {}): Datagrams {
    const open = { ...target, clientAddress: options.clientAddress ?? '' };
    const { maxDatagramQueueBytes } = this.host.accounts.options;
    const channel = new MuxDatagrams(this, this.opener.takeId(), target.kind, open, maxDatagramQueueBytes);
    this.launch(channel, options);
    return channel;
  }

  private launch(channel: Channel, options: DialOptions): void {
    this.channels.set(channel.id, channel);
    this.opener.launch(channel, options);
  }

  // What the peer sends

  onData(id: number, bytes: Buffer): void {
    const channel = this.channels.get(id);
    // Unknown: reset here while the data was on its way.
    if (channel === undefined) return;
    if (!(channel instanceof MuxStream)) throw protocolError('stream data on a datagram channel');
    channel.onData(bytes);
  }

  /** OPEN and all frames that belong to one stream. */
  onFrame(type: number, id: number, payload: Buffer): void {
    if (type === FRAME.open) {
      this.onOpen(id, payload);
      return;
    }
    const channel = this.channels.get(id);
    if (channel === undefined) return;
    if (isNumbered(type)) channel.onFrame(type, payload);
    else if (channel instanceof MuxDatagrams) channel.onDatagram(payload);
    else throw protocolError('a datagram on a byte stream');
  }

  private onOpen(id: number, payload: Buffer): void {
    const { peerId, nodeName, inbound, accounts } = this.host;
    if (id === 0 || (id & 1) === this.host.idParity || this.channels.has(id))
      throw protocolError(`OPEN of stream ${id}`);
    const open = decodeOpen(payload);
    const limit = this.openRate.take() ? accounts.exceeded('in', this.streamsIn) : 'maxOpensPerSecond';
    if (limit !== undefined) {
      accounts.refuse(limit);
      if (this.resets.length >= MAX_WAITING_RESETS) throw protocolError('opens streams and does not read the refusals');
      const error = new MeshError('limit', `the node's ${limit} is reached`, { retryable: true });
      this.sendReset(id, encodeReset(error));
      return;
    }
    this.streamsIn++;
    accounts.streamOpened('in');
    const request = { peerId, nodeName, ...open };
    if (open.kind === 'tcp') {
      const stream = new MuxStream(this, id, undefined);
      this.channels.set(id, stream);
      serveStream(stream, request, inbound);
      return;
    }
    const channel = new MuxDatagrams(this, id, open.kind, undefined, accounts.options.maxDatagramQueueBytes);
    this.channels.set(id, channel);
    serveDatagrams(channel, request, inbound);
  }

  // Sending

  /** Adds what is to be sent to the batch, at most about `limit` bytes of it. */
  fill(limit: number): void {
    const { writer } = this;
    while (this.resets.length > 0 && writer.hasRoom) {
      const { id, payload } = this.resets.shift() as { id: number; payload: Uint8Array };
      writer.numbered(FRAME.reset, id, payload);
    }
    this.scheduler.fill(writer, limit);
  }

  /** True when streams hold back what they would like to send. */
  get isHeldBack(): boolean {
    return this.awaitingRoom.length > 0;
  }

  /** Runs the callbacks that must not run while a batch is being made. */
  runAfterPump(): void {
    this.wakeHeldBack();
    while (this.waiting.length > 0) {
      const list = this.waiting;
      this.waiting = [];
      for (const channel of list) channel.afterPump();
    }
  }

  /** With room they go on at once. While others take turns at the carrier they take turns too, or they would wait for all of those. */
  private wakeHeldBack(): void {
    if (!this.isHeldBack) return;
    if (this.hasRoomForMore()) this.waiting.push(...this.awaitingRoom);
    else if (!this.scheduler.isEmpty) for (const channel of this.awaitingRoom) this.scheduler.add(channel);
    else return;
    this.awaitingRoom = [];
  }

  /** The carrier is gone. */
  onSuspend(): void {
    for (const channel of this.channels.values()) if (channel instanceof MuxDatagrams) channel.dropQueued();
  }

  /** Everything ends with this error; nothing is sent any more. */
  close(code: MeshError['code'], message: string): void {
    for (const channel of [...this.channels.values()])
      channel.fail(new MeshError(code, message, { retryable: channel.isUnsent }));
    this.opener.stop();
    this.scheduler.clear();
    this.resets = [];
    this.waiting = [];
    this.awaitingRoom = [];
    this.log.clear();
  }

  // ChannelHost

  now(): number {
    return this.host.clock.now();
  }
  rttMs(): number | undefined {
    return this.host.rttMs();
  }
  ready(item: Sendable, bytes: number): void {
    this.scheduler.add(item);
    this.host.wake(bytes);
  }
  addNow(id: number, bytes: Uint8Array): boolean {
    const frameBytes = bytes.length + HEADER_BYTES * Math.ceil(bytes.length / MAX_DATA_BYTES);
    if (!this.scheduler.isEmpty || !this.host.hasRoomFor(frameBytes)) return false;
    this.writer.begin();
    for (let at = 0; at < bytes.length; at += MAX_DATA_BYTES)
      this.writer.numbered(FRAME.data, id, bytes, at, Math.min(MAX_DATA_BYTES, bytes.length - at));
    this.sent(bytes.length);
    this.host.wake(bytes.length);
    return true;
  }
  endNow(id: number, isLast: boolean): boolean {
    if (!this.scheduler.isEmpty || !this.host.hasRoomFor(HEADER_BYTES)) return false;
    this.writer.begin();
    this.writer.numbered(FRAME.end, id, NO_BYTES);
    if (isLast) this.host.wakeLater();
    else this.host.wake(0);
    return true;
  }
  hasRoomForMore(): boolean {
    return this.scheduler.isEmpty && this.host.hasRoomFor(HEADER_BYTES + MAX_DATA_BYTES);
  }
  awaitRoom(channel: HeldBack): void {
    this.awaitingRoom.push(channel);
    this.host.wake(0);
  }
  sendReset(id: number, payload: Uint8Array): void {
    this.resets.push({ id, payload });
    this.host.wake(0);
  }
  afterPump(channel: { afterPump(): void }): void {
    this.waiting.push(channel);
  }
  sent(bytes: number): void {
    this.bytesOut += bytes;
    this.host.accounts.bytesOut.add(bytes);
  }
  received(bytes: number): void {
    this.bytesIn += bytes;
    this.host.accounts.bytesIn.add(bytes);
  }
  buffered(bytes: number): boolean {
    const { accounts } = this.host;
    this.unread += bytes;
    accounts.bufferedBytes += bytes;
    return (
      this.unread <= accounts.options.maxUnreadBytesPerSession &&
      accounts.bufferedBytes <= accounts.options.maxUnreadBytes
    );
  }
  dropped(): void {
    this.host.accounts.datagramsDropped.add();
  }
  forget(id: number): void {
    const channel = this.channels.get(id);
    if (channel === undefined) return;
    this.channels.delete(id);
    if ((id & 1) === this.host.idParity) {
      this.opener.ended(channel);
      return;
    }
    this.streamsIn--;
    this.host.accounts.streamClosed('in');
  }
}
