import type { Random } from '@edgemesh/core';

/** One of several by weight; undefined where there is none or all weigh nothing. */
export function pickWeighted<T extends { readonly weight: number }>(
  items: readonly T[],
  random: Random,
): T | undefined {
  let total = 0;
  for (const { weight } of items) total += weight;
  if (total <= 0) return undefined;
  let left = random() * total;
  let last: T | undefined;
  for (const item of items) {
    if (item.weight <= 0) continue;
    last = item;
    left -= item.weight;
    if (left < 0) return item;
  }
  return last;
}
