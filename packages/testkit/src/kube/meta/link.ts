import type { Clock, Timer } from '@edgemesh/core';
import type { OdditySwitches } from './oddities.ts';

/** Times of the connection between edgecore and cloudcore, ms; see `metaServerDefaults`. */
export interface LinkTimes {
  readonly noticeMs: number;
  readonly backoffMs: number;
  readonly cloudcoreStartMs: number;
}

/** The websocket between edgecore and cloudcore: what is true of it, and what edgecore believes. */
export interface Link {
  /** True when requests reach cloudcore. */
  readonly connected: boolean;
  /** True when edgecore has not noticed that they do not. */
  readonly silentlyLost: boolean;
  /** Whether this request waits in vain before it fails. Asked once per request that does not get through. */
  takesStall(): boolean;
  disconnect(silent: boolean): void;
  /** Repairs the link; resolves when the cloud answers again. */
  reconnect(): Promise<void>;
  /** Resolves when connected, at once if so. */
  whenConnected(): Promise<void>;
  cloudcoreStopped(): void;
  cloudcoreStarted(): void;
  edgecoreStarted(): void;
  close(): void;
}

export interface LinkOptions {
  readonly clock: Clock;
  readonly times: LinkTimes;
  readonly odd: OdditySwitches;
  readonly cloudcoreUp: () => boolean;
  readonly onConnected: () => void;
}

export function createLink(options: LinkOptions): Link {
  const { clock, times, odd } = options;
  const waiters = new Set<() => void>();
  let cut = false;
  // Edgecore holds a socket that the other side knows nothing of any more.
  let zombie = false;
  let believed = options.cloudcoreUp();
  let stallPending = false;
  let timer: Timer | undefined;

  const connected = () => believed && !cut && !zombie && options.cloudcoreUp();
  const lose = (stalls: boolean) => {
    believed = false;
    zombie = false;
    stallPending = stalls;
  };
  const schedule = (ms: number, run: () => void) => {
    timer?.cancel();
    timer = clock.after(ms, run);
  };
  const attempt = () => {
    if (cut || believed) return;
    if (!options.cloudcoreUp()) return schedule(times.backoffMs, attempt);
    believed = true;
    options.onConnected();
    for (const resolve of [...waiters]) resolve();
    waiters.clear();
  };
  const whenConnected = () =>
    connected() ? Promise.resolve() : new Promise<void>((resolve) => void waiters.add(resolve));

  return {
    get connected() {
      return connected();
    },
    get silentlyLost() {
      return believed && (cut || zombie);
    },
    takesStall() {
      if (believed && (cut || zombie)) return odd.silentLossStallsEveryList;
      const stalls = stallPending && odd.cleanLossStallsFirstList;
      stallPending = false;
      return stalls;
    },
    disconnect(silent) {
      timer?.cancel();
      cut = true;
      if (silent && believed) zombie = true;
      else lose(believed);
    },
    reconnect() {
      if (cut) {
        cut = false;
        if (zombie) {
          schedule(times.noticeMs, () => {
            lose(false);
            schedule(times.backoffMs, attempt);
          });
        } else schedule(times.backoffMs, attempt);
      }
      return whenConnected();
    },
    whenConnected,
    cloudcoreStopped() {
      if (believed && !cut && !zombie) lose(true);
    },
    cloudcoreStarted() {
      if (!cut && !zombie) schedule(times.cloudcoreStartMs, attempt);
    },
    edgecoreStarted() {
      lose(false);
      if (!cut) attempt();
    },
    close: () => timer?.cancel(),
  };
}
