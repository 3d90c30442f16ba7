/** Defaults and limits of the package. Each is an option of the function that uses it. */
export const PROXY_DEFAULTS = {
  /** Milliseconds for the kernel to connect. Long enough for two lost SYNs (1 s and 3 s), short enough to try another endpoint. */
  connectTimeoutMs: 5_000,
  /** Endpoints tried for one connection. */
  maxDialAttempts: 3,
  /** Early client bytes kept until an endpoint has accepted, so that another one can get them too. */
  maxEarlyBytes: 65_536,
  /** Bytes written and not yet taken by the kernel before a socket answers false. Larger buys nothing on loopback and veth. */
  socketBufferedBytes: 262_144,
  /** Bytes that one read of a socket takes at most; the memory is shared by all sockets. */
  receiveBytes: 65_536,
  /** Milliseconds before the first TCP keep-alive probe, against clients that vanish behind NATs. */
  keepAliveMs: 60_000,
  /** Connections that wait to be accepted; the kernel caps it at net.core.somaxconn. */
  backlog: 1_024,
  /** Connections at once, all listeners of one budget together. Two descriptors each: 8,192 fit under a limit of 20,000. */
  maxConnections: 8_192,
  /** Connections at once of one client address. */
  maxConnectionsPerClient: 4_096,
  /** Milliseconds without a byte in either direction before a TCP connection is reset. 0 is never, as kube-proxy. */
  tcpIdleMs: 0,
  /** Milliseconds of silence that a half-closed connection may last; kube-proxy's conntrack tcpCloseWaitTimeout. */
  halfClosedIdleMs: 3_600_000,
  /** Milliseconds for connections to end by themselves when a proxy is disposed. */
  drainMs: 5_000,
  /** Milliseconds without a datagram in either direction before a UDP flow is dropped. The original's 250 ms lost slow answers. */
  udpIdleMs: 60_000,
  /** UDP flows of one listener; the one idle longest makes room. One descriptor each for local endpoints: 12,288 fit under 20,000. */
  maxUdpFlows: 12_288,
  /** UDP flows of one client address, all listeners of a service proxy together: a busy resolver or gateway, and room for others. */
  maxUdpFlowsPerClient: 10_240,
  /** Receive and send buffers asked of the kernel for listening UDP sockets (it grants up to net.core.rmem_max). */
  udpSocketBufferBytes: 1_048_576,
  /** Bytes in a UDP socket's own send queue before datagrams are dropped. */
  maxUdpQueuedBytes: 4_194_304,
  /** First datagrams of a flow kept until the first answer, so that another endpoint can get them when the first refuses. */
  maxEarlyDatagrams: 4,
  /** Bytes of those. */
  maxEarlyDatagramBytes: 4_096,
  /** Datagrams that wait for a local UDP socket to be bound. */
  maxPendingDatagrams: 64,
  /** Milliseconds for a SOCKS5 client to say what it wants. */
  socksHandshakeMs: 10_000,
  /** SOCKS5 connections at once. */
  maxSocksConnections: 1_024,
  /** Listeners that `mapped` and `loopback` modes open at most: one descriptor each, of 20,000. */
  maxListeners: 8_192,
  /** Active checks of endpoints under way at once: a node with many Services must not flood its own uplink. */
  maxConcurrentHealthChecks: 32,
  /** Endpoints that are actively checked, at 1 KiB each. */
  maxHealthCheckedEndpoints: 4_096,
  /** Milliseconds before a listener that could not be opened is tried again. */
  listenRetryMs: 10_000,
} as const;

/** Largest UDP payload over IPv4: 65,535 - 20 (IP) - 8 (UDP). */
export const MAX_DATAGRAM_BYTES = 65_507;
