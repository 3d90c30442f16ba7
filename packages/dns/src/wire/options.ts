import { OPTION } from './constants.ts';

/** Options that concern one hop only (RFC 7873, 7828, 7830) and are never passed on. */
export const HOP_BY_HOP: ReadonlySet<number> = new Set([OPTION.COOKIE, OPTION.TCP_KEEPALIVE, OPTION.PADDING]);

const NONE = Buffer.alloc(0);

/** A copy of the EDNS options between two offsets whose code is wanted. Stops at the first that is cut off. */
export function filterOptions(message: Buffer, start: number, end: number, wanted: (code: number) => boolean): Buffer {
  const kept: Buffer[] = [];
  for (let at = start; at + 4 <= end; ) {
    const next = at + 4 + message.readUInt16BE(at + 2);
    if (next > end) break;
    if (wanted(message.readUInt16BE(at))) kept.push(message.subarray(at, next));
    at = next;
  }
  return kept.length === 0 ? NONE : Buffer.concat(kept);
}
