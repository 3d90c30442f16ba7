/** Limits and defaults of the network lab. Every figure is for tests: generous in time, tight in memory. */
export const LAB_DEFAULTS = {
  /** Milliseconds for one `exec`. Long enough for dig and curl retries on two busy cores. */
  execTimeoutMs: 15_000,
  /** Bytes of stdout and of stderr that `exec` keeps; the command is killed beyond. */
  maxOutputBytes: 4 * 1024 * 1024,
  /** Lines of stdout and stderr together that a spawned process keeps; the oldest go first. */
  maxLines: 20_000,
  /** Milliseconds that `waitForLine` and `pollUntil` wait. */
  waitTimeoutMs: 30_000,
  /** Milliseconds between two looks of `pollUntil`. */
  pollIntervalMs: 20,
  /** Milliseconds between SIGTERM and SIGKILL when a process is stopped. */
  killGraceMs: 3_000,
  /** Milliseconds that output is awaited after a process has exited. */
  lateOutputMs: 500,
  /** Namespaces that are configured at the same time. */
  parallelSetup: 8,
  /** tbf: bytes that may pass at once. At least rate / HZ; 64 KiB carries one GSO packet. */
  tbfBurstBytes: 64 * 1024,
  /** tbf: milliseconds that a packet may wait before it is dropped. */
  tbfLatencyMs: 50,
} as const;
