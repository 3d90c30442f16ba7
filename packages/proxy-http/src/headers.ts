import type { HeaderOps } from './route-model.ts';

/** Header fields in order: name, value, name, value, ... Names are lower-case, repeated fields stay apart. */
export type HeaderList = string[];

/** The value of a field; repeated ones joined by `,` (cookies by `; `). */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    found = found === undefined ? headers[i + 1] : `${found}${name === 'cookie' ? '; ' : ','}${headers[i + 1]}`;
  }
  return found;
}

/** Whether a field is there. */
export function hasHeader(headers: HeaderList, name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return true;
  return false;
}

/** Removes all fields of a name, in place. */
export function removeHeader(headers: HeaderList, name: string): void {
  if (!hasHeader(headers, name)) return;
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === name) continue;
    headers[kept++] = headers[i] as string;
    headers[kept++] = headers[i + 1] as string;
  }
  headers.length = kept;
}

/** Replaces all fields of a name by one, in place. */
export function setHeader(headers: HeaderList, name: string, value: string): void {
  removeHeader(headers, name);
  headers.push(name, value);
}

/** Fields that frame or route a message: operations of a route may not touch them. */
const RESERVED: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'upgrade',
  'keep-alive',
  'expect',
]);
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Applies a route's operations in place: remove, set, add. What could break the framing of the message is left out. */
export function applyHeaderOps(headers: HeaderList, ops: HeaderOps): void {
  for (const name of ops.remove ?? []) if (!RESERVED.has(name.toLowerCase())) removeHeader(headers, name.toLowerCase());
  for (const [name, value] of ops.set ?? []) if (isAllowed(name, value)) setHeader(headers, name.toLowerCase(), value);
  for (const [name, value] of ops.add ?? []) if (isAllowed(name, value)) headers.push(name.toLowerCase(), value);
}

function isAllowed(name: string, value: string): boolean {
  const lower = name.toLowerCase();
  return NAME.test(lower) && VALUE.test(value) && !RESERVED.has(lower);
}

/** Members of a comma-separated list, lower-case, without empty ones. */
export function listMembers(value: string): string[] {
  return value
    .toLowerCase()
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
}

/** Fields that may not stand in a trailer section (RFC 9110 6.5.1): framing, routing, controls. They are dropped there. */
export const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set([
  'transfer-encoding',
  'content-length',
  'host',
  'connection',
  'keep-alive',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'authorization',
  'cookie',
  'set-cookie',
  'cache-control',
  'content-encoding',
  'content-type',
  'content-range',
]);
