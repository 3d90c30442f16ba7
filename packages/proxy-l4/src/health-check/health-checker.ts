import {
  type CatalogView,
  type Clock,
  type Dialer,
  detach,
  type Endpoint,
  endpointKey,
  type Logger,
  type Metrics,
  noMetrics,
  type Random,
  type Service,
  type ServiceId,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import { PROXY_DEFAULTS } from '../options.ts';
import { createCheckGate } from './check-gate.ts';
import {
  byPort,
  type CheckedPort,
  type CheckedService,
  coveredBy,
  type FailingEndpoint,
  failureOf,
  failuresOf,
  leftOut,
  portKey,
  type Target,
} from './checked-service.ts';
import { type HealthCheck, type HealthCheckDefaults, healthCheckOf } from './health-check.ts';
import { createHealthMachine } from './health-machine.ts';
import { createHealthMetrics, type HealthMetrics } from './health-metrics.ts';
import { probe } from './probe.ts';

/** What is checked, and how much at once. */
export interface HealthCheckerOptions {
  readonly defaults: HealthCheckDefaults;
  /** Services that are ours to serve. Default: all. */
  readonly include?: (service: Service) => boolean;
  /** Checks under way at once. Default 32. */
  readonly maxConcurrent?: number;
  /** Endpoints checked at most; further ones stay as the cluster says. Default 4,096. */
  readonly maxEndpoints?: number;
}

export interface HealthCheckerDeps {
  /** The catalog as the cluster has it, without what checks have changed. */
  readonly catalog: CatalogView;
  readonly dialer: Dialer;
  /** Called with the endpoints of a Service that are to be left out from now on, by `endpointKey`. */
  readonly leaveOut: (service: ServiceId, keys: ReadonlySet<string>) => void;
  /** Called with endpoints that pass again after they had failed, before they are given back. */
  readonly recovered?: (service: ServiceId, endpoint: Endpoint) => void;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Checks endpoints by itself until it is disposed; then everything it had left out is back. */
export interface HealthChecker extends AsyncDisposable {
  /** Why an endpoint of a Service is left out; undefined when it is not. */
  whyLeftOut(endpoint: Endpoint, service: ServiceId): string | undefined;
  readonly status: {
    /** Endpoints that are checked. */
    readonly checked: number;
    /** Endpoints that should be, beyond the limit. */
    readonly unchecked: number;
    readonly failing: readonly FailingEndpoint[];
    /** Annotations without effect, by Service. */
    readonly problems: Readonly<Record<string, readonly string[]>>;
  };
}

/** Starts to check what the catalog has; the first results come within one interval. */
export function createHealthChecker(options: HealthCheckerOptions, deps: HealthCheckerDeps): HealthChecker {
  return new CatalogHealthChecker(options, deps);
}

class CatalogHealthChecker implements HealthChecker {
  readonly #options: HealthCheckerOptions;
  readonly #deps: HealthCheckerDeps;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #metrics: HealthMetrics;
  readonly #gate: ReturnType<typeof createCheckGate>;
  readonly #services = new Map<ServiceId, CheckedService>();
  readonly #problems = new Map<ServiceId, readonly string[]>();
  readonly #unsubscribe: () => void;
  #checked = 0;

  constructor(options: HealthCheckerOptions, deps: HealthCheckerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#random = deps.random ?? Math.random;
    this.#log = deps.log ?? silentLogger;
    this.#metrics = createHealthMetrics(deps.metrics ?? noMetrics);
    this.#gate = createCheckGate(options.maxConcurrent ?? PROXY_DEFAULTS.maxConcurrentHealthChecks);
    const { catalog } = deps;
    for (const id of catalog.current.services.keys()) this.#follow(id);
    this.#unsubscribe = catalog.subscribe((_, change) => {
      for (const id of change.services) this.#follow(id);
    });
  }

  /** Brings the checks of one Service in line with the catalog; what stays keeps its history. */
  #follow(id: ServiceId): void {
    const { current } = this.#deps.catalog;
    const service = current.services.get(id);
    this.#problems.delete(id);
    const wanted = service && this.#wanted(service);
    const before = this.#services.get(id);
    if (wanted === undefined || service === undefined) {
      if (before !== undefined) this.#forget(id, before);
      return;
    }
    const keeps = before !== undefined && JSON.stringify(before.check) === JSON.stringify(wanted);
    if (before !== undefined && !keeps) this.#forget(id, before);
    const checked: CheckedService = { service, check: wanted, ports: new Map(), out: keeps ? before.out : new Set() };
    for (const [name, endpoints] of byPort(this.#endpointsOf(id), wanted.portName)) {
      const old = keeps ? before.ports.get(name) : undefined;
      checked.ports.set(name, this.#followPort(checked, endpoints, old));
      before?.ports.delete(name);
    }
    if (keeps) for (const { targets } of before.ports.values()) this.#drop(targets.values());
    this.#services.set(id, checked);
    this.#publish(checked);
  }

  #endpointsOf(id: ServiceId): readonly Endpoint[] {
    return this.#deps.catalog.current.endpoints.get(id) ?? [];
  }

  #wanted(service: Service): HealthCheck | undefined {
    if (this.#options.include?.(service) === false) return undefined;
    const { check, problems } = healthCheckOf(service, this.#options.defaults);
    if (problems.length > 0) this.#problems.set(service.id, problems);
    return check;
  }

  #followPort(checked: CheckedService, endpoints: readonly Endpoint[], old: CheckedPort | undefined): CheckedPort {
    const machine = old?.machine ?? createHealthMachine(checked.check);
    const port: CheckedPort = { machine, targets: new Map(), unchecked: 0 };
    const max = this.#options.maxEndpoints ?? PROXY_DEFAULTS.maxHealthCheckedEndpoints;
    for (const endpoint of endpoints) {
      const key = endpointKey(endpoint);
      const known = old?.targets.get(key);
      if (known !== undefined) {
        known.endpoint = endpoint;
        port.targets.set(key, known);
        old?.targets.delete(key);
      } else if (this.#checked >= max) port.unchecked++;
      else {
        const target: Target = { endpoint, timer: undefined, stop: new AbortController(), failure: undefined };
        port.targets.set(key, target);
        this.#checked++;
        // A restarted agent must not check everything in one moment.
        this.#schedule(checked.service.id, target, checked.check.intervalMs * this.#random());
      }
    }
    this.#drop(old?.targets.values() ?? []);
    machine.members(port.targets.keys());
    return port;
  }

  #schedule(id: ServiceId, target: Target, delayMs: number): void {
    target.timer = this.#clock.after(delayMs, () => {
      detach('check an endpoint', this.#log, this.#check(id, target));
    });
  }

  async #check(id: ServiceId, target: Target): Promise<void> {
    const { signal } = target.stop;
    const release = await this.#gate.enter(signal);
    if (release === undefined) return;
    const checked = this.#services.get(id);
    try {
      if (checked === undefined) return;
      const { dialer } = this.#deps;
      const { name, namespace } = checked.service;
      const host = `${name}.${namespace}`;
      const result = await probe(target.endpoint, { ...checked.check, host }, { dialer, clock: this.#clock, signal });
      if (!signal.aborted) this.#took(id, target, result.ok ? undefined : result.reason);
    } finally {
      release();
    }
    // Up to a tenth earlier or later: checks of many nodes do not meet.
    if (!signal.aborted) this.#schedule(id, target, checked.check.intervalMs * (0.9 + 0.2 * this.#random()));
  }

  /** Takes one result; `reason` is why the check failed. */
  #took(id: ServiceId, target: Target, reason: string | undefined): void {
    const checked = this.#services.get(id);
    const { address, port, nodeName } = target.endpoint;
    this.#metrics.checked(reason === undefined ? 'ok' : 'failed');
    const ports = checked?.ports.get(portKey(target.endpoint));
    if (checked === undefined || ports === undefined) return;
    if (reason !== undefined && target.failure !== undefined) target.failure.reason = reason;
    const key = endpointKey(target.endpoint);
    if (!ports.machine.record(key, reason === undefined)) return;
    const fields = { service: id, address, port, ...(nodeName !== undefined && { node: nodeName }) };
    if (reason === undefined) {
      target.failure = undefined;
      this.#log.info('an endpoint passes its checks again', fields);
      for (const each of coveredBy(checked, target.endpoint, this.#endpointsOf(id))) this.#deps.recovered?.(id, each);
    } else {
      target.failure = { reason, since: this.#clock.wallNow() };
      this.#log.warn('an endpoint fails its checks', { ...fields, reason });
    }
    this.#metrics.changed(reason === undefined ? 'healthy' : 'unhealthy');
    this.#publish(checked);
  }

  #publish(checked: CheckedService): void {
    const out = leftOut(checked, this.#endpointsOf(checked.service.id));
    if (out.size === checked.out.size && [...out].every((key) => checked.out.has(key))) return;
    checked.out = out;
    this.#metrics.leftOut.set([...this.#services.values()].reduce((sum, each) => sum + each.out.size, 0));
    this.#deps.leaveOut(checked.service.id, out);
  }

  #forget(id: ServiceId, checked: CheckedService): void {
    this.#services.delete(id);
    for (const { targets } of checked.ports.values()) this.#drop(targets.values());
    checked.ports.clear();
    this.#publish(checked);
  }

  #drop(targets: Iterable<Target>): void {
    for (const target of targets) {
      this.#checked--;
      target.timer?.cancel();
      target.stop.abort();
    }
  }

  whyLeftOut(endpoint: Endpoint, id: ServiceId): string | undefined {
    const checked = this.#services.get(id);
    return checked && failureOf(checked, endpoint);
  }

  get status() {
    const services = [...this.#services.values()];
    const ports = services.flatMap((checked) => [...checked.ports.values()]);
    return {
      checked: this.#checked,
      unchecked: ports.reduce((sum, { unchecked }) => sum + unchecked, 0),
      failing: services.flatMap(failuresOf),
      problems: Object.fromEntries(this.#problems),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    for (const [id, checked] of [...this.#services]) this.#forget(id, checked);
    await this.#gate.idle();
  }
}
