import { type Endpoint, endpointKey } from '@edgemesh/core';

/** Keeps what was derived from an immutable candidate array for as long as the array lives. */
export function memoPerArray<T>(
  derive: (candidates: readonly Endpoint[]) => T,
): (candidates: readonly Endpoint[]) => T {
  const memo = new WeakMap<readonly Endpoint[], { readonly value: T }>();
  let lastArray: readonly Endpoint[] | undefined;
  let lastValue: T;
  return (candidates) => {
    if (candidates === lastArray) return lastValue;
    let entry = memo.get(candidates);
    if (entry === undefined) {
      entry = { value: derive(candidates) };
      memo.set(candidates, entry);
    }
    lastArray = candidates;
    lastValue = entry.value;
    return entry.value;
  };
}

/** endpointKey of each candidate, computed once per array. Shared by all balancers: it depends on nothing else. */
export const keysOf = memoPerArray((candidates) => candidates.map(endpointKey));

/** True when the endpoint may not be chosen. */
export function isExcluded(key: string, exclude: ReadonlySet<string> | undefined): boolean {
  return exclude?.has(key) ?? false;
}

/** One of the candidates that are not excluded, each with the same probability. */
export function pickRandom(
  candidates: readonly Endpoint[],
  exclude: ReadonlySet<string> | undefined,
  random: () => number,
): Endpoint | undefined {
  if (exclude === undefined || exclude.size === 0) return candidates[Math.floor(random() * candidates.length)];
  const keys = keysOf(candidates);
  let allowed = 0;
  for (const key of keys) if (!exclude.has(key)) allowed++;
  let skip = Math.floor(random() * allowed);
  for (const [i, key] of keys.entries()) {
    if (!exclude.has(key) && skip-- === 0) return candidates[i];
  }
  return undefined;
}
