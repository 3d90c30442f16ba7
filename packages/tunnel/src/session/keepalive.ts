/** When a carrier is tested, and when it is given up. All in milliseconds. */
export interface KeepaliveOptions {
  /** Silence before a ping while unacknowledged data waits. */
  readonly pingBusyMs: number;
  /** Silence before a ping while streams are open. */
  readonly pingOpenMs: number;
  /** Silence before a ping without streams. */
  readonly pingIdleMs: number;
  /** How long a ping may stay without any byte in return. */
  readonly deadAfterPingMs: number;
  /** How often the round-trip time is measured while bytes flow. */
  readonly measureMs: number;
}

export interface KeepaliveState {
  lastReceivedAt: number;
  /** When the last ping was sent. */
  pingAt: number;
}

export interface KeepaliveLoad {
  readonly streams: number;
  readonly unacknowledgedBytes: number;
}

/**
 * What to do now, and when to look again. A path is dead when a ping has brought not a single byte: any byte counts, for a
 * slow path may hold the answer behind megabytes of data.
 */
export function keepalive(
  state: Readonly<KeepaliveState>,
  load: KeepaliveLoad,
  options: KeepaliveOptions,
  now: number,
): { readonly action: 'none' | 'ping' | 'dead'; readonly nextMs: number } {
  if (state.pingAt > state.lastReceivedAt) {
    const left = state.pingAt + options.deadAfterPingMs - now;
    return left <= 0 ? { action: 'dead', nextMs: 0 } : { action: 'none', nextMs: left };
  }
  const silenceMs =
    load.unacknowledgedBytes > 0 ? options.pingBusyMs : load.streams > 0 ? options.pingOpenMs : options.pingIdleMs;
  const measureAt = load.streams > 0 ? state.pingAt + options.measureMs : Number.POSITIVE_INFINITY;
  const due = Math.min(state.lastReceivedAt + silenceMs, measureAt);
  return now >= due ? { action: 'ping', nextMs: options.deadAfterPingMs } : { action: 'none', nextMs: due - now };
}
