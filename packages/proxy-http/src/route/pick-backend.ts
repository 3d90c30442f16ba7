import type { Random } from '@edgemesh/core';
import type { WeightedBackend } from '../route-model.ts';

/** One backend by weight. Undefined where all weights are 0; weights that are not positive never win. */
export function pickBackend(backends: readonly WeightedBackend[], random: Random): WeightedBackend | undefined {
  const first = backends[0];
  if (backends.length === 1) return first !== undefined && first.weight > 0 ? first : undefined;
  let total = 0;
  for (const backend of backends) total += Math.max(0, backend.weight);
  let point = random() * total;
  for (const backend of backends) {
    if (backend.weight <= 0) continue;
    point -= backend.weight;
    if (point < 0) return backend;
  }
  return undefined;
}
