/** Values by host pattern; `find` gives what belongs to a host, most specific pattern first. */
export interface HostIndex<T> {
  find(host: string): readonly T[];
}

/**
 * Indexes values by exact names, `*.suffix`, `prefix.*` and `*`. Lookups cost one map access per label, whatever the number
 * of patterns. Values of one pattern keep their order.
 */
export function createHostIndex<T>(entries: Iterable<readonly [pattern: string, value: T]>): HostIndex<T> {
  const exact = new Map<string, T[]>();
  const suffixes = new Map<string, T[]>();
  const prefixes = new Map<string, T[]>();
  const any: T[] = [];
  for (const [raw, value] of entries) {
    const pattern = raw.toLowerCase();
    if (pattern === '*') any.push(value);
    else if (pattern.startsWith('*.')) append(suffixes, pattern.slice(1), value);
    else if (pattern.endsWith('.*')) append(prefixes, pattern.slice(0, -1), value);
    else append(exact, pattern.endsWith('.') ? pattern.slice(0, -1) : pattern, value);
  }
  if (suffixes.size === 0 && prefixes.size === 0) {
    return {
      find(host) {
        const found = exact.get(host);
        return found === undefined ? any : any.length === 0 ? found : [...found, ...any];
      },
    };
  }
  return {
    find(host) {
      const found: T[] = [];
      collect(found, exact.get(host));
      // Longest first: the first dot from the left leaves the longest suffix, the last dot the longest prefix.
      if (suffixes.size > 0) {
        for (let dot = host.indexOf('.', 1); dot > 0; dot = host.indexOf('.', dot + 1)) {
          collect(found, suffixes.get(host.slice(dot)));
        }
      }
      if (prefixes.size > 0) {
        for (let dot = host.lastIndexOf('.'); dot > 0; dot = host.lastIndexOf('.', dot - 1)) {
          if (dot < host.length - 1) collect(found, prefixes.get(host.slice(0, dot + 1)));
        }
      }
      collect(found, any);
      return found;
    },
  };
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function collect<T>(into: T[], values: readonly T[] | undefined): void {
  if (values !== undefined) into.push(...values);
}
