import { type Clock, sleep } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { ControlRpc } from '../types.ts';
import { waitBusily } from './simultaneous-open.ts';

/** Asks a peer for the time of its clock: an empty body, answered by a float64 of milliseconds, big endian. */
export const PUNCH_TIME = 'punch.time';

/** Round trips of which the fastest counts: over a relay and two event loops most are a little late. */
const ROUND_TRIPS = 5;
/** Time that SYNC has beyond the fastest round trip, in milliseconds: a busy event loop on each side. */
const SYNC_SLACK_MS = 30;
/** Nobody waits longer than this for the moment, in milliseconds. */
const MAX_WAIT_MS = 5_000;
/** The last stretch before the moment is waited out busily, in milliseconds: timers are that late. */
const BUSY_MS = 3;

export interface PeerClock {
  /** The peer's clock minus ours, in milliseconds. */
  readonly offsetMs: number;
  readonly roundTripMs: number;
}

/** Lets peers compare their clock to ours. */
export function answerTime(control: Pick<ControlRpc, 'handle'>): void {
  control.handle(PUNCH_TIME, async () => {
    const answer = Buffer.alloc(8);
    answer.writeDoubleBE(performance.now());
    return answer;
  });
}

/** Compares clocks as NTP does. Rejects with TunnelError. */
export async function comparePeerClock(
  control: Pick<ControlRpc, 'request'>,
  peerId: string,
  signal: AbortSignal,
): Promise<PeerClock> {
  let best: PeerClock | undefined;
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const sent = performance.now();
    const answer = await control.request(peerId, PUNCH_TIME, new Uint8Array(), signal);
    const received = performance.now();
    const peer = answer.length === 8 ? Buffer.from(answer).readDoubleBE() : Number.NaN;
    if (!Number.isFinite(peer)) throw new TunnelError('protocol', 'the peer did not answer with its time');
    const roundTripMs = received - sent;
    if (best === undefined || roundTripMs < best.roundTripMs) {
      best = { offsetMs: peer - (sent + received) / 2, roundTripMs };
    }
  }
  return best as PeerClock;
}

/** A moment that a SYNC sent now can still announce, by our clock. */
export function momentAfterSync({ roundTripMs }: PeerClock): number {
  return performance.now() + roundTripMs / 2 + SYNC_SLACK_MS;
}

/** Waits until the moment, by our clock, to the fraction of a millisecond. */
export async function waitUntil(moment: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const left = moment - performance.now();
  if (left > MAX_WAIT_MS) throw new TunnelError('protocol', 'the moment to dial is too far away');
  if (left > BUSY_MS) await sleep(left - BUSY_MS, clock, signal);
  if (!signal.aborted) waitBusily(moment);
}
