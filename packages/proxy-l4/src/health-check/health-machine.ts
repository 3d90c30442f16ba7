import type { HealthCheck } from './health-check.ts';

type Limits = Pick<HealthCheck, 'healthyThreshold' | 'unhealthyThreshold' | 'maxEjectionPercent'>;

interface Health {
  healthy: boolean;
  /** Results in a row that contradict `healthy`. */
  against: number;
}

/** Which of the endpoints of one Service port are left out. A machine: no time, no I/O. */
export interface HealthMachine {
  /** Names the endpoints there are; those that left are forgotten, new ones count as healthy. */
  members(keys: Iterable<string>): void;
  /** Takes one result. Unknown keys are ignored. Answers whether the endpoint's own health has changed. */
  record(key: string, ok: boolean): boolean;
  isHealthy(key: string): boolean;
  /** Endpoints to leave out: the unhealthy ones, those that failed first when not all may be out; none when all have failed. */
  ejected(): ReadonlySet<string>;
}

/** Makes the machine; the checks feed it. */
export function createHealthMachine(limits: Limits): HealthMachine {
  const known = new Map<string, Health>();
  /** In the order in which they failed. */
  const failed = new Set<string>();

  return {
    members(keys) {
      const present = new Set(keys);
      for (const key of known.keys()) {
        if (present.has(key)) continue;
        known.delete(key);
        failed.delete(key);
      }
      for (const key of present) if (!known.has(key)) known.set(key, { healthy: true, against: 0 });
    },
    record(key, ok) {
      const health = known.get(key);
      if (health === undefined) return false;
      health.against = ok === health.healthy ? 0 : health.against + 1;
      if (health.against < (ok ? limits.healthyThreshold : limits.unhealthyThreshold)) return false;
      health.healthy = ok;
      health.against = 0;
      if (ok) failed.delete(key);
      else failed.add(key);
      return true;
    },
    isHealthy: (key) => known.get(key)?.healthy ?? true,
    ejected() {
      // When everything has failed, the fault may be the checker's; and a doubtful endpoint is better than none.
      if (failed.size === known.size) return new Set();
      const most = Math.max(1, Math.floor((known.size * limits.maxEjectionPercent) / 100));
      return new Set([...failed].slice(0, most));
    },
  };
}
