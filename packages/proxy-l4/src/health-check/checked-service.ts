import { type Endpoint, endpointKey, type Service, type ServiceId, type Timer } from '@edgemesh/core';
import type { HealthCheck } from './health-check.ts';
import type { HealthMachine } from './health-machine.ts';

/** One endpoint of one Service port under check. */
export interface Target {
  endpoint: Endpoint;
  timer: Timer | undefined;
  readonly stop: AbortController;
  /** Since when (wall clock) it counts as failing, and what the last check saw. */
  failure: { reason: string; since: number } | undefined;
}

/** One port of a Service under check. */
export interface CheckedPort {
  readonly machine: HealthMachine;
  readonly targets: Map<string, Target>;
  /** Endpoints beyond the limit. */
  unchecked: number;
}

/** The checks of one Service: one policy, and for each port a machine of its own. */
export interface CheckedService {
  readonly service: Service;
  readonly check: HealthCheck;
  readonly ports: Map<string, CheckedPort>;
  /** Endpoints that are left out. */
  out: ReadonlySet<string>;
}

/** An endpoint that fails its checks. */
export interface FailingEndpoint {
  readonly service: ServiceId;
  readonly address: string;
  readonly port: number;
  readonly nodeName?: string;
  /** What the last check saw. */
  readonly reason: string;
  /** ISO 8601. */
  readonly since: string;
  /** False: it gets traffic all the same, because too many fail. */
  readonly leftOut: boolean;
}

/** Where an endpoint is: its ports share it. */
const placeOf = ({ nodeName, address }: Endpoint) => `${nodeName ?? ''}|${address}`;

/** Which port of the Service an endpoint serves. */
export const portKey = (endpoint: Endpoint) => `${endpoint.portName} ${endpoint.protocol}`;

/** TCP endpoints that the cluster calls ready, by port, of all ports or of one. */
export function byPort(endpoints: readonly Endpoint[], only: string | undefined): Map<string, Endpoint[]> {
  const ports = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    if (endpoint.protocol !== 'TCP' || !endpoint.ready || (only !== undefined && endpoint.portName !== only)) continue;
    const list = ports.get(portKey(endpoint));
    if (list === undefined) ports.set(portKey(endpoint), [endpoint]);
    else list.push(endpoint);
  }
  return ports;
}

/** Endpoints to leave out of `all`: those that failed, and with them the other ports of their pods where one port stands for all. */
export function leftOut({ check, ports }: CheckedService, all: readonly Endpoint[]): ReadonlySet<string> {
  const places = new Set<string>();
  const keys = new Set<string>();
  for (const { machine, targets } of ports.values()) {
    for (const key of machine.ejected()) {
      keys.add(key);
      places.add(placeOf((targets.get(key) as Target).endpoint));
    }
  }
  if (check.portName === undefined || keys.size === 0) return keys;
  return new Set(all.filter((endpoint) => places.has(placeOf(endpoint))).map(endpointKey));
}

/** The endpoints for which a check of this one stands. */
export function coveredBy({ check }: CheckedService, checked: Endpoint, all: readonly Endpoint[]): readonly Endpoint[] {
  if (check.portName === undefined) return [checked];
  return all.filter((endpoint) => placeOf(endpoint) === placeOf(checked));
}

/** Why an endpoint is left out; undefined when it is not. */
export function failureOf({ ports, out }: CheckedService, endpoint: Endpoint): string | undefined {
  if (!out.has(endpointKey(endpoint))) return undefined;
  const place = placeOf(endpoint);
  for (const { targets } of ports.values()) {
    for (const target of targets.values()) {
      if (target.failure !== undefined && placeOf(target.endpoint) === place) return target.failure.reason;
    }
  }
  return undefined;
}

/** Every endpoint of the Service that fails. */
export function failuresOf({ service, ports, out }: CheckedService): FailingEndpoint[] {
  return [...ports.values()].flatMap(({ targets }) =>
    [...targets].flatMap(([key, { endpoint, failure }]) => {
      if (failure === undefined) return [];
      const { address, port, nodeName } = endpoint;
      const where = { service: service.id, address, port, ...(nodeName !== undefined && { nodeName }) };
      const since = new Date(failure.since).toISOString();
      return [{ ...where, reason: failure.reason, since, leftOut: out.has(key) }];
    }),
  );
}
