/** Limits and times of the fakes. Every one can be given to `createKubeApi` or `createMetaServer` by the same name. */
export const kubeApiDefaults = {
  /** Address to listen on; loopback, a fake has no business elsewhere. */
  host: '127.0.0.1',
  /** Port; 0 asks the kernel for a free one. */
  port: 0,
  /** Revision before the first write. Above 1, so that `resourceVersion=1` is as old as it is on a real cluster. */
  startRevision: 1000,
  /** Events kept for watches to resume from and for lists at an exact revision; older ones count as compacted. */
  historyLimit: 10_000,
  /** Entries kept in `requests`, oldest dropped first. */
  requestLogLimit: 10_000,
  /** How long a list waits for a revision of the future, ms. The real server waits 3,000. */
  tooLargeWaitMs: 100,
  /** Between bookmarks of one watch, ms. The real server sends one a minute, more or less. */
  bookmarkIntervalMs: 60_000,
  /** End of a watch that names no `timeoutSeconds`, ms. The real server picks 30 to 60 minutes. */
  watchTimeoutMs: 30 * 60_000,
  /** A watcher that does not read is cut off at this many buffered bytes. */
  maxWatchBufferedBytes: 16 * 1024 * 1024,
  /** Largest request body, bytes (the real limit of one object is about 3 MiB). */
  maxBodyBytes: 3 * 1024 * 1024,
  /** Bodies of at least this many bytes are compressed for clients that accept gzip, as the real server does. */
  gzipFromBytes: 128 * 1024,
  /** Write `metadata.managedFields`, which real objects carry and clients should not keep. */
  managedFields: true,
  /** Fill in what the real server defaults: cluster addresses, protocols, types. */
  defaulting: true,
} as const;

/** Limits and times of the metaServer fake; those of KubeEdge, so tests set most of them to milliseconds. */
export const metaServerDefaults = {
  /** Address to listen on. */
  host: '127.0.0.1',
  /** Port; 0 asks the kernel for a free one (KubeEdge's is 10550). */
  port: 0,
  /** What edgecore waits for an answer from the cloud before it falls back, ms. */
  stallMs: 10_000,
  /** From the end of a silent link loss until edgecore notices the dead connection, ms. */
  noticeMs: 3_000,
  /** Edgecore's fixed pause between connection attempts, ms. */
  backoffMs: 30_000,
  /** From a cloudcore restart until it answers this edge again, ms (5,000 to 60,000 observed). */
  cloudcoreStartMs: 30_000,
  /** From an edgecore restart until it listens again, ms. */
  edgecoreStartMs: 1_300,
  /** From reconnection until changes made meanwhile are delivered, ms. */
  flushMs: 3_000,
  /** Period of cloudcore's comparison of known objects, ms. */
  syncLoopMs: 5_000,
  /** How long edgecore re-sends a closed watch of a kind that does not exist, ms. */
  poisonMemoryMs: 5 * 60_000,
  /** Stalls during which cloudcore's only goroutine is busy with a revision it cannot serve. */
  busyStalls: 4,
  /** Bytes on the wire per byte of list (base64, envelopes). */
  wireFactor: 1.34,
  /** Part of the objects that reach a cold edge before the first read: 3 of 8 observed. */
  coldReplayShare: 3 / 8,
  /** End of a watch that names no `timeoutSeconds`, ms. */
  watchTimeoutMs: 30 * 60_000,
  /** Between bookmarks, where they are switched on, ms. */
  bookmarkIntervalMs: 60_000,
  /** Entries kept in `requests`. */
  requestLogLimit: 10_000,
  /** Largest request body, bytes. */
  maxBodyBytes: 3 * 1024 * 1024,
  /** The metaServer never compresses. */
  gzipFromBytes: Number.POSITIVE_INFINITY,
} as const;
