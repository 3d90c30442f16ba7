import { type Clock, type Metrics, noMetrics, systemClock } from '@edgemesh/core';
import { TelemetryError } from './errors.ts';
import { MAX_REASON_CHARS } from './options.ts';

/**
 * | state | meaning |
 * | --- | --- |
 * | `starting` | not yet; nothing is wrong |
 * | `ready` | does its work |
 * | `degraded` | does not do its work, or only in part; `reason` says why; it is tried again |
 * | `stopped` | switched off or stopped in order |
 */
export type ModuleState = 'starting' | 'ready' | 'degraded' | 'stopped';

const STATES: readonly ModuleState[] = ['starting', 'ready', 'degraded', 'stopped'];

/** One module as it is shown to people and probes. */
export interface ModuleReport {
  readonly name: string;
  readonly state: ModuleState;
  /** Why it is in this state; empty when there is nothing to say. */
  readonly reason: string;
  /** Since when, ISO 8601. */
  readonly since: string;
  /** Whether readiness waits for it. */
  readonly critical: boolean;
}

/** The handle of one module. */
export interface ModuleHealth {
  readonly state: ModuleState;
  set(state: ModuleState, reason?: string): void;
  /** Takes the module out of the reports. */
  remove(): void;
}

export interface Health {
  /** Adds a module in state `starting`. @throws TelemetryError `duplicate-module` */
  register(name: string, options?: { readonly critical?: boolean }): ModuleHealth;
  /** All modules in the order of registration. */
  readonly modules: readonly ModuleReport[];
  /** Every critical module is ready or stopped. False before the first one is registered. */
  readonly ready: boolean;
  /** Called after each change of a state or reason. Returns the unsubscribe function. */
  subscribe(listener: (report: ModuleReport) => void): () => void;
}

export interface HealthOptions {
  readonly clock?: Pick<Clock, 'wallNow'>;
  readonly metrics?: Metrics;
}

/** Creates the one place where modules say how they are. */
export function createHealth(options: HealthOptions = {}): Health {
  const clock = options.clock ?? systemClock;
  const gauge = (options.metrics ?? noMetrics).gauge({
    name: 'edgemesh_module_state',
    help: 'State of each module: 1 for the state it is in, 0 for the others.',
    labels: ['module', 'state'],
  });
  const modules = new Map<string, ModuleReport>();
  const listeners = new Set<(report: ModuleReport) => void>();
  const put = (report: ModuleReport) => {
    modules.set(report.name, report);
    for (const state of STATES) gauge.with(report.name, state).set(state === report.state ? 1 : 0);
    for (const listener of [...listeners]) listener(report);
  };
  const now = () => new Date(clock.wallNow()).toISOString();
  return {
    register(name, { critical = true } = {}) {
      if (modules.has(name)) throw new TelemetryError('duplicate-module', `the module ${name} is registered already`);
      put({ name, state: 'starting', reason: '', since: now(), critical });
      return {
        get state() {
          return modules.get(name)?.state ?? 'stopped';
        },
        set(state, reason = '') {
          const before = modules.get(name);
          const short = reason.slice(0, MAX_REASON_CHARS);
          if (before === undefined || (before.state === state && before.reason === short)) return;
          put({ name, state, reason: short, since: before.state === state ? before.since : now(), critical });
        },
        remove() {
          modules.delete(name);
          for (const state of STATES) gauge.with(name, state).set(0);
        },
      };
    },
    get modules() {
      return [...modules.values()];
    },
    get ready() {
      if (modules.size === 0) return false;
      return [...modules.values()].every(
        ({ critical, state }) => !critical || state === 'ready' || state === 'stopped',
      );
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
