import type { Service } from '@edgemesh/core';

/** How one Service wants its endpoints to be checked. */
export interface HealthCheck {
  /** `tcp`: the endpoint accepts a connection. `http`: it answers a GET with a status of 200 to 399, as kubelet's probes. */
  readonly kind: 'tcp' | 'http';
  /** Path of the GET, with its query. */
  readonly path: string;
  /** Name of the Service port that is checked on behalf of all ports of an endpoint's address. Absent: each TCP port for itself. */
  readonly portName?: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good checks in a row after which a failed endpoint is used again. */
  readonly healthyThreshold: number;
  /** Failed checks in a row after which an endpoint is left out. */
  readonly unhealthyThreshold: number;
  /** Share of the endpoints that may be left out at once. One always may, the last one never. */
  readonly maxEjectionPercent: number;
}

/** What holds for Services that do not say otherwise; `none` checks only those that ask for it. */
export interface HealthCheckDefaults extends Omit<HealthCheck, 'kind' | 'portName'> {
  readonly kind: HealthCheck['kind'] | 'none';
}

/** Annotations of a Service; each overrides one default. */
export const HEALTH_CHECK_ANNOTATIONS = {
  kind: 'edgemesh.kubeedge.io/health-check',
  path: 'edgemesh.kubeedge.io/health-check-path',
  port: 'edgemesh.kubeedge.io/health-check-port',
  interval: 'edgemesh.kubeedge.io/health-check-interval',
  timeout: 'edgemesh.kubeedge.io/health-check-timeout',
  healthy: 'edgemesh.kubeedge.io/health-check-healthy-threshold',
  unhealthy: 'edgemesh.kubeedge.io/health-check-unhealthy-threshold',
  maxEjection: 'edgemesh.kubeedge.io/health-check-max-ejection-percent',
} as const;

/** What a Service asks for; a value that cannot be understood keeps its default and is named in `problems`. */
export interface WantedHealthCheck {
  /** Undefined: no checks. */
  readonly check?: HealthCheck;
  /** Each as `annotation: reason`. */
  readonly problems: readonly string[];
}

const KINDS: Readonly<Record<string, HealthCheckDefaults['kind']>> = {
  tcp: 'tcp',
  http: 'http',
  none: 'none',
  disabled: 'none',
};
const MAX_MS = 3_600_000;

/** Reads the annotations of a Service. Pure; never throws. */
export function healthCheckOf(
  service: Pick<Service, 'annotations' | 'ports' | 'publishNotReadyAddresses'>,
  defaults: HealthCheckDefaults,
): WantedHealthCheck {
  const problems: string[] = [];
  const read = <T>(name: string, fallback: T, parse: (text: string) => T | undefined, expected: string) => {
    const text = service.annotations[name];
    if (text === undefined) return fallback;
    const value = parse(text.trim());
    if (value === undefined) problems.push(`${name}: expected ${expected}`);
    return value ?? fallback;
  };
  const duration = (name: string, fallback: number) =>
    read(name, fallback, durationMs, 'a time from 100ms to 1h, such as 5s');
  const count = (name: string, fallback: number, max: number) =>
    read(name, fallback, (text) => wholeNumber(text, max), `a whole number from 1 to ${max}`);
  const names = HEALTH_CHECK_ANNOTATIONS;
  const kind = read(names.kind, defaults.kind, (text) => KINDS[text.toLowerCase()], 'tcp, http or none');
  if (kind === 'none') return { problems };
  if (service.publishNotReadyAddresses) {
    const asked = service.annotations[names.kind] !== undefined;
    return { problems: asked ? [`${names.kind}: publishNotReadyAddresses wants failing endpoints to be used`] : [] };
  }
  const portOf = (text: string) =>
    service.ports.find(({ name, port, protocol }) => protocol === 'TCP' && (name === text || String(port) === text));
  const port = read(names.port, undefined, portOf, 'name or number of a TCP port of the Service');
  const intervalMs = duration(names.interval, defaults.intervalMs);
  const check: HealthCheck = {
    kind,
    path: read(names.path, defaults.path, requestPath, 'a path such as /healthz'),
    ...(port && { portName: port.name }),
    intervalMs,
    timeoutMs: Math.min(duration(names.timeout, defaults.timeoutMs), intervalMs),
    healthyThreshold: count(names.healthy, defaults.healthyThreshold, 100),
    unhealthyThreshold: count(names.unhealthy, defaults.unhealthyThreshold, 100),
    maxEjectionPercent: count(names.maxEjection, defaults.maxEjectionPercent, 100),
  };
  return { check, problems };
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

function durationMs(text: string): number | undefined {
  const match = /^(\d{1,7})(ms|s|m)?$/.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * (UNITS[match[2] ?? 's'] as number);
  return ms >= 100 && ms <= MAX_MS ? ms : undefined;
}

function wholeNumber(text: string, max: number): number | undefined {
  const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= max ? value : undefined;
}

/** It becomes part of a request line: nothing but visible ASCII, from the first slash on. */
function requestPath(text: string): string | undefined {
  return /^\/[!-~]{0,1023}$/.test(text) ? text : undefined;
}
