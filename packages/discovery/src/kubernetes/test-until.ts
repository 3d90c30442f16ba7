/** Waiting for a state in tests: by events, not by sleeping. */
import type { Catalog } from '@edgemesh/core';
import type { Discovery, DiscoveryStatus } from '../catalog/index.ts';

/** Resolves when the catalog satisfies the condition, now or after a later change. */
export function until(discovery: Discovery, condition: (catalog: Catalog) => boolean): Promise<Catalog> {
  return new Promise((resolve) => {
    if (condition(discovery.current)) return resolve(discovery.current);
    const unsubscribe = discovery.subscribe((catalog) => {
      if (!condition(catalog)) return;
      unsubscribe();
      resolve(catalog);
    });
  });
}

/** Resolves when the condition holds; looks every few milliseconds, for states that announce nothing. */
export async function eventually<T>(read: () => T, condition: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = read();
    if (condition(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Resolves when the status of the discovery satisfies the condition. */
export function untilStatus(
  discovery: Discovery,
  condition: (status: DiscoveryStatus) => boolean,
): Promise<DiscoveryStatus> {
  return eventually(() => discovery.status(), condition);
}
