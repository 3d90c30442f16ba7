import type { Outcome } from '@edgemesh/core';
import { LB_DEFAULTS } from './options.ts';
import type { OutlierPolicy } from './policy.ts';

/** What is remembered of one endpoint; nothing is while it behaves and was never ejected. */
interface Health {
  errors: number;
  gatewayErrors: number;
  connectFailures: number;
  /** Ejections that are not forgiven yet; the next one lasts this much longer. */
  ejections: number;
  ejectedUntil: number;
  forgivenAt: number;
}

/** Consecutive-failure ejection as a machine over a given time: no timers, no I/O. Times are monotonic milliseconds. */
export interface OutlierMachine {
  /**
   * Takes the outcome of one use. `candidates` is how many endpoints there are to choose from, which bounds how many may
   * be out at once. Answers whether this outcome ejected the endpoint.
   */
  record(key: string, outcome: Outcome, candidates: number, now: number): boolean;
  isEjected(key: string, now: number): boolean;
  /** How many are out. */
  ejectedCount(now: number): number;
  /** When the next endpoint comes back; infinity when none is out. Changes only with `record` or when that time passes. */
  nextReturnAt(now: number): number;
}

/** Makes the machine for one Service port. */
export function createOutlierMachine(policy: OutlierPolicy): OutlierMachine {
  const limits = {
    errors: policy.consecutiveErrors ?? LB_DEFAULTS.consecutiveErrors,
    gatewayErrors: policy.consecutiveGatewayErrors ?? 0,
    connectFailures: policy.consecutiveConnectFailures,
  };
  const baseMs = policy.baseEjectionMs ?? LB_DEFAULTS.baseEjectionMs;
  const maxMs = Math.max(baseMs, policy.maxEjectionMs ?? LB_DEFAULTS.maxEjectionMs);
  const intervalMs = policy.intervalMs ?? LB_DEFAULTS.intervalMs;
  const maxPercent = policy.maxEjectionPercent ?? LB_DEFAULTS.maxEjectionPercent;
  const known = new Map<string, Health>();
  const ejected = new Map<string, Health>();

  const sweep = (now: number) => {
    for (const [key, health] of ejected) if (health.ejectedUntil <= now) ejected.delete(key);
  };

  const healthOf = (key: string, now: number): Health => {
    const found = known.get(key);
    const health = found ?? {
      errors: 0,
      gatewayErrors: 0,
      connectFailures: 0,
      ejections: 0,
      ejectedUntil: 0,
      forgivenAt: now,
    };
    known.delete(key);
    known.set(key, health);
    if (known.size > LB_DEFAULTS.outlierMaxEndpoints) {
      const [oldest] = known.keys();
      known.delete(oldest as string);
      ejected.delete(oldest as string);
    }
    return health;
  };

  /** One ejection is forgiven for each interval of good behaviour since the return. */
  const forgive = (health: Health, now: number) => {
    while (health.ejections > 0 && health.forgivenAt + intervalMs <= now) {
      health.ejections--;
      health.forgivenAt += intervalMs;
    }
  };

  const succeed = (key: string, now: number) => {
    const health = known.get(key);
    if (health === undefined) return;
    forgive(health, now);
    resetCounts(health);
    if (health.ejections === 0) known.delete(key);
  };

  /** Ends an ejection early. It still counts, so that one who flaps is out for longer each time. */
  const recover = (key: string, now: number) => {
    const health = known.get(key);
    if (health === undefined) return;
    resetCounts(health);
    if (!ejected.delete(key)) return;
    health.ejectedUntil = now;
    health.forgivenAt = now;
  };

  const mayEject = (candidates: number) => {
    if (maxPercent <= 0) return false;
    return ejected.size === 0 || (ejected.size + 1) * 100 <= candidates * maxPercent;
  };

  return {
    record(key, outcome, candidates, now) {
      sweep(now);
      if (outcome.kind === 'recovered') {
        recover(key, now);
        return false;
      }
      if (!isFailure(outcome)) {
        succeed(key, now);
        return false;
      }
      if (ejected.has(key)) return false;
      const health = healthOf(key, now);
      forgive(health, now);
      count(health, outcome, limits.connectFailures !== undefined);
      if (!isOver(health, limits) || !mayEject(candidates)) return false;
      resetCounts(health);
      health.ejections++;
      health.ejectedUntil = now + Math.min(maxMs, baseMs * health.ejections);
      health.forgivenAt = health.ejectedUntil;
      ejected.set(key, health);
      return true;
    },
    isEjected(key, now) {
      return ejected.size > 0 && (ejected.get(key)?.ejectedUntil ?? 0) > now;
    },
    ejectedCount(now) {
      sweep(now);
      return ejected.size;
    },
    nextReturnAt(now) {
      sweep(now);
      let next = Number.POSITIVE_INFINITY;
      for (const health of ejected.values()) next = Math.min(next, health.ejectedUntil);
      return next;
    },
  };
}

function isFailure(outcome: Outcome): boolean {
  return outcome.kind === 'connect-failure' || (outcome.kind === 'response' && outcome.status >= 500);
}

function count(health: Health, outcome: Outcome, split: boolean): void {
  if (outcome.kind === 'connect-failure') {
    health.connectFailures++;
    if (split) return;
    health.errors++;
    health.gatewayErrors++;
  } else if (outcome.kind === 'response') {
    health.errors++;
    if (outcome.status >= 502 && outcome.status <= 504) health.gatewayErrors++;
    else health.gatewayErrors = 0;
  }
}

function resetCounts(health: Health): void {
  health.errors = 0;
  health.gatewayErrors = 0;
  health.connectFailures = 0;
}

function isOver(
  health: Health,
  limits: { errors: number; gatewayErrors: number; connectFailures: number | undefined },
): boolean {
  const reached = (seen: number, limit: number | undefined) => limit !== undefined && limit > 0 && seen >= limit;
  return (
    reached(health.errors, limits.errors) ||
    reached(health.gatewayErrors, limits.gatewayErrors) ||
    reached(health.connectFailures, limits.connectFailures)
  );
}
