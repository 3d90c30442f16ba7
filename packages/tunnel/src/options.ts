/** What a relay grants. Every limit is effective as configured; there is none per IP address, as many agents share a NAT. */
export interface RelayLimits {
  /** Circuits announced or open at one time. Each costs two sockets and up to 512 KiB while congested. */
  readonly maxCircuits: number;
  /** Circuits of one peer, as caller and as callee together. */
  readonly maxCircuitsPerPeer: number;
  /** Bytes per second that one peer may send through the relay, all circuits together; 0 = unlimited. */
  readonly maxBytesPerSecondPerPeer: number;
  /** How long a ticket waits for its socket, in milliseconds: a slow link's TCP handshake with retries. */
  readonly ticketTtlMs: number;
  /** A circuit without a byte for this long is cut, in milliseconds; sessions ping far more often. */
  readonly circuitIdleMs: number;
}

export const relayDefaults: RelayLimits = {
  maxCircuits: 8_000, // 16,000 sockets of the usual 20,000 file limit
  maxCircuitsPerPeer: 1_024,
  maxBytesPerSecondPerPeer: 0,
  ticketTtlMs: 10_000,
  circuitIdleMs: 120_000,
};

/** How the tunnel looks for paths to a peer and when it lets go. */
export interface PathOptions {
  /** Time for one attempt on one path, in milliseconds: TCP and TLS handshakes over a slow link. */
  readonly attemptTimeoutMs: number;
  /** Head start that a peer seen on the LAN gets before a relay is asked, in milliseconds. */
  readonly lanHeadStartMs: number;
  /** First pause after a failed attempt on one kind of path, in milliseconds; doubles up to `retryMaxMs`. */
  readonly retryInitialMs: number;
  readonly retryMaxMs: number;
  /** A path that dies younger than this counts as a failed attempt, in milliseconds (hysteresis). */
  readonly minHealthyMs: number;
  /** A session without streams for this long is closed, in milliseconds. */
  readonly idleSessionMs: number;
  /** Peers with a session or a search at one time. */
  readonly maxPeers: number;
}

export const pathDefaults: PathOptions = {
  attemptTimeoutMs: 8_000,
  lanHeadStartMs: 150,
  retryInitialMs: 500,
  retryMaxMs: 60_000,
  minHealthyMs: 10_000,
  idleSessionMs: 600_000,
  maxPeers: 4_096,
};
