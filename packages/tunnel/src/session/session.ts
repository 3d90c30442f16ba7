import {
  type ByteStream,
  type Clock,
  type Datagrams,
  type DialOptions,
  type MeshError,
  messageOf,
  type Timer,
} from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SessionOptions } from '../options.ts';
import type { Carrier, InboundHandler, Session, SessionStats } from '../types.ts';
import { Acknowledgements } from './acknowledgements.ts';
import type { Attached } from './attached.ts';
import { CarrierSet, type CarrierSetHost } from './carrier-set.ts';
import type { SessionEvent, SessionShared } from './events.ts';
import { FlightLimit } from './flight.ts';
import type { KeepaliveLoad } from './keepalive.ts';
import type { SessionAccounts } from './limits.ts';
import type { CarrierLink } from './link.ts';
import { Liveness, type LivenessHost } from './liveness.ts';
import { Mux, type MuxHost, type MuxTarget } from './mux.ts';
import { Turns } from './turns.ts';
import { encodeOffset, FRAME, type GoawayCode } from './wire.ts';

/** A carrier that takes batches of this size is fast: the next one may be begun before it has taken the last one. */
const FAST_BATCH_BYTES = 262_144;

/** The session with one peer: streams above, carriers below. */
export class PeerSession implements Session, MuxHost, CarrierSetHost, LivenessHost {
  readonly peerId: string;
  nodeName: string;
  readonly leader: boolean;
  readonly idParity: 0 | 1;
  mux: Mux;
  everAttached = false;
  private readonly shared: SessionShared;
  private readonly set: CarrierSet;
  private readonly flight = new FlightLimit();
  private readonly liveness: Liveness;
  private closed = false;
  private resumptions = 0;
  private bytesBefore = { in: 0, out: 0 };
  private readonly acks: Acknowledgements;
  private readonly turns: Turns;
  private graceTimer: Timer | undefined;

  constructor(shared: SessionShared, peerId: string, nodeName: string) {
    this.shared = shared;
    this.peerId = peerId;
    this.nodeName = nodeName;
    // Stable across carriers, whoever dials: the smaller peer id leads and gives out odd stream ids.
    this.leader = shared.localPeerId < peerId;
    this.idParity = this.leader ? 1 : 0;
    this.turns = new Turns(shared.clock, () => this.pump());
    this.acks = new Acknowledgements(shared.clock, () => this.wake(0));
    this.mux = new Mux(this);
    this.set = new CarrierSet(this);
    this.liveness = new Liveness(this, this.set);
    this.startGrace();
  }

  // Session

  get state(): 'active' | 'suspended' | 'closed' {
    if (this.closed) return 'closed';
    return this.set.outbound === undefined ? 'suspended' : 'active';
  }

  get carrier(): Carrier | undefined {
    return this.set.outbound?.link;
  }

  dial(target: { readonly address: string; readonly port: number }, options?: DialOptions): ByteStream {
    const stream = this.mux.dial({ address: target.address, port: target.port, kind: 'tcp' }, options);
    this.afterOpen();
    return stream;
  }

  openDatagrams(
    target: Omit<MuxTarget, 'kind'> & { readonly kind?: 'udp' | 'packets' },
    options?: DialOptions,
  ): Datagrams {
    const { address, port, kind = 'udp' } = target;
    const channel = this.mux.openDatagrams({ address, port, kind }, options);
    this.afterOpen();
    return channel;
  }

  stats(): SessionStats {
    const { mux } = this;
    return {
      streams: mux.streams,
      bytesIn: this.bytesBefore.in + mux.bytesIn,
      bytesOut: this.bytesBefore.out + mux.bytesOut,
      rttMs: this.liveness.rttMs,
      unacknowledgedBytes: mux.log.bytes,
      resumptions: this.resumptions,
    };
  }

  // For the table

  attach(link: CarrierLink, preferred: boolean): void {
    if (link.nodeName !== '') this.nodeName = link.nodeName;
    this.set.add(link, preferred);
    this.liveness.arm();
  }

  probe(): void {
    this.liveness.probe();
  }

  /** Ends streams and carriers. */
  close(code: MeshError['code'], message: string, goaway: GoawayCode = 'closed'): void {
    if (this.closed) return;
    this.closed = true;
    this.acks.stop();
    this.turns.stop();
    this.graceTimer?.cancel();
    this.liveness.stop();
    this.set.closeAll(goaway, message);
    this.mux.close(code, message);
    this.shared.onClosed(this);
    this.event({ type: 'closed', session: this, reason: message });
  }

  // MuxHost

  get clock(): Clock {
    return this.shared.clock;
  }
  get hasPath(): boolean {
    return this.set.outbound !== undefined && !this.liveness.isSuspect;
  }
  get inbound(): InboundHandler {
    return this.shared.inbound;
  }
  get accounts(): SessionAccounts {
    return this.shared.accounts;
  }
  rttMs(): number | undefined {
    return this.liveness.rttMs;
  }

  hasRoomFor(bytes: number): boolean {
    const carrier = this.set.outbound?.link;
    if (carrier === undefined || this.closed) return false;
    const { writer, log } = this.mux;
    // On a slow path what is in a batch could be overtaken no more, for a time that one feels.
    if (carrier.congested && !(carrier.batchBytes >= FAST_BATCH_BYTES && writer.canOpen)) return false;
    // An empty batch takes a read of any size: the smallest batch is no larger than one read with its header.
    const exceeds = writer.bytes > 0 && writer.bytes + bytes > carrier.batchBytes;
    if (exceeds || !writer.hasRoomFor(bytes)) return false;
    return !this.isFull(log.bytes + writer.bytes);
  }

  private isFull(inFlight: number): boolean {
    return this.flight.isFull(inFlight) || inFlight >= this.accounts.options.maxUnacknowledgedBytes;
  }

  wake(addedBytes: number): void {
    if (this.set.outbound !== undefined && !this.closed) this.turns.wake(addedBytes);
  }

  wakeLater(): void {
    if (this.set.outbound !== undefined && !this.closed) this.turns.wakeLater();
  }

  private afterOpen(): void {
    if (this.closed) this.mux.close('session-lost', `the session with node ${this.nodeName} is closed`);
    else this.liveness.wake();
  }

  /** Feeds the carrier until it is full or nobody has more to send. */
  private pump(): void {
    const carrier = this.set.outbound;
    this.turns.begin();
    if (carrier === undefined || this.closed) return;
    const { mux, set } = this;
    const { writer } = mux;
    while (carrier === set.outbound && !carrier.link.congested) {
      if (set.replay(carrier)) continue;
      writer.begin();
      if (this.acks.take()) writer.unnumbered(FRAME.ack, 0, encodeOffset(mux.receivedOffset));
      const inFlight = mux.log.bytes;
      if (!this.isFull(inFlight)) mux.fill(carrier.link.batchBytes);
      const batch = writer.finish();
      if (batch === undefined) break;
      if (mux.log.bytes > inFlight) this.flight.onSent(mux.log.end, inFlight, this.now());
      carrier.link.write(batch);
      mux.runAfterPump();
    }
    mux.runAfterPump();
    this.liveness.wake();
  }

  // CarrierSetHost

  now(): number {
    return this.shared.clock.now();
  }

  countReceived(bytes: number): void {
    this.mux.receivedOffset += bytes;
    this.acks.count(bytes);
  }

  afterBytes(): void {
    if (!this.closed) this.acks.look();
  }

  onWritable(): void {
    this.pump();
  }

  onAcknowledged(): void {
    this.flight.onAcknowledged(this.mux.log.start, this.now());
    if (this.mux.hasWork || this.mux.isHeldBack) this.wake(0);
  }

  onOutbound(current: Attached | undefined, reason: TunnelError | undefined): void {
    if (current === undefined) {
      this.mux.onSuspend();
      this.startGrace();
      this.event({ type: 'suspended', session: this, reason: reason?.message ?? 'the peer has restarted' });
      return;
    }
    this.flight.restart(this.mux.log.start, this.now());
    this.mux.writer.forgetSlabs();
    const wasSuspended = this.graceTimer !== undefined;
    this.graceTimer?.cancel();
    this.graceTimer = undefined;
    const type = !this.everAttached ? 'opened' : wasSuspended ? 'resumed' : 'switched';
    if (type === 'resumed') this.resumptions++;
    this.everAttached = true;
    this.liveness.ping(current);
    this.wake(0);
    this.liveness.arm();
    this.event({ type, session: this, carrier: current.link });
  }

  onRestart(): void {
    const old = this.mux;
    this.bytesBefore = { in: this.bytesBefore.in + old.bytesIn, out: this.bytesBefore.out + old.bytesOut };
    this.mux = new Mux(this);
    this.acks.reset();
    old.close('session-lost', `node ${this.nodeName} has restarted`);
    this.event({ type: 'restarted', session: this });
  }

  onPong(payload: Buffer): void {
    this.liveness.onPong(payload);
  }

  onGoaway(code: GoawayCode, reason: string): void {
    const why = `node ${this.nodeName} ended the session (${code}): ${reason}`;
    this.close(code === 'protocol' ? 'protocol' : 'session-lost', why);
  }

  onBroken(error: unknown): void {
    const broken = error instanceof TunnelError;
    const what = `node ${this.nodeName} (${this.peerId}): ${messageOf(error)}`;
    this.shared.log.error(broken ? 'a peer broke the session protocol' : 'a session failed', { peer: what });
    this.close('protocol', `protocol error with ${what}`, 'protocol');
  }

  onCarrierLost(carrier: CarrierLink, reason: TunnelError): void {
    this.event({ type: 'carrier-lost', session: this, carrier, reason });
  }

  // Time

  private startGrace(): void {
    this.graceTimer?.cancel();
    const { graceMs } = this.accounts.options;
    this.graceTimer = this.clock.after(graceMs, () => {
      // A session that never had a carrier lives as long as somebody dials on it; each dial has its own time limit.
      if (!this.everAttached && this.mux.streams > 0) return this.startGrace();
      const why = this.everAttached ? `no path to node ${this.nodeName} for ${graceMs} ms` : 'no path was found';
      this.close(this.everAttached ? 'session-lost' : 'unreachable', why);
    });
  }

  get keepaliveOptions(): SessionOptions {
    return this.accounts.options;
  }

  load(): KeepaliveLoad {
    return { streams: this.mux.streams, unacknowledgedBytes: this.mux.log.bytes };
  }

  /** An idle session keeps no send buffer. */
  onIdle(): void {
    this.mux.writer.forgetSlabs();
  }

  onSuspect(carrier: Attached | undefined): void {
    this.event({ type: carrier === undefined ? 'trusted' : 'suspect', session: this });
  }

  private event(event: SessionEvent): void {
    this.accounts.event(event.type);
    this.shared.onEvent(event);
  }
}
