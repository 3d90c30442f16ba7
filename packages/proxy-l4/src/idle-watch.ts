import type { Clock } from '@edgemesh/core';

/** How long connections may be silent, and when the kernel begins to ask whether a silent peer is still there. All in milliseconds. */
export interface IdleLimits {
  /** 0: for as long as they like. */
  readonly idleMs: number;
  /** Once one side has ended. 0: as `idleMs`. */
  readonly halfClosedIdleMs: number;
  /** 0: never. */
  readonly keepAliveMs: number;
}

/** What tells whether a connection lives: a `net.Socket`, or a stream that counts. */
export interface WatchedSocket {
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly readableEnded: boolean;
  readonly writableEnded: boolean;
  setKeepAlive(on: boolean, ms: number): void;
}

/** One watched connection. */
export interface Watched {
  readonly socket: WatchedSocket;
  /** Called when it was silent for too long; where it is missing, it may be. */
  expired?: () => void;
  bytes: number;
  /** When it was first seen silent. */
  silentSince: number;
  keptAlive: boolean;
}

/** A silent connection is found within this part of its time. */
const LOOKS = 4;
/** Connections are never looked at more often, in milliseconds. */
const MIN_PERIOD_MS = 10;
/** TCP keep-alive is for connections that last: it costs four system calls, which a short one is spared for so long, in milliseconds. */
const MAX_PERIOD_MS = 15_000;

/**
 * Looks at all connections of a listener or dialer now and then, instead of setting timers for each. Traffic either way passes
 * through a connection's socket, so its counters tell of all of it.
 */
export class IdleWatch {
  private readonly limits: IdleLimits;
  private readonly clock: Clock;
  private readonly periodMs: number;
  private readonly connections = new Set<Watched>();
  private isRunning = false;

  constructor(limits: IdleLimits, clock: Clock) {
    this.limits = limits;
    this.clock = clock;
    const { idleMs, halfClosedIdleMs } = limits;
    const shortest = Math.min(idleMs || Number.POSITIVE_INFINITY, halfClosedIdleMs || Number.POSITIVE_INFINITY);
    this.periodMs = Math.max(MIN_PERIOD_MS, Math.min(MAX_PERIOD_MS, shortest / LOOKS));
  }

  /** @returns what {@link remove} wants when the connection is over */
  add(socket: WatchedSocket): Watched {
    const watched: Watched = { socket, bytes: -1, silentSince: this.clock.now(), keptAlive: false };
    this.connections.add(watched);
    this.arm();
    return watched;
  }

  remove(watched: Watched): void {
    this.connections.delete(watched);
  }

  private arm(): void {
    if (this.isRunning || this.connections.size === 0) return;
    this.isRunning = true;
    this.clock.after(this.periodMs, () => {
      this.isRunning = false;
      const now = this.clock.now();
      for (const watched of [...this.connections]) this.look(watched, now);
      this.arm();
    });
  }

  private look(watched: Watched, now: number): void {
    const { socket } = watched;
    const { keepAliveMs } = this.limits;
    if (!watched.keptAlive && keepAliveMs > 0) socket.setKeepAlive(true, keepAliveMs);
    watched.keptAlive = true;
    if (watched.expired === undefined) {
      this.remove(watched); // the kernel watches it from now on
      return;
    }
    const bytes = socket.bytesRead + socket.bytesWritten;
    if (bytes !== watched.bytes) {
      watched.bytes = bytes;
      watched.silentSince = now;
      return;
    }
    const limitMs = this.limitOf(socket);
    if (limitMs > 0 && now - watched.silentSince >= limitMs) watched.expired();
  }

  private limitOf(socket: WatchedSocket): number {
    const { idleMs, halfClosedIdleMs } = this.limits;
    const isHalfClosed = socket.readableEnded || socket.writableEnded;
    if (!isHalfClosed || halfClosedIdleMs === 0) return idleMs;
    return idleMs > 0 ? Math.min(idleMs, halfClosedIdleMs) : halfClosedIdleMs;
  }
}
