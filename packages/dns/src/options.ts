import type { CatalogView, Clock, Endpoint, Logger, Metrics, Random, Service } from '@edgemesh/core';

/** Where to listen, UDP and TCP both. Port 0 takes one ephemeral port for the two. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** How `1-2-3-4.<ns>.pod` names are answered. */
export type PodMode = 'insecure' | 'verified' | 'disabled';

/** Server-side search path completion; see README. */
export interface AutopathOptions {
  /** The host's search domains, tried after the cluster's own. Default: none. */
  readonly searchDomains?: readonly string[];
  /** Namespace of a client by its address. Default: found through Pods and endpoints of the Catalog. */
  readonly namespaceOf?: (clientAddress: string) => string | undefined;
}

/** Cache of upstream answers. */
export interface CacheOptions {
  /** Entries; the least recently used goes first. 0 switches caching off. Default 10,000. */
  readonly maxEntries?: number;
  /** Bytes of all entries. Default 8 MiB. */
  readonly maxBytes?: number;
  /** Cap of positive TTLs, seconds. EdgeMesh's `cacheDNS.cacheTTL` goes here. Default 3,600. */
  readonly maxTtlSeconds?: number;
  /** Cap of negative TTLs, seconds. Default 1,800. */
  readonly maxNegativeTtlSeconds?: number;
  /** How long past its expiry an answer may serve when no upstream does, seconds (RFC 8767). 0 is never. Default 86,400. */
  readonly maxStaleSeconds?: number;
  /** Refresh a popular answer when this share of its TTL is left; 0 is never. Default 0.1. */
  readonly prefetchShare?: number;
}

export interface DnsServerOptions {
  readonly listen: readonly ListenAddress[];
  /** Domain or domains of the cluster. PTR and SRV answers use the first. Default `cluster.local`. */
  readonly clusterDomain?: string | readonly string[];
  /** Answer the cluster zone from the Catalog, or forward it too (cloud nodes with a cluster DNS). Default `answer`. */
  readonly clusterZone?: 'answer' | 'forward';
  /** Upstream resolvers in order of preference, `address` or `address:port` (`[v6]:port`). Wins over `resolvConf`. */
  readonly upstreams?: readonly string[];
  /** Path of a resolv.conf to take upstreams from, followed on change. */
  readonly resolvConf?: string;
  /** Where systemd-resolved keeps its real upstreams. Default `/run/systemd/resolve/resolv.conf`. */
  readonly systemdResolvConf?: string;
  /** Upstreams per domain, longest match wins. */
  readonly stubDomains?: Readonly<Record<string, readonly string[]>>;
  /** TTL of cluster answers, seconds. Default 5. */
  readonly ttlSeconds?: number;
  /** Default `insecure`, which the specification asks for. */
  readonly pods?: PodMode;
  /** Addresses of `ns.dns.<zone>`. Default: the bound addresses that are not wildcards. */
  readonly nameServerAddresses?: readonly string[];
  /** CIDRs whose unknown reverse names are answered NXDOMAIN here, besides the nodes' podCIDRs. Default none. */
  readonly reverseCidrs?: readonly string[];
  readonly autopath?: boolean | AutopathOptions;
  readonly cache?: CacheOptions;
  /** Changes of the limits in {@link LIMITS}. */
  readonly limits?: Partial<Limits>;
}

export interface DnsServerDeps {
  readonly view: CatalogView;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
  /** Chooses ids of upstream queries, among other things: keep it unpredictable. Default: the system's generator. */
  readonly random?: Random;
  /**
   * Substitutes the address that names of headless Services give for an endpoint (a node-local virtual address).
   * Undefined keeps the endpoint's own. Called when an answer is made, once per snapshot; after a change of mind call
   * `DnsServer.invalidate`.
   */
  readonly addressOf?: (service: Service, endpoint: Endpoint) => string | undefined;
}

/** Every number that bounds this package. */
export interface Limits {
  readonly maxUdpPayload: number;
  readonly maxZoneAnswers: number;
  readonly maxPendingClients: number;
  readonly maxInflightUpstream: number;
  readonly maxAttempts: number;
  readonly attemptTimeoutMs: number;
  readonly exchangeTimeoutMs: number;
  readonly hedgeMinMs: number;
  readonly hedgeMaxMs: number;
  readonly downAfterFailures: number;
  readonly probeMinMs: number;
  readonly probeMaxMs: number;
  readonly loopRecheckMs: number;
  readonly socketsPerUpstream: number;
  readonly queriesPerSocket: number;
  readonly socketLifetimeMs: number;
  readonly upstreamTcpIdleMs: number;
  readonly staleAfterMs: number;
  readonly staleTtlSeconds: number;
  readonly staleRecheckMs: number;
  readonly failureTtlSeconds: number;
  readonly maxTcpConnections: number;
  readonly maxTcpPerClient: number;
  readonly maxTcpPipeline: number;
  readonly tcpIdleMs: number;
  readonly maxChase: number;
  readonly maxSearchDomains: number;
  readonly resolvConfPollMs: number;
  readonly rebindMinMs: number;
  readonly rebindMaxMs: number;
  readonly udpReceiveBytes: number;
}

/** Defaults of {@link Limits}. */
export const LIMITS: Limits = {
  /** Bytes of a UDP answer, offered and taken: fits any IPv6 path unfragmented (DNS flag day 2020). */
  maxUdpPayload: 1232,
  /** Encoded cluster answers kept, oldest out: about 200 bytes each, and search paths make several names per lookup. */
  maxZoneAnswers: 10_000,
  /** Client queries waiting for upstreams; further ones get SERVFAIL at once. About 1 KiB each. */
  maxPendingClients: 4_096,
  /** Different questions at upstreams at once; further ones get a stale answer or SERVFAIL. */
  maxInflightUpstream: 1_024,
  /** Datagrams per question over all upstreams. */
  maxAttempts: 4,
  /** Silence of one upstream that counts as a failure. Cold recursion rarely takes longer. */
  attemptTimeoutMs: 1_500,
  /** After this a question has failed: below the 5 s after which glibc and musl give up on us. */
  exchangeTimeoutMs: 4_000,
  /** Bounds of the time after which the next upstream is asked as well (smoothed RTT + 4 deviations in between). */
  hedgeMinMs: 80,
  hedgeMaxMs: 400,
  /** Failures in a row until an upstream counts as down. */
  downAfterFailures: 2,
  /** Delay between probes of an upstream that is down, doubling. */
  probeMinMs: 500,
  probeMaxMs: 10_000,
  /** Delay between probes of an upstream that looped back to us. */
  loopRecheckMs: 30_000,
  /** Open sockets per upstream, each with its own random port. */
  socketsPerUpstream: 8,
  /** A socket is retired after so many queries or so long, so that its port can not be learnt. */
  queriesPerSocket: 512,
  socketLifetimeMs: 10_000,
  /** An unused TCP connection to an upstream closes after this. */
  upstreamTcpIdleMs: 5_000,
  /** With a stale answer at hand, how long upstreams may take (RFC 8767 5 says 1.8 s; clients on a node are less patient). */
  staleAfterMs: 800,
  /** TTL of a stale answer (RFC 8767 4). */
  staleTtlSeconds: 30,
  /** After a failed refresh a stale answer is given without waiting for this long (RFC 8767 5). */
  staleRecheckMs: 30_000,
  /** A failed resolution is remembered for this long (RFC 9520 3.2: at least 1 s). */
  failureTtlSeconds: 1,
  /** TCP clients per listener; the newest is turned away. */
  maxTcpConnections: 512,
  /** TCP connections per client address. */
  maxTcpPerClient: 64,
  /** Unanswered queries per TCP connection; reading stops there. */
  maxTcpPipeline: 128,
  /** A TCP client silent for this long is closed (RFC 7766 6.2.3: seconds). Half a message does not count as speaking. */
  tcpIdleMs: 10_000,
  /** CNAME steps inside the cluster zone. */
  maxChase: 8,
  /** Search domains tried by autopath. */
  maxSearchDomains: 8,
  /** resolv.conf is read again this often even when no change was notified (bind mounts send none). */
  resolvConfPollMs: 5_000,
  /** Delay before a lost listener is bound again, doubling. */
  rebindMinMs: 250,
  rebindMaxMs: 10_000,
  /** Receive buffer wanted of the kernel, which may grant less: a burst of a thousand queries. */
  udpReceiveBytes: 1024 * 1024,
};

/** Defaults of {@link CacheOptions}; TTL caps are those of CoreDNS. */
export const CACHE_DEFAULTS: Required<CacheOptions> = {
  maxEntries: 10_000,
  maxBytes: 8 * 1024 * 1024,
  maxTtlSeconds: 3_600,
  maxNegativeTtlSeconds: 1_800,
  maxStaleSeconds: 86_400,
  prefetchShare: 0.1,
};

/**
 * 5 s like CoreDNS' kubernetes plugin: answers come from memory on the same node, so a longer TTL saves nothing, and a
 * dead headless endpoint is forgotten by caching clients within 5 s.
 */
export const DEFAULT_TTL_SECONDS = 5;
export const DEFAULT_CLUSTER_DOMAIN = 'cluster.local';
export const SYSTEMD_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';
