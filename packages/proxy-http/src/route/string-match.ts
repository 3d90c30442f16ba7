import { compileRegex } from '../regex/regex.ts';
import type { StringMatch } from '../route-model.ts';

/** Tests one value. */
export type StringTest = (value: string) => boolean;

/** Compiles how a string is compared. @throws RegexError */
export function compileStringMatch(match: StringMatch): StringTest {
  if (match.kind === 'present') return () => true;
  const ignoreCase = match.ignoreCase === true;
  if (match.kind === 'regex') {
    const regex = compileRegex(match.value, { ignoreCase });
    return (value) => regex.matches(value);
  }
  const wanted = ignoreCase ? match.value.toLowerCase() : match.value;
  const test = LITERAL[match.kind];
  return ignoreCase ? (value) => test(value.toLowerCase(), wanted) : (value) => test(value, wanted);
}

const LITERAL = {
  exact: (value: string, wanted: string) => value === wanted,
  prefix: (value: string, wanted: string) => value.startsWith(wanted),
  suffix: (value: string, wanted: string) => value.endsWith(wanted),
} as const;
