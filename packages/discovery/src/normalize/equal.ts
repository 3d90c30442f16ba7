/** Nesting that is looked into; Kubernetes objects have far less. Guards the stack against hostile input. */
const MAX_DEPTH = 64;

/**
 * Structural equality of JSON-like values; absent and undefined fields are the same. What is nested too deep to compare
 * counts as different.
 */
export function sameJson(a: unknown, b: unknown, depth = 0): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b);
  if (depth >= MAX_DEPTH) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, i) => sameJson(item, b[i], depth + 1));
  }
  return sameFields(a as Record<string, unknown>, b as Record<string, unknown>, depth + 1);
}

function sameFields(a: Record<string, unknown>, b: Record<string, unknown>, depth: number): boolean {
  for (const key of Object.keys(a)) {
    if (!sameJson(a[key], Object.hasOwn(b, key) ? b[key] : undefined, depth)) return false;
  }
  return Object.keys(b).every((key) => Object.hasOwn(a, key) || b[key] === undefined);
}
