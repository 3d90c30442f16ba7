/** How a port of the site's router is mapped to ours. */
export interface PortMappingOptions {
  /** Lifetime that is asked for, in seconds (RFC 6886 recommends two hours); renewed at half of it. */
  readonly lifetimeSeconds: number;
  /** Shortest pause between renewals, in milliseconds: a router that grants seconds must not keep us busy. */
  readonly minRenewMs: number;
  /** Pause after which a router without any of the protocols is asked again, in milliseconds. */
  readonly retryMs: number;
  /** First wait for an answer to a datagram, in milliseconds; doubles with each repetition (RFC 6886, 3.1). */
  readonly answerTimeoutMs: number;
  /** Datagrams per question: 250 + 500 + 1,000 ms. A router answers on the LAN or not at all. */
  readonly attempts: number;
  /** Time for one HTTP request to a UPnP router, in milliseconds. */
  readonly httpTimeoutMs: number;
  /** Largest HTTP answer of a UPnP router, in bytes. */
  readonly maxHttpBytes: number;
  /** Time for stopping: the mapping is taken back, in milliseconds. */
  readonly releaseTimeoutMs: number;
}

export const portMappingDefaults: PortMappingOptions = {
  lifetimeSeconds: 7_200,
  minRenewMs: 30_000,
  retryMs: 600_000,
  answerTimeoutMs: 250,
  attempts: 3,
  httpTimeoutMs: 3_000,
  maxHttpBytes: 256 * 1024,
  releaseTimeoutMs: 1_500,
};
