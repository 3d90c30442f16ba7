/** What of a flow decides where it goes. A flow that lacks it is sent anywhere. */
export type HashKey =
  | { readonly from: 'sourceIp' }
  | { readonly from: 'header'; readonly name: string }
  | {
      readonly from: 'cookie';
      readonly name: string;
      /** Where given, the HTTP proxy makes a cookie with this path and lifetime for clients that bring none. */
      readonly path?: string;
      readonly ttlMs?: number;
    }
  | { readonly from: 'query'; readonly name: string };

/** Endpoints in turn, from a random start. */
export interface RoundRobinPolicy {
  readonly kind: 'roundRobin';
}

/** Each endpoint with the same probability. */
export interface RandomPolicy {
  readonly kind: 'random';
}

/** The one of a few random endpoints with the least in flight (`begin` and `end` count). */
export interface LeastRequestPolicy {
  readonly kind: 'leastRequest';
  /** How many are compared, 2 by default. */
  readonly choices?: number;
}

/** Equal keys to equal endpoints, whatever the order of the candidates and on every node; few keys move on a change. */
export interface ConsistentHashPolicy {
  readonly kind: 'consistentHash';
  readonly key: HashKey;
  /**
   * Off by default, so that a client stays where it is. A factor above 1: an endpoint with more than this many times the
   * average in flight passes its keys on to their second choice.
   */
  readonly inFlightBound?: number;
  /** Accepted for the original's configuration; see the README. */
  readonly partitionCount?: number;
  readonly replicationFactor?: number;
  readonly load?: number;
}

/** Whatever the client dialled. A ClusterIP is no endpoint, so behind one this is random. */
export interface PassthroughPolicy {
  readonly kind: 'passthrough';
}

/** A client address keeps its endpoint until it was silent for the timeout; `otherwise` places new clients. */
export interface ClientIpPolicy {
  readonly kind: 'clientIP';
  readonly timeoutSeconds: number;
  readonly maxClients?: number;
  readonly otherwise?: PlainPolicy;
}

/** Policies that can place the clients of an affinity table. */
export type PlainPolicy =
  | RoundRobinPolicy
  | RandomPolicy
  | LeastRequestPolicy
  | ConsistentHashPolicy
  | PassthroughPolicy;

/** How one endpoint is chosen among many. */
export type BalancerPolicy = PlainPolicy | ClientIpPolicy;

/** When a failing endpoint is left out, and for how long. Absent fields have the defaults of options.ts. */
export interface OutlierPolicy {
  /** Failed connects and 5xx answers in a row; 0 switches this off. */
  readonly consecutiveErrors?: number;
  /** Failed connects and answers 502, 503, 504 in a row; 0 (default) switches this off. */
  readonly consecutiveGatewayErrors?: number;
  /** Where set, failed connects count on their own with this limit and no longer as errors above. */
  readonly consecutiveConnectFailures?: number;
  readonly baseEjectionMs?: number;
  readonly maxEjectionMs?: number;
  readonly intervalMs?: number;
  readonly maxEjectionPercent?: number;
  readonly minHealthPercent?: number;
}

/** Everything that decides about one Service port. */
export interface LbPolicy {
  readonly balancer: BalancerPolicy;
  readonly outlier?: OutlierPolicy;
}

/**
 * What of a request the policy looks at (`header x-user`), undefined when connections are enough. A proxy that sees connections
 * only has no such key and spreads them evenly.
 */
export function requestKeyOf(policy: BalancerPolicy): string | undefined {
  const plain = policy.kind === 'clientIP' ? policy.otherwise : policy;
  if (plain?.kind !== 'consistentHash' || plain.key.from === 'sourceIp') return undefined;
  return `${plain.key.from} ${plain.key.name}`;
}
