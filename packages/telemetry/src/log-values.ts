import { MAX_FIELD_DEPTH, MAX_FIELD_MEMBERS, MAX_VALUE_CHARS, SECRET_FIELDS } from './options.ts';

const REDACTED = '[redacted]';

/** Makes a field ready for JSON: nothing secret, nothing circular, nothing endless. Never throws. */
export type FieldCleaner = (name: string, value: unknown) => unknown;

/** A cleaner for the default names of secrets and these further ones. */
export function createFieldCleaner(extraSecrets: readonly string[] = []): FieldCleaner {
  const secrets = [...SECRET_FIELDS, ...extraSecrets].map(fold).filter((name) => name !== '');
  const known = new Map<string, boolean>();
  const isSecret = (name: string): boolean => {
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    const folded = fold(name);
    const secret = secrets.some((ending) => folded.endsWith(ending));
    // Names come from the code, so this stays small; a nested object with free keys must not grow it.
    if (known.size < 1000) known.set(name, secret);
    return secret;
  };
  const clean = (name: string, value: unknown, depth: number): unknown => {
    if (isSecret(name) && value !== undefined && value !== null && value !== '') return REDACTED;
    return cleanValue(value, depth, clean);
  };
  return (name, value) => {
    try {
      return clean(name, value, 0);
    } catch {
      // A getter or a proxy of the caller's object threw: a log line must not be what breaks the program.
      return '[unreadable]';
    }
  };
}

function fold(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

type Clean = (name: string, value: unknown, depth: number) => unknown;

function cleanValue(value: unknown, depth: number, clean: Clean): unknown {
  switch (typeof value) {
    case 'string':
      return value.length > MAX_VALUE_CHARS ? `${value.slice(0, MAX_VALUE_CHARS)}...` : value;
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'boolean':
    case 'undefined':
      return value;
    case 'object':
      return value === null ? null : cleanObject(value, depth, clean);
    case 'function':
      return '[function]';
    default:
      return String(value);
  }
}

function cleanObject(value: object, depth: number, clean: Clean): unknown {
  if (value instanceof Error) return value.message;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_FIELD_DEPTH) return '[deeper]';
  if (value instanceof Map) return cleanMembers(value, depth, clean);
  if (Array.isArray(value) || value instanceof Set) {
    const items: unknown[] = [];
    for (const item of value) {
      if (items.length === MAX_FIELD_MEMBERS) {
        items.push('...');
        break;
      }
      items.push(clean('', item, depth + 1));
    }
    return items;
  }
  return cleanMembers(Object.entries(value), depth, clean);
}

function cleanMembers(entries: Iterable<readonly [unknown, unknown]>, depth: number, clean: Clean): unknown {
  const members: [string, unknown][] = [];
  for (const [key, member] of entries) {
    if (members.length === MAX_FIELD_MEMBERS) {
      members.push(['...', '...']);
      break;
    }
    members.push([String(key), clean(String(key), member, depth + 1)]);
  }
  return Object.fromEntries(members);
}
