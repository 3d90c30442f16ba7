/**
 * Host patterns: `a.example.com`, `*.example.com` (one or more labels), `*`. Lower case, no port, no final dot. Undefined
 * where the text is none.
 */
export function normalizeHost(written: string): string | undefined {
  const host = written.trim().toLowerCase().replace(/\.$/, '');
  if (host === '*') return host;
  const name = host.startsWith('*.') ? host.slice(2) : host;
  if (name === '' || name.length > 253 || !/^[a-z0-9_]([a-z0-9_.:-]*[a-z0-9_])?$/.test(name) || name.includes('..'))
    return undefined;
  return host;
}

/** True when every host of `inner` belongs to `outer`. */
export function hostCovers(outer: string, inner: string): boolean {
  if (outer === '*' || outer === inner) return true;
  return outer.startsWith('*.') && inner.length > outer.length - 1 && inner.endsWith(outer.slice(1));
}

/** The hosts that belong to both, as one pattern: the more specific of the two. Undefined where there are none. */
export function intersectHosts(a: string, b: string): string | undefined {
  if (hostCovers(a, b)) return b;
  return hostCovers(b, a) ? a : undefined;
}

/** Orders patterns most specific first: exact, the longest wildcard, `*`. */
export function bySpecificity(a: string, b: string): number {
  return rank(b) - rank(a);
}

function rank(host: string): number {
  if (host === '*') return 0;
  return host.startsWith('*.') ? host.length : 1_000 + host.length;
}

/** The first of the most specific patterns that cover a host. */
export function findByHost<T extends { readonly hosts: readonly string[] }>(
  candidates: readonly T[],
  host: string,
): T | undefined {
  let best: T | undefined;
  let bestRank = -1;
  for (const candidate of candidates) {
    for (const pattern of candidate.hosts) {
      if (!hostCovers(pattern, host) || rank(pattern) <= bestRank) continue;
      best = candidate;
      bestRank = rank(pattern);
    }
  }
  return best;
}
