import { compileRegex, type NamedMatch, RegexError, type StringMatch } from '@edgemesh/proxy-http';
import type { Field } from '../read/field.ts';

const KINDS = ['exact', 'prefix', 'regex'] as const;

/**
 * Istio's StringMatch: one of exact, prefix, regex (RE2, whole value). `unusable` where it cannot be honoured: whatever it
 * belongs to must then match nothing, never everything.
 */
export function readStringMatch(field: Field, ignoreCase = false): StringMatch | 'unusable' | undefined {
  if (field.absent) return undefined;
  if (!field.isObject()) return 'unusable';
  if (!field.only(KINDS, 'is not a kind of match that is supported; it matches nothing')) return 'unusable';
  const set = KINDS.filter((kind) => !field.get(kind).absent);
  const [kind] = set;
  if (kind === undefined || set.length > 1) {
    field.complain('must have one of exact, prefix, regex; it matches nothing');
    return 'unusable';
  }
  const value = field.get(kind).text();
  if (value === undefined || (kind === 'regex' && !isRegex(field.get(kind), value))) return 'unusable';
  return { kind, value, ...(ignoreCase && { ignoreCase }) };
}

/** Whether a pattern is one that the engine accepts; reports it where not. */
export function isRegex(field: Field, pattern: string): boolean {
  try {
    compileRegex(pattern);
    return true;
  } catch (error) {
    if (!(error instanceof RegexError)) throw error;
    field.complain(`is no regular expression of RE2 syntax: ${error.message}`);
    return false;
  }
}

/** A map of names to matches; `{}` as a match is presence. */
export function readNamedMatches(field: Field, lowerCase: boolean): readonly NamedMatch[] | 'unusable' {
  const found: NamedMatch[] = [];
  if (!field.absent && !field.isObject()) return 'unusable';
  for (const [written, item] of field.entries()) {
    const name = lowerCase ? written.toLowerCase() : written;
    if (lowerCase && !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) {
      item.complain('is no name of a header; it matches nothing');
      return 'unusable';
    }
    const match = isEmptyObject(item.value) ? ({ kind: 'present' } as const) : readStringMatch(item);
    if (match === 'unusable') return 'unusable';
    if (match !== undefined) found.push({ name, match });
  }
  return found;
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}
