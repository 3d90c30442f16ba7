import { randomBytes } from 'node:crypto';

/** Enough for some 170 requests: the generator is asked once for all of them. */
const STORE_BYTES = 4_096;
const VARIANTS = ['8', '9', 'a', 'b'] as const;
let store = '';
let used = 0;

/** Lower-case hexadecimal digits of the system's random generator. */
export function randomDigits(count: number): string {
  if (used + count > store.length) {
    store = randomBytes(STORE_BYTES).toString('hex');
    used = 0;
  }
  used += count;
  return store.slice(used - count, used);
}

/** The 32 digits of a random UUID (RFC 9562 5.4), which are a trace id as well. */
export function randomUuidDigits(): string {
  const digits = randomDigits(32);
  const variant = VARIANTS[digits.charCodeAt(16) & 3] as string;
  return `${digits.slice(0, 12)}4${digits.slice(13, 16)}${variant}${digits.slice(17)}`;
}

/** Writes 32 digits as a UUID. */
export function uuidOf(digits: string): string {
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`;
}
