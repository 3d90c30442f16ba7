import { canonicalIp } from '@edgemesh/core';

/** Anything with fields. */
export type Fields = Readonly<Record<string, unknown>>;

const NO_FIELDS: Fields = Object.freeze({});
const NO_TEXTS: Readonly<Record<string, string>> = Object.freeze({});

/** True for plain objects as JSON has them: not null, not an array. */
export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value when it has fields, else an object without any. */
export function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : NO_FIELDS;
}

/** The value when it is an array, else an empty one: in Kubernetes a missing list and null mean empty. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A non-empty string, or undefined. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A port number 1 to 65535, or undefined. */
export function portOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535 ? value : undefined;
}

/** The string entries of a string map (labels, annotations); everything else is dropped. */
export function stringMapOf(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fieldsOf(value)).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  if (entries.length === 0) return NO_TEXTS;
  // fromEntries defines own properties, so a label called __proto__ stays a label
  return Object.fromEntries(entries);
}

/** Canonical text of an address, or undefined. */
export function addressOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= 45 ? canonicalIp(value) : undefined;
}

/** Lower-case DNS name without trailing dot (RFC 1123 labels; underscores are allowed, as real names have them), or undefined. */
export function dnsNameOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 254) return undefined;
  const name = (value.endsWith('.') ? value.slice(0, -1) : value).toLowerCase();
  if (name === '' || name.length > 253) return undefined;
  return name.split('.').every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label)) ? name : undefined;
}

/** What a wrong value is, for messages: never its content, which may be huge or secret. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'string')
    return value.length <= 64 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  return typeof value === 'object' ? 'an object' : typeof value;
}
