/** Defaults and limits of the package. Each is an option of the proxy, by the same name. */
export const HTTP_DEFAULTS = {
  // What a client may send.
  /** Bytes of a request head or trailer section; more is 431. nginx: 4 x 8 KiB, Envoy: 60 KiB. */
  maxHeaderBytes: 32_768,
  /** Header fields of a message; more is 431. Envoy's default. */
  maxHeaderCount: 100,
  /** Bytes of a request target; more is 414. RFC 9112 3 asks for at least 8,000. */
  maxUriBytes: 8_192,
  /** Bytes of chunk extensions in one body; nobody uses them for good. */
  maxChunkExtensionBytes: 4_096,
  /** Client connections at once, all listeners of one proxy; further ones are closed at once. */
  maxConnections: 8_192,
  /** Requests on one connection before it is closed in order, so that clients spread over time. nginx: 1,000. 0 is no limit. */
  maxRequestsPerConnection: 10_000,
  /** Requests in flight, all connections together; more is 503. Each holds a few KiB and at most its buffers. */
  maxRequests: 16_384,
  /** Streams at once of one HTTP/2 client; nginx: 128, RFC 9113 6.5.2 recommends at least 100. */
  maxConcurrentStreams: 128,
  /** Streams that one HTTP/2 client may reset or be refused per 10 s before GOAWAY (CVE-2023-44487). */
  maxStreamResets: 200,
  /** Mebibytes of one HTTP/2 session's own memory. */
  maxSessionMemoryMiB: 10,
  /** Frames such as PING and SETTINGS of one HTTP/2 session that may await acknowledgement, and settings in one frame. */
  maxHttp2Settings: 32,
  /** Bytes that one HTTP/2 client may send ahead, per stream. */
  http2WindowBytes: 262_144,

  // How long a client may take, in milliseconds. Checked every `sweepMs`.
  /** From the first byte (or the connection) to the end of the head; else 408, or close where nothing came. */
  headerTimeoutMs: 10_000,
  /** Between two pieces of a request body while the proxy reads; else 408. */
  bodyIdleMs: 60_000,
  /** Without a client taking a byte of the response. */
  writeIdleMs: 60_000,
  /** Between two requests of a connection. Longer than the 60 s of cloud load balancers, so that they close first. */
  keepAliveMs: 75_000,
  /** For the TLS handshake. */
  handshakeTimeoutMs: 10_000,
  /** An upgraded connection without a byte in either direction. 0 is never. */
  tunnelIdleMs: 3_600_000,
  /** After an early response: how long the rest of the request is read and dropped, so that the client sees the response. */
  lingerMs: 2_000,
  /** And how many bytes. */
  maxLingerBytes: 262_144,
  /**
   * How soon after its last byte a client's FIN means that it has asked for everything and waits (`nc -N`); later it has given
   * up, and its request is cancelled. 0: always given up, as for nginx and Envoy.
   */
  halfCloseWindowMs: 1_000,
  /** How long such a client waits for each piece of its answer: it may be gone. */
  halfClosedMs: 30_000,
  /** How often connections are checked against their times: the error of all of these. */
  sweepMs: 250,

  // Towards endpoints.
  /** Milliseconds for an endpoint to accept, TLS included. */
  connectTimeoutMs: 5_000,
  /** Milliseconds without a byte to or from an endpoint; a longer time of the route holds instead. Envoy's 5 minutes: nginx's 60 s cuts watches. 0 is never. */
  upstreamIdleMs: 300_000,
  /** Milliseconds that an unused upstream connection is kept. Below the 60 or 75 s of usual servers, so that we close first. */
  poolIdleMs: 30_000,
  /** Upstream connections per endpoint. */
  maxConnectionsPerEndpoint: 1_024,
  /** Unused ones kept per endpoint. With fewer than requests come at once, each wave of them connects anew. */
  maxIdlePerEndpoint: 256,
  /** HTTP/2 sessions per endpoint; each carries as many streams as the endpoint allows. */
  maxSessionsPerEndpoint: 4,
  /** Requests that wait for a connection, per endpoint; more is 503. */
  maxPendingPerEndpoint: 1_024,
  /** Endpoints (with protocol and TLS) whose connections are remembered; the longest unused is forgotten. */
  maxPools: 4_096,
  /** Bytes of a response head from an endpoint; more is 502. */
  maxResponseHeaderBytes: 65_536,
  /** Header fields of one. */
  maxResponseHeaderCount: 200,
  /** Informational (1xx) responses before a final one. */
  maxInformational: 16,

  // Retries.
  /** Tries of a request that no endpoint has seen yet, without a route's policy. */
  maxConnectAttempts: 3,
  /** Tries of one request at most, whatever the policy says. */
  maxAttempts: 10,
  /** Bytes of a request body kept so that it can be sent again; a longer body is sent once. */
  maxReplayBytes: 65_536,
  /** First pause before a retry by policy, doubling up to 10 times that. Envoy's 25 ms. */
  retryBackoffMs: 25,
  /** Retries in flight, in percent of the requests in flight. Envoy: 20. */
  retryBudgetPercent: 20,
  /** Retries in flight that are always allowed. Envoy: 3. */
  minRetries: 3,

  // Stopping.
  /** Milliseconds for requests to end when a listener or the proxy is disposed. */
  drainMs: 10_000,

  // Mirrors.
  /** Mirrored requests at once; further ones are not mirrored. */
  maxMirrors: 256,
  /** Bytes that a mirror may lag behind before it is dropped. */
  maxMirrorLagBytes: 262_144,
} as const;

/** Every limit with its unit; see {@link HTTP_DEFAULTS} for reasons. */
export type HttpLimits = { readonly [name in keyof typeof HTTP_DEFAULTS]: number };

/** Limits with defaults filled in. */
export function httpLimits(given: Partial<HttpLimits> = {}): HttpLimits {
  return { ...HTTP_DEFAULTS, ...given };
}
