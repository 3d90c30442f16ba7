/** What a relay grants. Every limit is effective as configured; there is none per IP address, as many agents share a NAT. */
export interface RelayLimits {
  /** Nodes that are connected here to be reached, standard libp2p clients included; one more is refused. */
  readonly maxReservations: number;
  /**
   * Circuits announced or open at one time, spliced ones and libp2p's together. A spliced one costs two sockets and up to
   * 512 KiB while congested, one of libp2p's two streams and up to 4 MiB.
   */
  readonly maxCircuits: number;
  /** The same of one peer, as caller and as callee together. */
  readonly maxCircuitsPerPeer: number;
  /** Bytes per second that one peer may send through the relay, all circuits together; 0 = unlimited. */
  readonly maxBytesPerSecondPerPeer: number;
  /** Bytes per second that the relay passes on, all peers together; 0 = unlimited. */
  readonly maxBytesPerSecond: number;
  /** How long a ticket waits for its socket, in milliseconds: a slow link's TCP handshake with retries. */
  readonly ticketTtlMs: number;
  /** A circuit without a byte for this long is cut, in milliseconds; sessions ping far more often. */
  readonly circuitIdleMs: number;
}

export const relayDefaults: RelayLimits = {
  maxReservations: 4_096, // one control connection each; 69 KB (bench/scale.ts)
  maxCircuits: 8_000, // 16,000 sockets of the usual 20,000 file limit
  maxCircuitsPerPeer: 1_024,
  maxBytesPerSecondPerPeer: 0,
  maxBytesPerSecond: 0,
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
  /** Longest pause while the peer cannot be reached at all, in milliseconds: a session waits half a minute for a path. */
  readonly retryDownMaxMs: number;
  /** A path that dies younger than this counts as a failed attempt, in milliseconds (hysteresis). */
  readonly minHealthyMs: number;
  /** Failed punches to a peer after which only a change of the network allows another: one of the NATs is symmetric. */
  readonly maxPunchFailures: number;
  /** How long the first dial waits for a node that nobody has announced, in milliseconds. */
  readonly resolveTimeoutMs: number;
  /** Streams that may wait for the record of one node; more are refused. */
  readonly maxWaitingStreams: number;
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
  retryDownMaxMs: 2_000,
  minHealthyMs: 10_000,
  maxPunchFailures: 4,
  resolveTimeoutMs: 8_000, // a node that starts now needs some seconds until the relays know it
  maxWaitingStreams: 1_024,
  idleSessionMs: 600_000,
  maxPeers: 4_096,
};

/** Limits of the TCP port that control and data plane share. */
export interface SharedPortLimits {
  /** Time for the first bytes that tell the plane, in milliseconds; slow bytes do not extend it. */
  readonly preambleTimeoutMs: number;
  /** Sockets whose first bytes are still awaited; one more drops the oldest. */
  readonly maxPendingSockets: number;
  /** Open sockets per remote IP address; high, as whole sites share one NAT address. */
  readonly maxSocketsPerIp: number;
}

/** Tunables of the control plane. */
export interface ControlTunables {
  readonly port: SharedPortLimits;
  /** TCP connect timeout of outbound control connections, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** Time for pnet, noise and yamux on a connected socket, in milliseconds: six round trips on a bad mobile link. */
  readonly handshakeTimeoutMs: number;
  /** Accepted members whose handshake runs at one time; the others wait in line, which costs next to nothing. */
  readonly maxInboundHandshakes: number;
  /** How often a relay is pinged, in milliseconds. */
  readonly pingIntervalMs: number;
  /** How often the dialling side pings any other control connection, in milliseconds; below the silence timeout. */
  readonly peerPingIntervalMs: number;
  /** A ping without answer for this long ends the connection, in milliseconds; with the interval: dead within 9 s. */
  readonly pingTimeoutMs: number;
  /** An accepted connection that sends nothing for one to two of these is dropped, in milliseconds; pings come far more often. */
  readonly silenceTimeoutMs: number;
  /** Connections that libp2p keeps; a relay with every agent of a mesh needs one each. */
  readonly maxConnections: number;
  /** Streams in either direction of one control connection; each protocol has a lower limit of its own. */
  readonly maxStreamsPerConnection: number;
  /** Largest RPC body in bytes. */
  readonly maxRpcBytes: number;
  /** RPCs of one peer served at the same time; more are refused. */
  readonly maxRpcsPerPeer: number;
  /** RPCs to one peer at the same time, below what it serves; more wait in line. */
  readonly maxRpcsToPeer: number;
  /** RPCs to one peer that wait in line; more are refused. */
  readonly maxRpcsWaiting: number;
  /** An RPC handler may take this long, in milliseconds. */
  readonly rpcTimeoutMs: number;
  /** First pause before a lost relay is dialled again, in milliseconds. */
  readonly relayRetryInitialMs: number;
  /** Longest pause during the first minute of an outage, in milliseconds: a restarted relay is back within about 2 s. */
  readonly relayRetryEarlyMaxMs: number;
  /** Longest pause later, in milliseconds. */
  readonly relayRetryMaxMs: number;
  /** Node records kept in memory; the one unconfirmed for longest goes first. */
  readonly maxRecords: number;
  /** Largest signed record in bytes. */
  readonly maxRecordBytes: number;
  /** Records that a server of the DHT keeps, two per node; the one not put again for longest goes first. */
  readonly maxDhtRecords: number;
  /** The same in bytes. */
  readonly maxDhtBytes: number;
  /** A record that nobody refreshed for this long is dropped, in milliseconds. */
  readonly recordTtlMs: number;
  /** Own record is signed anew and published this often, in milliseconds. */
  readonly recordRefreshMs: number;
  /** A lookup waits this long for relays, in milliseconds. */
  readonly lookupTimeoutMs: number;
  /** The same where an older record is at hand, in milliseconds. */
  readonly staleLookupTimeoutMs: number;
  /** "Nobody knows this node" is remembered this long, in milliseconds. */
  readonly negativeTtlMs: number;
  /** A record confirmed this recently is used without asking anybody, in milliseconds. */
  readonly freshRecordMs: number;
  /** Peers that a relay tells about changes of one record: those that asked for it last. */
  readonly maxSubscribersPerRecord: number;
  /** The facts of our own record are looked at this often, in milliseconds. */
  readonly addressIntervalMs: number;
  /** Own interfaces are looked at this often where nobody tells of changes, in milliseconds: connections move a second later. */
  readonly networkIntervalMs: number;
  /** The same while the kernel's events come, in milliseconds: for what they might not tell. */
  readonly watchedNetworkIntervalMs: number;
  /** Time from an event to the look at the interfaces, in milliseconds: they come in groups. */
  readonly networkSettleMs: number;
  /** After a change of our own network, relays that do not answer for this long, or four round trips, are lost, in milliseconds. */
  readonly probeTimeoutMs: number;
  /** Node names pinned to keys; further names are used but not pinned. */
  readonly maxPins: number;
  /** Control connections to LAN peers that this node opens by itself. */
  readonly maxLanConnections: number;
  /** Pause between unprompted mDNS queries, in milliseconds. */
  readonly mdnsIntervalMs: number;
  /** Changes are written to disk at most this often, in milliseconds. */
  readonly saveDelayMs: number;
}

export const controlDefaults: ControlTunables = {
  port: { preambleTimeoutMs: 5_000, maxPendingSockets: 4_096, maxSocketsPerIp: 4_096 },
  connectTimeoutMs: 5_000,
  handshakeTimeoutMs: 8_000,
  maxInboundHandshakes: 128, // 10 to 20 ms of a core each: done well within their timeout, and enough for paths of 250 ms
  pingIntervalMs: 4_000,
  peerPingIntervalMs: 10_000,
  pingTimeoutMs: 5_000,
  silenceTimeoutMs: 20_000,
  maxConnections: 10_000,
  maxStreamsPerConnection: 16_384, // two per circuit of a relay that grants one peer as many as all others
  maxRpcBytes: 64 * 1024,
  maxRpcsPerPeer: 64,
  maxRpcsToPeer: 48,
  maxRpcsWaiting: 4_096,
  rpcTimeoutMs: 10_000,
  relayRetryInitialMs: 200,
  relayRetryEarlyMaxMs: 2_000,
  relayRetryMaxMs: 15_000,
  maxRecords: 10_000,
  maxRecordBytes: 8 * 1024,
  maxDhtRecords: 20_000,
  maxDhtBytes: 32 * 1024 * 1024, // 1.6 KB a record; usual are 0.5 to 1
  recordTtlMs: 7 * 24 * 3_600_000,
  recordRefreshMs: 3_600_000,
  lookupTimeoutMs: 2_000,
  staleLookupTimeoutMs: 500,
  negativeTtlMs: 1_000,
  freshRecordMs: 60_000,
  maxSubscribersPerRecord: 1_024,
  addressIntervalMs: 3_000,
  networkIntervalMs: 1_000,
  watchedNetworkIntervalMs: 15_000,
  networkSettleMs: 100,
  probeTimeoutMs: 500,
  maxPins: 20_000,
  maxLanConnections: 64,
  mdnsIntervalMs: 60_000,
  saveDelayMs: 500,
};

/** Limits and times of sessions. The stream limits are tunnelLimitConfig of the configuration. */
export interface SessionOptions {
  /** Streams that peers have open here, all sessions (tunnelBaseStreamIn). */
  readonly maxStreamsIn: number;
  /** Streams that this node has open, all sessions (tunnelBaseStreamOut). */
  readonly maxStreamsOut: number;
  /** The same per peer (tunnelPeerBaseStreamIn, tunnelPeerBaseStreamOut). */
  readonly maxStreamsInPerPeer: number;
  readonly maxStreamsOutPerPeer: number;
  /**
   * A stream beyond `maxStreamsOutPerPeer` waits this long for another to end, in milliseconds, and longer while there is no
   * path. 0 = it is refused at once.
   */
  readonly limitPatienceMs: number;
  /** Streams to one peer that may wait so. */
  readonly maxStreamsWaitingPerPeer: number;
  /** Streams per second that one peer may open, with a second's worth at once. */
  readonly maxOpensPerSecond: number;
  /** Sessions, suspended and reserved ones included. */
  readonly maxSessions: number;
  /** How long a stream waits to be accepted, in milliseconds, where the dialler does not say. */
  readonly dialTimeoutMs: number;
  /** How long a session without carrier keeps its streams, in milliseconds. */
  readonly graceMs: number;
  /** How long a carrier may stay unused by the peer before it is dropped, in milliseconds. */
  readonly attachTimeoutMs: number;
  /** Bytes sent and kept until the peer has them, per session; streams wait when it is full. */
  readonly maxUnacknowledgedBytes: number;
  /** Largest credit window of one stream, in bytes; windows start at 256 KiB and grow where the path needs it. */
  readonly maxStreamWindowBytes: number;
  /** Bytes that the windows of one session may grow by, all streams together. */
  readonly maxSessionWindowBytes: number;
  /** Received bytes that local readers have not taken, per session and for the node; beyond it the stream is reset. */
  readonly maxUnreadBytesPerSession: number;
  readonly maxUnreadBytes: number;
  /** Bytes that one datagram channel queues for a busy carrier; more are dropped and counted. */
  readonly maxDatagramQueueBytes: number;
  /** Silence before a ping while sent bytes wait to be acknowledged, in milliseconds. */
  readonly pingBusyMs: number;
  /** Silence before a ping while streams are open, in milliseconds. */
  readonly pingOpenMs: number;
  /** Silence before a ping otherwise, in milliseconds. */
  readonly pingIdleMs: number;
  /** Another path is sought when a ping brought not one byte for this long, or four round trips, in milliseconds. */
  readonly suspectAfterPingMs: number;
  /** A path is dead when a ping brought not one byte for this long, in milliseconds. */
  readonly deadAfterPingMs: number;
  /** How often the round-trip time is measured while bytes flow, in milliseconds. */
  readonly measureMs: number;
}

export const sessionDefaults: SessionOptions = {
  maxStreamsIn: 10_240, // EdgeMesh's tunnelBaseStreamIn and its siblings
  maxStreamsOut: 10_240,
  maxStreamsInPerPeer: 1_024,
  maxStreamsOutPerPeer: 1_024,
  limitPatienceMs: 2_000, // a burst passes; what is full for longer is better served by another endpoint
  maxStreamsWaitingPerPeer: 4_096, // 500 a second for a blackout of some seconds; one costs 2 KB
  maxOpensPerSecond: 20_000, // three times what one core can serve; stops a peer that only opens
  maxSessions: 4_096,
  dialTimeoutMs: 10_000, // a path search over a slow relay, and a TCP connect with two lost SYNs
  graceMs: 30_000, // Wi-Fi to 4G, a restarting relay, a rebooting home router's new address; TCP users give up not much later
  attachTimeoutMs: 10_000,
  maxUnacknowledgedBytes: 16_777_216, // 1 Gbit/s over 130 ms
  maxStreamWindowBytes: 8_388_608, // 1 Gbit/s over 65 ms in one stream
  maxSessionWindowBytes: 67_108_864,
  maxUnreadBytesPerSession: 67_108_864,
  maxUnreadBytes: 268_435_456,
  maxDatagramQueueBytes: 1_048_576, // 16 packets of segmentation offload: one burst of a TCP sender
  pingBusyMs: 1_500, // with deadAfterPingMs: a silent path under traffic is left after 6.5 s
  pingOpenMs: 5_000,
  pingIdleMs: 25_000, // below the 30 s at which carrier-grade NATs begin to forget
  suspectAfterPingMs: 500, // with pingBusyMs: streams flow over another path 2.1 s after a relay fell silent
  deadAfterPingMs: 5_000, // three retransmissions of TCP over a 4G link
  measureMs: 10_000,
};
