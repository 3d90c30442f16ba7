/** Longest configuration text, bytes. A real file has 1 to 5 KiB, 500 relay nodes make 35 KiB; parsing takes longer than linearly. */
export const MAX_TEXT_BYTES = 64 * 1024;

/** Most values in one file once aliases are followed: what stops a "billion laughs" file. A full default file has about 150. */
export const MAX_NODES = 20_000;

/** Deepest nesting that is read; the schema needs 6. */
export const MAX_DEPTH = 32;

/** Most problems, and most warnings, reported for one file; further ones are counted only. */
export const MAX_REPORTED = 100;

/** Most syntax errors reported: after the first few, each follows from those before. */
export const MAX_SYNTAX_ERRORS = 10;

/** Most items in any list, and most entries in any record. 500 relay nodes are a very large mesh. */
export const MAX_ITEMS = 1024;

/** Longest text shown back in a message, characters. */
export const MAX_SHOWN_CHARS = 60;

/** Quiet time after the last file event before the file is read, ms: an editor or kubelet swaps in several steps. */
export const WATCH_DEBOUNCE_MS = 200;

/** Time between looks at the file without any event, ms: for file systems without notices, and folders made anew. */
export const WATCH_POLL_MS = 10_000;
