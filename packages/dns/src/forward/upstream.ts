import type { Clock, Logger, Random, Timer } from '@edgemesh/core';
import type { DnsMetrics } from '../metrics.ts';
import type { Limits } from '../options.ts';
import { createAsker } from './asker.ts';
import type { LoopGuard } from './loop-guard.ts';
import { type Done, failure, type Outcome } from './outcome.ts';
import type { Question } from './question.ts';

/**
 * `up` in use; `down` failed several times in a row and is being probed; `loop` its queries come back to this server;
 * `self` it is this server. The last two are never asked.
 */
export type UpstreamState = 'up' | 'down' | 'loop' | 'self';

/** Where an upstream is. */
export interface UpstreamTarget {
  readonly address: string;
  readonly port: number;
}

/** How an upstream is doing. */
export interface UpstreamHealth extends UpstreamTarget {
  readonly state: UpstreamState;
  /** Smoothed round trip, milliseconds; absent before the first answer. */
  readonly rttMs?: number;
  readonly lastFailure?: string;
}

/** One upstream resolver: its sockets, its health, its speed. */
export interface Upstream {
  readonly name: string;
  readonly state: UpstreamState;
  readonly health: UpstreamHealth;
  /** How long to wait before asking somebody else as well, milliseconds. */
  readonly hedgeMs: number;
  /** Asks; `done` is called exactly once, within the attempt timeout (twice that when TCP is needed). */
  query(question: Question, done: Done): void;
  close(): void;
}

export interface UpstreamDeps {
  readonly limits: Limits;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: DnsMetrics;
  readonly loops: LoopGuard;
  /** True when the target is one of our own listeners. */
  readonly isSelf: (target: UpstreamTarget) => boolean;
}

/** `10.0.0.1:53`, `[fd00::1]:53`. */
export function upstreamName({ address, port }: UpstreamTarget): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Starts with a probe, which finds out whether it answers and whether it loops. */
export function createUpstream(target: UpstreamTarget, deps: UpstreamDeps): Upstream {
  const { limits, clock, random, metrics } = deps;
  const name = upstreamName(target);
  const log = deps.log.child({ upstream: name });
  const gauge = metrics.upstreamUp.with(name);
  const count = (outcome: string) => metrics.upstreamQueries.with(name, outcome).add();
  const asker = createAsker({ ...target, name, limits, clock, random, metrics });
  let state: UpstreamState = 'up';
  let failures = 0;
  let probes = 0;
  let lastFailure: string | undefined;
  let probeTimer: Timer | undefined;
  let closed = false;

  const become = (next: UpstreamState) => {
    gauge.set(next === 'up' ? 1 : 0);
    if (next === state) return;
    const level = next === 'up' ? 'info' : 'warn';
    log[level]('upstream changed state', { from: state, to: next, lastFailure });
    state = next;
  };

  const scheduleProbe = (delayMs: number) => {
    probeTimer?.cancel();
    if (!closed) probeTimer = clock.after(delayMs, probe);
  };
  const probe = () => {
    const ticket = deps.loops.issue(() => {
      lastFailure = 'loop';
      become('loop');
    });
    asker.ask(ticket.question, (outcome) => {
      ticket.cancel();
      if (closed) return;
      if (ticket.returned) return scheduleProbe(limits.loopRecheckMs);
      judge(outcome, true);
    });
  };

  const judge = (outcome: Outcome, probing: boolean) => {
    if (outcome.kind === 'reply') {
      failures = 0;
      probes = 0;
      if (state === 'down' || (probing && state === 'loop')) become('up');
      return;
    }
    lastFailure = outcome.reason;
    failures++;
    if (state === 'up' && failures >= limits.downAfterFailures) {
      become('down');
      scheduleProbe(limits.probeMinMs);
    } else if (probing) {
      scheduleProbe(Math.min(limits.probeMaxMs, limits.probeMinMs * 2 ** Math.min(probes++, 10)));
    }
  };

  if (deps.isSelf(target)) become('self');
  else {
    gauge.set(1);
    probe();
  }

  return {
    name,
    get state() {
      return state;
    },
    get health() {
      return {
        ...target,
        state,
        ...(asker.rtt.smoothedMs === undefined ? {} : { rttMs: asker.rtt.smoothedMs }),
        ...(lastFailure === undefined ? {} : { lastFailure }),
      };
    },
    get hedgeMs() {
      return asker.rtt.hedgeMs;
    },
    query(question, done) {
      if (closed) {
        done(failure('closed'));
        return;
      }
      asker.ask(question, (outcome) => {
        count(outcome.kind === 'reply' ? 'reply' : outcome.reason);
        if (!closed) judge(outcome, false);
        done(outcome);
      });
    },
    close() {
      closed = true;
      probeTimer?.cancel();
      asker.close();
    },
  };
}
