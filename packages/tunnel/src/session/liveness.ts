import type { Clock, Timer } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SessionOptions } from '../options.ts';
import type { Attached } from './attached.ts';
import type { CarrierSet } from './carrier-set.ts';
import { type KeepaliveLoad, keepalive } from './keepalive.ts';
import { encodeFrame, encodeOffset, FRAME, readOffset } from './wire.ts';

/** What the pings of a session need to know of it. */
export interface LivenessHost {
  readonly clock: Clock;
  readonly nodeName: string;
  readonly keepaliveOptions: SessionOptions;
  load(): KeepaliveLoad;
  /** Looked at while nothing is open and nothing is on its way. */
  onIdle(): void;
  /** The carrier in use is late with its answer; undefined: it has come, or another carrier has taken over. */
  onSuspect(carrier: Attached | undefined): void;
}

/** While bytes wait for an answer the load changes without notice: look this often, in milliseconds. */
const BUSY_LOOK_MS = 1_000;

/** The shell around {@link keepalive}: one timer per session, pings on each carrier, the smoothed round-trip time. */
export class Liveness {
  rttMs: number | undefined;
  private readonly host: LivenessHost;
  private readonly set: CarrierSet;
  private timer: Timer | undefined;
  private isIdle = false;
  private suspected: Attached | undefined;
  private stopped = false;

  constructor(host: LivenessHost, set: CarrierSet) {
    this.host = host;
    this.set = set;
  }

  /** The carrier in use is late with an answer. */
  get isSuspect(): boolean {
    return this.suspected !== undefined;
  }

  /** Something was opened or sent: an idle session looks again sooner. */
  wake(): void {
    if (this.isIdle) this.arm();
  }

  /** Looks at all carriers now and sets the timer for the next time. */
  arm(): void {
    this.clear();
    if (this.stopped) return;
    this.trustAgain();
    if (this.set.attached.size === 0) return;
    const { clock, keepaliveOptions: options } = this.host;
    const load = this.host.load();
    let nextMs: number = options.pingIdleMs;
    for (const carrier of [...this.set.attached]) {
      nextMs = Math.min(nextMs, this.check(carrier, load));
      if (this.stopped) return;
    }
    this.isIdle = load.streams === 0 && load.unacknowledgedBytes === 0;
    if (this.isIdle) this.host.onIdle();
    else nextMs = Math.min(nextMs, BUSY_LOOK_MS);
    // Giving a carrier up may have come back here by way of its successor.
    this.clear();
    this.timer = clock.after(Math.max(10, nextMs), () => this.arm());
  }

  /** Asks the carrier in use for an answer now. */
  probe(): void {
    const { outbound } = this.set;
    if (outbound === undefined || outbound.live.pingAt > outbound.live.lastReceivedAt) return;
    this.ping(outbound);
    this.arm();
  }

  stop(): void {
    this.stopped = true;
    this.clear();
  }

  private clear(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  ping(carrier: Attached): void {
    const now = this.host.clock.now();
    carrier.live.pingAt = now;
    // Microseconds fit the 64 bits of an offset.
    carrier.link.write(encodeFrame(FRAME.ping, 0, encodeOffset(Math.max(0, Math.round(now * 1000)))));
  }

  onPong(payload: Buffer): void {
    const sample = this.host.clock.now() - readOffset(payload) / 1000;
    if (sample < 0) return;
    // RFC 6298's smoothing.
    this.rttMs = this.rttMs === undefined ? sample : this.rttMs + (sample - this.rttMs) / 8;
  }

  private check(carrier: Attached, load: KeepaliveLoad): number {
    const { clock, keepaliveOptions: options, nodeName } = this.host;
    const { path, remoteAddress } = carrier.link;
    const now = clock.now();
    const inUse = carrier === this.set.outbound && carrier === this.set.inbound;
    if (!inUse && now - carrier.attachedAt >= options.attachTimeoutMs) {
      this.set.abandon(carrier, new TunnelError('timeout', `the peer does not use the ${path} path`));
      return options.pingIdleMs;
    }
    const { action, nextMs } = keepalive(carrier.live, load, options, now);
    if (action === 'ping') this.ping(carrier);
    if (action === 'dead') {
      const message = `the ${path} path to node ${nodeName} (${remoteAddress}) is silent`;
      this.set.abandon(carrier, new TunnelError('timeout', message, { retryable: true }));
    }
    if (!inUse) return Math.min(nextMs, options.attachTimeoutMs);
    return Math.min(nextMs, this.suspect(carrier, now));
  }

  /** A late answer is no proof of a dead path, but reason enough to look for another. Returns when to look again. */
  private suspect(carrier: Attached, now: number): number {
    const { live } = carrier;
    if (live.pingAt <= live.lastReceivedAt || carrier === this.suspected) return Number.POSITIVE_INFINITY;
    const patienceMs = Math.max(this.host.keepaliveOptions.suspectAfterPingMs, 4 * (this.rttMs ?? 0));
    const left = live.pingAt + patienceMs - now;
    if (left > 0) return left;
    this.suspected = carrier;
    this.host.onSuspect(carrier);
    return Number.POSITIVE_INFINITY;
  }

  private trustAgain(): void {
    const { suspected } = this;
    if (suspected === undefined) return;
    if (suspected === this.set.outbound && suspected.live.pingAt > suspected.live.lastReceivedAt) return;
    this.suspected = undefined;
    this.host.onSuspect(undefined);
  }
}
