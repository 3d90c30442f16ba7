import { webcrypto } from 'node:crypto';
import type { Random } from '@edgemesh/core';

/** Numbers drawn from the system at once. */
const POOL = 1_024;

/**
 * Unpredictable numbers in [0, 1) with 32 random bits. Ids and ports are all that protects answers from being forged off
 * the path (RFC 5452 4.3), and whoever has seen a few values of `Math.random` can compute the next ones.
 */
export function createSecureRandom(): Random {
  const pool = new Uint32Array(POOL);
  let next = POOL;
  return () => {
    if (next === POOL) {
      webcrypto.getRandomValues(pool);
      next = 0;
    }
    return (pool[next++] as number) / 2 ** 32;
  };
}
