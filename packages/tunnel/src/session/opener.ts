import { type Clock, Deadlines, type DialOptions, MeshError } from '@edgemesh/core';
import type { SessionAccounts } from './limits.ts';
import { type Dialled, OpenLine } from './open-line.ts';
import { encodeReset } from './wire.ts';

const MAX_STREAM_ID = 0xffff_fff0;

/** What an opener needs of its session. */
export interface OpenerHost {
  readonly nodeName: string;
  readonly clock: Clock;
  readonly accounts: SessionAccounts;
  /** Parity of the stream ids that this side gives out. */
  readonly idParity: 0 | 1;
  readonly hasPath: boolean;
}

/** What an opener needs of the streams that are open already. */
export interface OpenStreams {
  has(id: number): boolean;
  /** The stream is to be sent. */
  begin(channel: Dialled): void;
  sendReset(id: number, payload: Uint8Array): void;
}

/** The streams that this side opens: their ids, limits, and the time they have to be accepted. */
export class Opener {
  private readonly host: OpenerHost;
  private readonly open: OpenStreams;
  private readonly deadlines: Deadlines;
  private readonly line: OpenLine;
  private nextId: number;
  private streams = 0;
  private isAdmitting = false;

  constructor(host: OpenerHost, open: OpenStreams) {
    this.host = host;
    this.open = open;
    this.deadlines = new Deadlines(host.clock);
    this.nextId = host.idParity === 1 ? 1 : 2;
    const { options } = host.accounts;
    this.line = new OpenLine({
      clock: host.clock,
      maxStreams: options.maxStreamsOutPerPeer,
      maxWaiting: options.maxStreamsWaitingPerPeer,
      patienceMs: options.limitPatienceMs,
      hasPath: () => host.hasPath,
    });
  }

  /** Ids of closed streams are used again only after all others (2^31 opens). */
  takeId(): number {
    while (this.open.has(this.nextId)) this.advanceId();
    const id = this.nextId;
    this.advanceId();
    return id;
  }

  /** Begins a stream, lets it wait for a place, or fails it. */
  launch(channel: Dialled, options: DialOptions): void {
    const { accounts } = this.host;
    const limit = accounts.exceeded('out', this.streams);
    const timeoutMs = options.timeoutMs ?? accounts.options.dialTimeoutMs;
    if (limit === 'maxStreamsOutPerPeer' && this.line.add(channel, timeoutMs)) return;
    this.streams++;
    accounts.streamOpened('out');
    if (limit === undefined) {
      this.begin(channel, timeoutMs, this.deadlines);
      return;
    }
    accounts.refuse(limit);
    const max = accounts.options[limit as 'maxStreamsOut'];
    channel.fail(new MeshError('limit', `${limit} (${max}) streams are open already`, { retryable: true }));
  }

  /** The stream is over. */
  ended(channel: Dialled): void {
    if (this.line.remove(channel)) return;
    this.streams--;
    this.host.accounts.streamClosed('out');
    if (this.line.isEmpty || this.isAdmitting) return;
    this.isAdmitting = true;
    queueMicrotask(() => this.admitWaiting()); // not while a batch is being made
  }

  stop(): void {
    this.deadlines.stop();
  }

  private begin(channel: Dialled, timeoutMs: number, timers: Pick<Clock, 'after'>): void {
    channel.dialTimer = timers.after(timeoutMs, () => this.timedOut(channel, timeoutMs));
    this.open.begin(channel);
  }

  /** Streams have ended: those that wait for their places begin. */
  private admitWaiting(): void {
    this.isAdmitting = false;
    const { accounts, clock } = this.host;
    while (accounts.exceeded('out', this.streams) === undefined) {
      const next = this.line.next();
      if (next === undefined) return;
      this.streams++;
      accounts.streamOpened('out');
      this.begin(next.channel, next.leftMs, clock);
    }
  }

  private timedOut(channel: Dialled, timeoutMs: number): void {
    channel.dialTimer = undefined;
    const { nodeName } = this.host;
    if (channel.isUnsent) {
      const message = `no path to node ${nodeName} was found within ${timeoutMs} ms`;
      channel.fail(new MeshError('unreachable', message, { retryable: true }));
      return;
    }
    const error = new MeshError('timeout', `node ${nodeName} did not accept within ${timeoutMs} ms`);
    this.open.sendReset(channel.id, encodeReset(error));
    channel.fail(error);
  }

  private advanceId(): void {
    this.nextId = this.nextId + 2 > MAX_STREAM_ID ? (this.host.idParity === 1 ? 1 : 2) : this.nextId + 2;
  }
}
