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
