import { textOf } from './read.ts';

/** Texts kept at once: names of nodes, zones, namespaces and ports of the largest clusters. */
const MAX_SHARED = 20_000;

let known = new Map<string, string>();

/**
 * The same text as one object in memory. A parsed list holds the name of a node as often as the node has endpoints; for 100,000 of
 * them that is several megabytes.
 */
export function sharedText(text: string): string {
  const first = known.get(text);
  if (first !== undefined) return first;
  // What is in use keeps its text, this table or not: starting over costs a few doubles.
  if (known.size >= MAX_SHARED) known = new Map();
  known.set(text, text);
  return text;
}

/** The same of what may be absent. */
export function sharedTextOf(value: unknown): string | undefined {
  const text = textOf(value);
  return text === undefined ? undefined : sharedText(text);
}
