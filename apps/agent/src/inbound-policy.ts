import {
  type Catalog,
  type CatalogView,
  type Clock,
  type Datagrams,
  type Dialer,
  type Endpoint,
  MeshError,
  type Metrics,
  type ServiceId,
  systemClock,
} from '@edgemesh/core';
import type { InboundHandler, InboundRequest } from '@edgemesh/tunnel';
import { createEcho, isEcho } from './diagnosis/node-echo.ts';
import type { ConnectionPolicy } from './pods/connection-policy.ts';

export interface InboundPolicyOptions {
  readonly view: CatalogView;
  /** This node. */
  readonly nodeName: string;
  /** Connects to the targets that are allowed. */
  readonly local: Dialer;
  /** Beyond endpoints: what the configuration opens, SSH for SOCKS users for example. */
  readonly alsoAllowed?: (request: InboundRequest) => boolean;
  /** NetworkPolicy of the endpoints' pods. Without it they have none. */
  readonly policy?: Pick<ConnectionPolicy, 'inbound'>;
  /** Takes packets of a peer for pods of this node, or says why not. Without it there are no pods to send to. */
  readonly packets?: (nodeName: string) => Datagrams | MeshError;
  readonly metrics: Metrics;
  readonly clock?: Clock;
}

/**
 * How long an endpoint that has left may still be reached, in milliseconds: peers hear of it later than we do, by seconds where
 * their list comes through a slow link, and a pod serves until the end of its grace period (30 s by default).
 */
const LEFT_GRACE_MS = 30_000;

type Target = Pick<Endpoint, 'protocol' | 'address' | 'port'>;

/**
 * What peers may reach through this node: endpoints of Services that the catalog places here, and what the configuration
 * opens. Everything else is refused with a reason that says what to look at, and counted.
 */
export function createInboundPolicy(options: InboundPolicyOptions): InboundHandler & Disposable {
  const allowed = new AllowedEndpoints(options.view, options.nodeName, options.clock ?? systemClock);
  const refused = options.metrics.counter({
    name: 'edgemesh_inbound_refused_total',
    help: 'Streams of peers to targets that this node does not serve.',
    labels: ['peer'],
  });
  const check = (request: InboundRequest): MeshError | undefined => {
    const protocol = request.kind === 'udp' ? 'UDP' : 'TCP';
    if (allowed.has({ protocol, address: request.address, port: request.port })) {
      const denied = options.policy?.inbound(request);
      if (denied !== undefined) refused.with(request.nodeName).add();
      return denied;
    }
    if (options.alsoAllowed?.(request)) return undefined;
    refused.with(request.nodeName).add();
    const target = `${protocol} ${request.address}:${request.port}`;
    const known = `node ${options.nodeName} knows endpoints of its own at ${allowed.size} addresses, this is none of them`;
    // The caller's catalog may be ahead of ours, or ours ahead of his: another endpoint may do.
    return new MeshError('forbidden', `${target}: ${known}`, { retryable: true });
  };
  const openPackets = ({ nodeName }: InboundRequest): Datagrams | MeshError => {
    const answer = options.packets?.(nodeName) ?? new MeshError('forbidden', 'packets: this node has no pod network');
    if (answer instanceof MeshError) refused.with(nodeName).add();
    return answer;
  };
  return {
    openStream: (request) =>
      isEcho(request)
        ? createEcho()
        : (check(request) ?? options.local.dial({ address: request.address, port: request.port })),
    openDatagrams: (request) =>
      request.kind === 'packets'
        ? openPackets(request)
        : (check(request) ?? options.local.openDatagrams({ address: request.address, port: request.port })),
    [Symbol.dispose]: () => allowed[Symbol.dispose](),
  };
}

/** The endpoints of one node, by address: kept current by what changes. */
class AllowedEndpoints implements Disposable {
  readonly #nodeName: string;
  /** Endpoints of this node by Service. */
  readonly #byService = new Map<ServiceId, readonly Endpoint[]>();
  /** Services with an endpoint of this node at an address; nearly always one. */
  readonly #byAddress = new Map<string, ServiceId | readonly ServiceId[]>();
  /** Endpoints that have left a short while ago, and until when they count; oldest first. */
  readonly #left = new Map<string, number>();
  readonly #clock: Clock;
  readonly #unsubscribe: () => void;

  constructor(view: CatalogView, nodeName: string, clock: Clock) {
    this.#nodeName = nodeName;
    this.#clock = clock;
    for (const id of view.current.endpoints.keys()) this.#update(view.current, id);
    this.#unsubscribe = view.subscribe((catalog, change) => {
      for (const id of change.services) this.#update(catalog, id);
    });
  }

  /** Addresses of this node's endpoints. */
  get size(): number {
    return this.#byAddress.size;
  }

  has(target: Target): boolean {
    return this.#isHere(target) || (this.#left.get(keyOf(target)) ?? 0) > this.#clock.now();
  }

  #isHere({ protocol, address, port }: Target): boolean {
    return this.#servicesAt(address).some((id) =>
      this.#byService
        .get(id)
        ?.some((e) => e.address === address && e.port === port && (e.protocol === 'UDP') === (protocol === 'UDP')),
    );
  }

  #servicesAt(address: string): readonly ServiceId[] {
    const known = this.#byAddress.get(address);
    return known === undefined ? [] : typeof known === 'string' ? [known] : known;
  }

  #update(catalog: Catalog, id: ServiceId): void {
    const before = this.#byService.get(id) ?? [];
    const all = catalog.endpoints.get(id) ?? [];
    const here = all.filter((e) => e.nodeName === this.#nodeName);
    const after = here.length === all.length ? all : here;
    if (after.length === 0) this.#byService.delete(id);
    else this.#byService.set(id, after);
    for (const { address } of after) {
      const known = this.#servicesAt(address);
      if (known.length === 0) this.#byAddress.set(address, id);
      else if (!known.includes(id)) this.#byAddress.set(address, [...known, id]);
    }
    const present = new Set(after.map(({ address }) => address));
    for (const endpoint of before) {
      const { address } = endpoint;
      if (!present.has(address)) this.#forget(address, id);
      if (!this.#isHere(endpoint)) this.#leave(keyOf(endpoint));
    }
  }

  #forget(address: string, id: ServiceId): void {
    const rest = this.#servicesAt(address).filter((other) => other !== id);
    if (rest.length === 0) this.#byAddress.delete(address);
    else this.#byAddress.set(address, rest.length === 1 ? (rest[0] as ServiceId) : rest);
  }

  #leave(key: string): void {
    const now = this.#clock.now();
    this.#left.delete(key);
    this.#left.set(key, now + LEFT_GRACE_MS);
    for (const [old, until] of this.#left) {
      if (until > now) break;
      this.#left.delete(old);
    }
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}

function keyOf({ protocol, address, port }: Target): string {
  return `${protocol === 'UDP' ? 'UDP' : 'TCP'} ${address} ${port}`;
}
