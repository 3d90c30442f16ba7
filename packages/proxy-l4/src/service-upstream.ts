import {
  type Balancer,
  type CatalogView,
  type Endpoint,
  endpointKey,
  type Flow,
  type Outcome,
  type Protocol,
  type Service,
  type ServiceId,
  type ServicePort,
} from '@edgemesh/core';
import type { Upstream } from './upstream.ts';

/** How Service ports are balanced; made of `@edgemesh/lb` by whoever wires the node together. */
export interface Balancing {
  /**
   * Names the policy in force, for the whole port or a subset of its endpoints. While it stays the same, so does the balancer with
   * what it remembers.
   */
  policyKey(service: Service, port: ServicePort, subset?: string): string;
  createBalancer(service: Service, port: ServicePort, subset?: string): Balancer;
  /** The endpoints that may serve the port for traffic from this node. */
  eligible(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
  /** Endpoints to try when none of the eligible ones is left (those that the kernel serves, for example). Default: none. */
  reserve?(service: Service, endpoints: readonly Endpoint[], port: ServicePort): readonly Endpoint[];
}

const NONE: readonly Endpoint[] = [];

/**
 * One Service port as an {@link Upstream}. Looks at the catalog when it is used, and only when the snapshot has changed since;
 * the balancer, and the candidate array where its members are the same, survive every other change.
 */
export class ServiceUpstream implements Upstream {
  readonly name: string;
  private readonly id: ServiceId;
  private readonly portName: string;
  private readonly protocol: Protocol;
  private readonly catalog: CatalogView;
  private readonly balancing: Balancing;
  private seen: unknown;
  private policyKey: string | undefined;
  private balancer: Balancer | undefined;
  private candidates: readonly Endpoint[] = NONE;
  private reserve: readonly Endpoint[] = NONE;

  constructor(
    key: { readonly id: ServiceId; readonly portName: string; readonly protocol: Protocol },
    catalog: CatalogView,
    balancing: Balancing,
  ) {
    this.id = key.id;
    this.portName = key.portName;
    this.protocol = key.protocol;
    this.name = `${key.id}:${key.portName || key.protocol}`;
    this.catalog = catalog;
    this.balancing = balancing;
  }

  pick(flow: Flow, exclude?: ReadonlySet<string>): Endpoint | undefined {
    this.refresh();
    const { balancer } = this;
    const picked = balancer?.pick(this.candidates, flow, exclude);
    return picked === undefined && this.reserve.length > 0 ? balancer?.pick(this.reserve, flow, exclude) : picked;
  }

  report(endpoint: Endpoint, outcome: Outcome): void {
    this.balancer?.report?.(endpoint, outcome);
  }

  begin(endpoint: Endpoint): void {
    this.balancer?.begin?.(endpoint);
  }

  end(endpoint: Endpoint): void {
    this.balancer?.end?.(endpoint);
  }

  /** The endpoints to choose from, as of the current catalog. */
  endpoints(): readonly Endpoint[] {
    this.refresh();
    return this.candidates;
  }

  /** True when the endpoint may serve the port, as of the current catalog. */
  has(endpoint: Endpoint): boolean {
    this.refresh();
    const key = endpointKey(endpoint);
    const isIt = (other: Endpoint) => endpointKey(other) === key;
    return this.candidates.some(isIt) || this.reserve.some(isIt);
  }

  private refresh(): void {
    const { current } = this.catalog;
    if (current === this.seen) return;
    this.seen = current;
    const service = current.services.get(this.id);
    const port = service?.ports.find((p) => p.name === this.portName && p.protocol === this.protocol);
    if (service === undefined || port === undefined) {
      this.balancer = undefined;
      this.policyKey = undefined;
      this.candidates = NONE;
      this.reserve = NONE;
      return;
    }
    const policyKey = this.balancing.policyKey(service, port);
    if (policyKey !== this.policyKey || this.balancer === undefined) {
      this.balancer = this.balancing.createBalancer(service, port);
      this.policyKey = policyKey;
    }
    const endpoints = current.endpoints.get(this.id) ?? NONE;
    const next = this.balancing.eligible(service, endpoints, port);
    if (!sameMembers(this.candidates, next)) this.candidates = next;
    const reserve = this.balancing.reserve?.(service, endpoints, port) ?? NONE;
    if (!sameMembers(this.reserve, reserve)) this.reserve = reserve;
  }
}

function sameMembers(a: readonly Endpoint[], b: readonly Endpoint[]): boolean {
  return a.length === b.length && a.every((endpoint, i) => endpoint === b[i]);
}
