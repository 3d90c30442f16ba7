/** Defaults and limits of the package. */
export const LB_DEFAULTS = {
  /** Seconds of ClientIP affinity; Kubernetes core/v1 `sessionAffinityConfig.clientIP.timeoutSeconds`. */
  affinityTimeoutSeconds: 10_800,
  /** Clients that one affinity table remembers; the least recently seen is forgotten first. About 100 bytes each. */
  affinityMaxClients: 65_536,
  /** Endpoints that leastRequest compares; two are enough (Mitzenmacher, "The power of two choices"). */
  leastRequestChoices: 2,
  /** Partitions of the original's hash ring. Accepted; rendezvous hashing has none and is finer than any number of them. */
  partitionCount: 100,
  /** Virtual nodes per endpoint in the original's hash ring. Accepted, without effect for the same reason. */
  replicationFactor: 10,
  /** Largest share of the keys that one endpoint may own, relative to the average. Rendezvous hashing stays below. */
  load: 1.25,
  /** Requests that an endpoint may always have in flight before `inFlightBound` sends its keys elsewhere. */
  inFlightFloor: 8,
  /** Failures in a row that eject an endpoint; Istio `consecutive5xxErrors`. */
  consecutiveErrors: 5,
  /** First ejection in milliseconds; Istio `baseEjectionTime`. */
  baseEjectionMs: 30_000,
  /** Longest ejection in milliseconds; Envoy `max_ejection_time`. */
  maxEjectionMs: 300_000,
  /** An endpoint that behaved for this long after its return has one ejection forgiven; Istio `interval` is the unit. */
  intervalMs: 10_000,
  /** Share of the candidates that may be ejected at once, in percent; at least one may. Istio `maxEjectionPercent`. */
  maxEjectionPercent: 10,
  /** Ejections are ignored while fewer than this percentage of the candidates is healthy; Istio `minHealthPercent`. */
  minHealthPercent: 0,
  /** Endpoints whose failures are remembered per balancer; the least recently reported is forgotten first. */
  outlierMaxEndpoints: 4_096,
  /** A tier with fewer healthy endpoints than this percentage shares its traffic with the next; Envoy's overprovisioning 1.4. */
  minHealthyTierPercent: 70,
} as const;
