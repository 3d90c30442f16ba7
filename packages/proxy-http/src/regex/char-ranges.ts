/** Code unit ranges, inclusive pairs: [from, to, from, to, ...]. */
export type CharRanges = readonly number[];

/** The last UTF-16 code unit. */
export const MAX_UNIT = 0xffff;
/** `\d`, `\w` and `\s` of RE2: ASCII only. */
export const DIGIT = [48, 57];
export const WORD = [48, 57, 65, 90, 95, 95, 97, 122];
export const SPACE = [9, 10, 12, 13, 32, 32];
/** What stands in `[[:name:]]`. */
export const POSIX: Readonly<Record<string, readonly number[]>> = {
  alnum: [48, 57, 65, 90, 97, 122],
  alpha: [65, 90, 97, 122],
  ascii: [0, 127],
  blank: [9, 9, 32, 32],
  cntrl: [0, 31, 127, 127],
  digit: DIGIT,
  graph: [33, 126],
  lower: [97, 122],
  print: [32, 126],
  punct: [33, 47, 58, 64, 91, 96, 123, 126],
  space: [9, 13, 32, 32],
  upper: [65, 90],
  word: WORD,
  xdigit: [48, 57, 65, 70, 97, 102],
};

/** Complement of ranges in any order. */
export function negate(ranges: CharRanges): number[] {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i] as number, ranges[i + 1] as number]);
  pairs.sort((a, b) => a[0] - b[0]);
  const result: number[] = [];
  let next = 0;
  for (const [from, to] of pairs) {
    if (from > next) result.push(next, from - 1);
    next = Math.max(next, to + 1);
  }
  if (next <= MAX_UNIT) result.push(next, MAX_UNIT);
  return result;
}

/** Adds the other case of ASCII letters. */
export function foldCase(ranges: CharRanges): number[] {
  const result = [...ranges];
  for (let i = 0; i < ranges.length; i += 2) {
    const from = ranges[i] as number;
    const to = ranges[i + 1] as number;
    for (const [first, last, shift] of [
      [65, 90, 32],
      [97, 122, -32],
    ] as const) {
      const low = Math.max(from, first);
      const high = Math.min(to, last);
      if (low <= high) result.push(low + shift, high + shift);
    }
  }
  return result;
}
