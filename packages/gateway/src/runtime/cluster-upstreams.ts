import type { Balancer, CatalogView, Endpoint, Flow, KubeObject, Outcome, Service, ServiceId } from '@edgemesh/core';
import type { Balancing, Upstream } from '@edgemesh/proxy-l4';
import { subsetLabels } from '../common/destination-rule.ts';

/** A Service port, or a subset of its endpoints. */
export interface ClusterKey {
  readonly service: ServiceId;
  readonly port: number;
  readonly protocol: 'TCP' | 'UDP';
  readonly subset?: string;
}

/** Upstreams by cluster; each keeps its balancer as long as its Service port exists. */
export interface ClusterUpstreams {
  get(key: ClusterKey): Upstream;
  /** Forgets those whose Service is gone. */
  prune(): void;
}

/** What upstreams are made of. */
export interface ClusterUpstreamsDeps {
  readonly view: CatalogView;
  readonly balancing: Balancing;
  readonly destinationRule: ((service: Service) => KubeObject | undefined) | undefined;
}

/** Makes the collection. */
export function createClusterUpstreams(deps: ClusterUpstreamsDeps): ClusterUpstreams {
  const known = new Map<string, ClusterUpstream>();
  return {
    get(key) {
      const name = `${key.service}:${key.port}/${key.protocol}${key.subset === undefined ? '' : `/${key.subset}`}`;
      let upstream = known.get(name);
      if (upstream === undefined) {
        upstream = new ClusterUpstream(name, key, deps);
        known.set(name, upstream);
      }
      return upstream;
    },
    prune() {
      const { services } = deps.view.current;
      for (const [name, { key }] of known) if (!services.has(key.service)) known.delete(name);
    },
  };
}

const NONE: readonly Endpoint[] = [];

/** Looks at the catalog when it is used, and only when the snapshot has changed since. */
class ClusterUpstream implements Upstream {
  readonly name: string;
  readonly key: ClusterKey;
  private readonly deps: ClusterUpstreamsDeps;
  private seen: unknown;
  private policyKey: string | undefined;
  private balancer: Balancer | undefined;
  private candidates: readonly Endpoint[] = NONE;

  constructor(name: string, key: ClusterKey, deps: ClusterUpstreamsDeps) {
    this.name = name;
    this.key = key;
    this.deps = deps;
  }

  pick(flow: Flow, exclude?: ReadonlySet<string>): Endpoint | undefined {
    if (this.deps.view.current !== this.seen) this.refresh();
    return this.balancer?.pick(this.candidates, flow, exclude);
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

  private refresh(): void {
    const { view, balancing } = this.deps;
    const { current } = view;
    this.seen = current;
    const service = current.services.get(this.key.service);
    const port = service?.ports.find((p) => p.port === this.key.port && p.protocol === this.key.protocol);
    if (service === undefined || port === undefined) {
      this.balancer = undefined;
      this.policyKey = undefined;
      this.candidates = NONE;
      return;
    }
    const { subset } = this.key;
    const policyKey = balancing.policyKey(service, port, subset);
    if (policyKey !== this.policyKey || this.balancer === undefined) {
      this.balancer = balancing.createBalancer(service, port, subset);
      this.policyKey = policyKey;
    }
    const eligible = balancing.eligible(service, current.endpoints.get(service.id) ?? NONE, port);
    const next = this.inSubset(service, eligible);
    // The array stays the same where its members do: balancers compare it by identity.
    const same = next.length === this.candidates.length && next.every((endpoint, i) => endpoint === this.candidates[i]);
    if (!same) this.candidates = next;
  }

  private inSubset(service: Service, endpoints: readonly Endpoint[]): readonly Endpoint[] {
    const { subset } = this.key;
    if (subset === undefined) return endpoints;
    const wanted = subsetLabels(this.deps.destinationRule?.(service), subset);
    if (wanted === undefined) return NONE;
    const labels = Object.entries(wanted);
    // A subset without labels is there for its policy.
    if (labels.length === 0) return endpoints;
    const pods = this.deps.view.current.objects.get('Pod');
    return endpoints.filter(({ targetRef }) => {
      const pod = targetRef && pods?.get(`${targetRef.namespace}/${targetRef.name}`);
      return pod !== undefined && labels.every(([name, value]) => pod.metadata.labels?.[name] === value);
    });
  }
}
