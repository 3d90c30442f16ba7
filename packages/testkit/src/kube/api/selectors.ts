import { isRecord, valueAt } from './object.ts';
import { badRequest } from './status.ts';

/** A test of an object, made from a selector. */
export type Matcher = (object: { readonly metadata: unknown; readonly [field: string]: unknown }) => boolean;

type LabelTest = (labels: Record<string, unknown>) => boolean;

const KEY = /^([a-z0-9.-]{1,253}\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;

/** Parses a label selector: `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`; terms joined by commas. */
export function parseLabelSelector(text: string): Matcher {
  const tests = splitTerms(text).map((term) => parseLabelTerm(term, text));
  return (object) => {
    const labels = valueAt(object, ['metadata', 'labels']);
    const record = isRecord(labels) ? labels : {};
    return tests.every((test) => test(record));
  };
}

/** Splits at commas that are outside parentheses. */
function splitTerms(text: string): string[] {
  if (text.trim() === '') return [];
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++;
    else if (text[i] === ')') depth--;
    else if (text[i] === ',' && depth === 0) {
      terms.push(text.slice(start, i));
      start = i + 1;
    }
    if (depth < 0 || depth > 1) throw malformed(text, 'unbalanced parentheses');
  }
  if (depth !== 0) throw malformed(text, 'unbalanced parentheses');
  terms.push(text.slice(start));
  return terms;
}

function parseLabelTerm(term: string, whole: string): LabelTest {
  const trimmed = term.trim();
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(trimmed);
  if (set) {
    const [, key, operator, list] = set as unknown as [string, string, string, string];
    const values = new Set(list.split(',').map((value) => value.trim()));
    checkLabel(whole, key, ...values);
    return operator === 'in'
      ? (labels) => key in labels && values.has(labels[key] as string)
      : (labels) => !(key in labels && values.has(labels[key] as string));
  }
  const equality = /^([^\s=!<>]+)\s*(==|=|!=)\s*([^\s=!<>]*)$/.exec(trimmed);
  if (equality) {
    const [, key, operator, value] = equality as unknown as [string, string, string, string];
    checkLabel(whole, key, value);
    return operator === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const negated = trimmed.startsWith('!');
  const key = negated ? trimmed.slice(1).trim() : trimmed;
  checkLabel(whole, key);
  return negated ? (labels) => !(key in labels) : (labels) => key in labels;
}

function checkLabel(whole: string, key: string, ...values: string[]): void {
  if (!KEY.test(key)) throw malformed(whole, `invalid label key ${JSON.stringify(key)}`);
  for (const value of values) {
    if (!VALUE.test(value)) throw malformed(whole, `invalid label value ${JSON.stringify(value)}`);
  }
}

function malformed(selector: string, why: string) {
  return badRequest(`unable to parse requirement: ${why}; selector ${JSON.stringify(selector)}`);
}

/** One term of a field selector. */
export interface FieldTerm {
  readonly field: string;
  readonly equal: boolean;
  readonly value: string;
}

/** Parses a field selector: `field=value`, `==`, `!=`, joined by commas. Says nothing of which fields exist. */
export function parseFieldTerms(text: string): FieldTerm[] {
  if (text.trim() === '') return [];
  return text.split(',').map((term) => {
    const match = /^\s*([^=!\s]+)\s*(==|=|!=)(.*)$/.exec(term);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const [, field, operator, value] = match as unknown as [string, string, string, string];
    return { field, equal: operator !== '!=', value: value.trim() };
  });
}

/** A matcher of field terms; a field that is not among `supported` is a bad request, as on the real server. */
export function fieldMatcher(terms: readonly FieldTerm[], supported: readonly string[]): Matcher {
  for (const { field } of terms) {
    if (field === 'metadata.name' || field === 'metadata.namespace' || supported.includes(field)) continue;
    throw badRequest(`Unable to find "v1" that match field selector: field label not supported: ${field}`);
  }
  return (object) => terms.every((term) => (fieldValue(object, term.field) === term.value) === term.equal);
}

/** A field as text, the empty string where it is absent. */
function fieldValue(object: unknown, field: string): string {
  const value = valueAt(object, field.split('.'));
  if (value === undefined || value === null)
    return field === 'spec.unschedulable' || field === 'spec.hostNetwork' ? 'false' : '';
  return String(value);
}
