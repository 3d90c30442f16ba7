import type { Clock, Logger, Timer } from '@edgemesh/core';
import { collectGarbage } from '@edgemesh/telemetry';

/** What a relay holds for others, in bytes each (packages/tunnel/bench/scale.ts). */
const CIRCUIT_BYTES = 11_000;
const NODE_BYTES = 69_000;
/** How much of it must be gone to be worth a pause, in bytes. */
const WORTH_BYTES = 8_000_000;
/** Milliseconds between looks; what leaves within one of them is one load. */
const LOOK_MS = 10_000;

/** Who is served at a moment. */
export interface Load {
  readonly circuits: number;
  readonly nodes: number;
}

export interface GiveBackOptions {
  readonly load: () => Load;
  readonly log: Logger;
  readonly clock: Clock;
  /** Collects all garbage at once. Default: V8's own. */
  readonly collect?: () => void;
}

/** Gives memory back when many circuits or nodes have left and no more of them leave. */
export function giveBackMemory({ load, log, clock, collect = collectGarbage }: GiveBackOptions): Disposable {
  let last = bytesOf(load());
  let most = last;
  let timer: Timer;
  const look = () => {
    timer = clock.after(LOOK_MS, look);
    const now = bytesOf(load());
    const isLeaving = now < last;
    last = now;
    most = Math.max(most, now);
    if (isLeaving || most - now < WORTH_BYTES) return;
    most = now;
    const started = clock.now();
    collect();
    log.debug('gave memory back after a load', { tookMs: Math.round(clock.now() - started) });
  };
  timer = clock.after(LOOK_MS, look);
  return { [Symbol.dispose]: () => timer.cancel() };
}

function bytesOf({ circuits, nodes }: Load): number {
  return circuits * CIRCUIT_BYTES + nodes * NODE_BYTES;
}
