import { randomBytes } from 'node:crypto';
import { TunnelError } from '../errors.ts';
import { Attached } from './attached.ts';
import type { CarrierLink } from './link.ts';
import type { Mux } from './mux.ts';
import type { DataInProgress } from './parser.ts';
import { type Candidate, isBetter, judgeAttach } from './resume.ts';
import {
  type AttachFrame,
  decodeAttach,
  decodeGoaway,
  decodeReplay,
  decodeStart,
  encodeAttach,
  encodeFrame,
  encodeReplay,
  encodeStart,
  FRAME,
  type GoawayCode,
  MAX_REPLAY_BYTES,
  protocolError,
  readOffset,
  SESSION_ID_BYTES,
  type StartFrame,
} from './wire.ts';

/** What the carriers tell their session. */
export interface CarrierSetHost {
  /** The side that decides which carrier is used; stable, whoever dials. */
  readonly leader: boolean;
  readonly mux: Mux;
  now(): number;
  /** The peer has lost the session: end its streams, begin a new mux. */
  onRestart(): void;
  /** The carrier in use has changed; undefined: there is none. */
  onOutbound(current: Attached | undefined, reason: TunnelError | undefined): void;
  onPong(payload: Buffer): void;
  onAcknowledged(): void;
  countReceived(bytes: number): void;
  afterBytes(): void;
  onWritable(): void;
  /** The peer ends the session. */
  onGoaway(code: GoawayCode, reason: string): void;
  onBroken(error: unknown): void;
  /** A carrier ended, in use or not. */
  onCarrierLost(carrier: CarrierLink, error: TunnelError): void;
}

/** Times that one carrier may bring news of a restarted peer: once in truth, a few times when both restart at once. */
const MAX_RESTARTS_PER_CARRIER = 8;

const newId = () => randomBytes(SESSION_ID_BYTES).toString('hex');

/**
 * The carriers of one session and the protocol that keeps its bytes whole across them (docs/protocol.md): ATTACH tells who
 * we are and what we have, START says from which byte on a direction continues here, REPLAY repeats what may be lost.
 */
export class CarrierSet {
  /** Where this side sends, and where the peer sends; the same carrier but for moments. */
  outbound: Attached | undefined;
  inbound: Attached | undefined;
  /** Times that a direction moved to another carrier. */
  startsSent = 0;
  private startsReceived = 0;
  private localId = newId();
  private remoteId = '';
  private cut: DataInProgress | undefined;
  private readonly all = new Set<Attached>();
  private readonly host: CarrierSetHost;

  constructor(host: CarrierSetHost) {
    this.host = host;
  }

  get mux(): Mux {
    return this.host.mux;
  }

  get attached(): ReadonlySet<Attached> {
    return this.all;
  }

  now(): number {
    return this.host.now();
  }

  add(link: CarrierLink, preferred: boolean): void {
    const carrier = new Attached(this, link, preferred, this.now());
    this.all.add(carrier);
    this.sendAttach(carrier);
    this.startIfFresh(carrier);
    link.bind(carrier);
  }

  /** Closes all carriers; nothing is reported any more. */
  closeAll(code: GoawayCode, reason: string): void {
    for (const carrier of this.all) {
      carrier.retire();
      carrier.link.close(code, reason);
    }
    this.all.clear();
    this.outbound = undefined;
    this.inbound = undefined;
  }

  /** Gives a carrier up, whose path is dead or whose peer does not go on with it. */
  abandon(carrier: Attached, error: TunnelError): void {
    carrier.link.destroy();
    this.onLost(carrier, error);
  }

  /** Repeats a piece of what the last carrier may have lost; false when all is repeated. */
  replay(carrier: Attached): boolean {
    const { log } = this.mux;
    carrier.replayAt = Math.max(carrier.replayAt, Math.min(log.start, carrier.replayEnd));
    if (carrier.replayAt >= carrier.replayEnd) return false;
    const limit = Math.min(MAX_REPLAY_BYTES - 8, carrier.replayEnd - carrier.replayAt);
    const bytes = log.read(carrier.replayAt, limit);
    carrier.link.write(encodeFrame(FRAME.replay, 0, encodeReplay(carrier.replayAt, bytes)));
    carrier.replayAt += bytes.length;
    return true;
  }

  // From the carriers

  countReceived(bytes: number): void {
    this.host.countReceived(bytes);
  }
  afterBytes(): void {
    this.host.afterBytes();
  }
  onBroken(error: unknown): void {
    this.host.onBroken(error);
  }
  onWritable(carrier: Attached): void {
    if (carrier === this.outbound) this.host.onWritable();
  }

  onFrame(carrier: Attached, type: number, payload: Buffer): void {
    if (type === FRAME.ack) {
      this.mux.log.acknowledge(readOffset(payload));
      this.host.onAcknowledged();
    } else if (type === FRAME.pong) this.host.onPong(payload);
    else if (type === FRAME.attach) this.onAttach(carrier, decodeAttach(payload));
    else if (type === FRAME.replay) carrier.onReplay(decodeReplay(payload));
    else if (type === FRAME.start) this.onStart(carrier, decodeStart(payload));
    else if (type === FRAME.goaway) this.onGoaway(carrier, decodeGoaway(payload));
    else throw protocolError(`frame type 0x${type.toString(16)} inside a session`);
  }

  onLost(carrier: Attached, error: TunnelError): void {
    if (!this.all.delete(carrier)) return;
    if (carrier === this.inbound) {
      this.cut = carrier.progress;
      carrier.retire();
      this.inbound = undefined;
    }
    this.host.onCarrierLost(carrier.link, error);
    if (carrier !== this.outbound) return;
    this.outbound = undefined;
    const next = this.host.leader ? this.bestStandby() : undefined;
    if (next !== undefined) {
      this.startOn(next);
      return;
    }
    this.host.onOutbound(undefined, error);
    // The leader may not have noticed yet: tell it, where there is another way to do so.
    for (const other of this.all) this.sendAttach(other);
  }

  // ATTACH

  private sendAttach(carrier: Attached): void {
    const attach: AttachFrame = {
      localId: this.localId,
      remoteId: this.remoteId,
      received: this.mux.receivedOffset,
      lastStart: this.startsReceived,
      path: carrier.link.path,
      needed: this.outbound === undefined && this.remoteId !== '',
      preferred: carrier.preferred,
    };
    carrier.link.write(encodeFrame(FRAME.attach, 0, encodeAttach(attach)));
  }

  /** In a new session nothing can be lost or doubled: frames follow at once, without a round trip. */
  private startIfFresh(carrier: Attached): void {
    if (this.startsSent > 0 || this.outbound !== undefined || this.mux.log.end > 0) return;
    if (this.remoteId === '' || carrier.peerAttach !== undefined) this.startOn(carrier);
  }

  private onAttach(carrier: Attached, frame: AttachFrame): void {
    const verdict = judgeAttach({ localId: this.localId, remoteId: this.remoteId }, frame);
    if (verdict === 'ignore') return;
    if (verdict === 'restart') this.restart(carrier, frame);
    if (verdict === 'adopt') this.remoteId = frame.localId;
    carrier.peerAttach = this.remoteId === frame.localId ? frame : undefined;
    if (carrier.peerAttach === undefined) return;
    this.mux.log.acknowledge(frame.received);
    this.host.onAcknowledged();
    if (this.host.leader) this.decide(carrier, frame);
    else this.startIfFresh(carrier);
  }

  /** The peer has begun anew. Carriers that were in use belong to its past; others hear of our new id. */
  private restart(cause: Attached, frame: AttachFrame): void {
    if (++cause.restarts > MAX_RESTARTS_PER_CARRIER) throw protocolError('begins anew again and again');
    const used = [this.outbound, this.inbound];
    this.outbound = undefined;
    this.inbound = undefined;
    this.cut = undefined;
    this.startsSent = 0;
    this.startsReceived = 0;
    // A peer that still names an earlier session of ours will take a new id itself when it reads of this one.
    const confused = frame.remoteId !== '' && frame.remoteId !== this.localId;
    this.localId = newId();
    this.remoteId = confused ? '' : frame.localId;
    this.host.onRestart();
    for (const carrier of this.all) {
      carrier.peerAttach = undefined;
      if (carrier !== cause && used.includes(carrier)) this.discard(carrier, 'superseded');
      else this.sendAttach(carrier);
    }
    if (!confused) cause.peerAttach = frame;
    this.startIfFresh(cause);
    if (this.outbound === undefined) this.host.onOutbound(undefined, undefined);
  }

  // START

  private decide(carrier: Attached, frame: AttachFrame): void {
    if (carrier === this.outbound) return;
    const candidate: Candidate = {
      path: this.pathOf(carrier),
      preferred: carrier.preferred || frame.preferred,
      rescue: frame.needed && frame.lastStart === this.startsSent,
    };
    const current = this.outbound && { path: this.pathOf(this.outbound) };
    if (isBetter(candidate, current)) this.startOn(carrier);
    else if (carrier !== this.inbound) this.discard(carrier, 'not-needed');
  }

  /** Who dialled knows best what kind of path it is. */
  private pathOf(carrier: Attached): Candidate['path'] {
    return carrier.link.initiator ? carrier.link.path : (carrier.peerAttach?.path ?? carrier.link.path);
  }

  private bestStandby(): Attached | undefined {
    let best: Attached | undefined;
    for (const carrier of this.all) {
      if (carrier.peerAttach === undefined) continue;
      const candidate = { path: this.pathOf(carrier), preferred: false, rescue: false };
      if (isBetter(candidate, best && { path: this.pathOf(best) })) best = carrier;
    }
    return best;
  }

  /** This side sends on that carrier from now on, beginning with what the peer does not have. */
  private startOn(carrier: Attached): void {
    const previous = this.outbound;
    const { log } = this.mux;
    this.outbound = carrier;
    this.startsSent++;
    carrier.replayAt = log.start;
    carrier.replayEnd = log.end;
    carrier.link.write(
      encodeFrame(FRAME.start, 0, encodeStart({ number: this.startsSent, from: log.start, to: log.end })),
    );
    this.discardUnused(previous);
    this.host.onOutbound(carrier, undefined);
  }

  private onStart(carrier: Attached, start: StartFrame): void {
    if (carrier.peerAttach === undefined) throw protocolError('START before ATTACH');
    if (start.number <= this.startsReceived) {
      // Overtaken by a START on another carrier: nothing that follows here counts.
      carrier.retire();
      return;
    }
    const { receivedOffset } = this.mux;
    if (receivedOffset < start.from || receivedOffset > start.to)
      throw protocolError(`START from byte ${start.from} to ${start.to}, expected byte ${receivedOffset}`);
    const previous = this.inbound;
    this.startsReceived = start.number;
    // A leader may come back to a carrier that it had left, when the better one died at once.
    const inProgress = previous === undefined ? this.cut : previous.progress;
    if (previous !== carrier) previous?.retire();
    this.cut = undefined;
    this.inbound = carrier;
    carrier.takeOver(start.to, inProgress);
    if (!this.host.leader && this.outbound !== carrier) this.startOn(carrier);
    this.discardUnused(previous);
  }

  // Ends

  private onGoaway(carrier: Attached, goaway: { code: GoawayCode; reason: string }): void {
    const { code, reason } = goaway;
    const quiet = code === 'superseded' || code === 'not-needed';
    if (!quiet) {
      this.host.onGoaway(code, reason);
      return;
    }
    carrier.retire();
    carrier.link.destroy();
    this.onLost(carrier, superseded(carrier.link, code));
  }

  private discardUnused(carrier: Attached | undefined): void {
    if (carrier === undefined || carrier === this.outbound || carrier === this.inbound) return;
    this.discard(carrier, 'superseded');
  }

  private discard(carrier: Attached, code: 'superseded' | 'not-needed'): void {
    this.all.delete(carrier);
    carrier.retire();
    carrier.link.close(code, 'another carrier is in use');
    this.host.onCarrierLost(carrier.link, superseded(carrier.link, code));
  }
}

function superseded(link: CarrierLink, code: 'superseded' | 'not-needed'): TunnelError {
  return new TunnelError('refused', `the ${link.path} path is ${code}: another carrier is in use`);
}
