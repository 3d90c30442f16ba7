import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Collects all garbage and gives its memory back to the system, which V8 does neither by itself: it collects when new objects need
 * room, and keeps the pages that an ordinary collection has emptied. Pauses the process for about two milliseconds per megabyte in use.
 */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc'); // V8 hands its collector to contexts that are made after this flag is set
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
