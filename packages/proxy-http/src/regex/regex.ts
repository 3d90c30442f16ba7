import { compileProgram } from './program.ts';
import { search } from './search.ts';
import { parseRegex } from './syntax.ts';
import { createWholeMatcher } from './whole-match.ts';

/** A compiled pattern. Time is linear in the text for every pattern: there is nothing to backtrack. */
export interface Regex {
  /** Whether the whole text matches. */
  matches(text: string): boolean;
  /** Replaces every match. `\1` is the first group, `\0` all of the match, `\\` a backslash. */
  replaceAll(text: string, substitution: string): string;
}

/**
 * Compiles RE2 syntax (as Istio and Envoy use it): no back-references, no look-around. Not supported of RE2: `\p{...}`, flags
 * `m` and `U`. Works on UTF-16 code units; `\w`, `\b` and ignoring case know ASCII only.
 * @throws RegexError when the pattern is invalid or exceeds `REGEX_LIMITS`
 */
export function compileRegex(pattern: string, options: { readonly ignoreCase?: boolean } = {}): Regex {
  const { node, groups } = parseRegex(pattern, options.ignoreCase ?? false);
  const program = compileProgram(node);
  return {
    matches: createWholeMatcher(program),
    replaceAll(text, substitution) {
      let result = '';
      let from = 0;
      let kept = 0;
      while (from <= text.length) {
        const found = search(program, groups, text, from);
        if (found === undefined) break;
        const [start, end] = found as readonly [number, number];
        result += text.slice(kept, start) + substitute(substitution, text, found);
        kept = end;
        // An empty match moves on by one; the character it stands before is kept.
        from = end > start ? end : end + 1;
      }
      return result + text.slice(kept);
    },
  };
}

function substitute(substitution: string, text: string, slots: readonly number[]): string {
  return substitution.replace(/\\([\\0-9])/g, (_, reference: string) => {
    if (reference === '\\') return '\\';
    const start = slots[Number(reference) * 2] ?? -1;
    return start < 0 ? '' : text.slice(start, slots[Number(reference) * 2 + 1]);
  });
}
