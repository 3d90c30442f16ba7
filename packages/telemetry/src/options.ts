/** Longest log line, characters; the rest is cut and marked. One line stays one write for every collector. */
export const MAX_LINE_CHARS = 8192;
/** Longest single field value in a log line, characters. */
export const MAX_VALUE_CHARS = 2048;
/** Deepest object that a log field shows. */
export const MAX_FIELD_DEPTH = 4;
/** Most members shown of one object or list in a log field. */
export const MAX_FIELD_MEMBERS = 50;

/** Names of fields whose values are never written. A field counts when its name, without case and punctuation, ends so. */
export const SECRET_FIELDS: readonly string[] = [
  'psk',
  'secret',
  'password',
  'passwd',
  'token',
  'authorization',
  'cookie',
  'privatekey',
  'apikey',
  'credential',
  'credentials',
];

/** Most series of one metric; further label values are counted together in one series whose labels all say `overflow`. */
export const MAX_SERIES = 1000;

/** Time between looks at the event loop's lag, ms. Two timers a second cost nothing an edge node would notice. */
export const LAG_INTERVAL_MS = 500;

/** Admin endpoint: a client has this long to send its headers, ms. */
export const HEADERS_TIMEOUT_MS = 5000;
/** Admin endpoint: and this long for the whole request, ms. */
export const REQUEST_TIMEOUT_MS = 10_000;
/** Admin endpoint: idle keep-alive connections are closed after this time, ms. */
export const KEEP_ALIVE_TIMEOUT_MS = 5000;
/** Admin endpoint: connections at once; a monitor, a probe and a few people need ten. */
export const MAX_CONNECTIONS = 64;
/** Admin endpoint: bytes of request headers. */
export const MAX_HEADER_BYTES = 8192;
/** Admin endpoint: time for answers under way when it stops, ms. */
export const CLOSE_GRACE_MS = 1000;

/** Longest CPU profile, s: it is collected in memory. */
export const MAX_PROFILE_SECONDS = 60;
/** Length of a CPU profile when the request does not say, s. */
export const DEFAULT_PROFILE_SECONDS = 10;

/** First and largest delay before a failed module is started again, ms. */
export const RETRY_INITIAL_MS = 1000;
export const RETRY_MAX_MS = 60_000;
/** A module that has not started after this time is called degraded; its start goes on, ms. */
export const START_WARN_MS = 30_000;
/** A module gets this long to stop before it is left behind, ms. */
export const STOP_TIMEOUT_MS = 10_000;
/** Longest reason kept for a module, characters. */
export const MAX_REASON_CHARS = 500;
