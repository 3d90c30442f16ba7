import { HEADER_BYTES } from './constants.ts';

const scratch = Buffer.allocUnsafe(512);

/** Flags that make two otherwise equal questions different to an upstream. */
export const KEY_DNSSEC_OK = 1;
export const KEY_CHECKING_DISABLED = 2;

/**
 * Cache key of a question: its raw bytes with ASCII letters in lower case, so that one entry serves every spelling of a
 * name, and one byte of flags. Length bytes are below 64 and can not be mistaken for letters.
 */
export function questionKey(message: Buffer, nameEnd: number, flags: number): string {
  let out = 0;
  for (let at = HEADER_BYTES; at < nameEnd; at++) {
    const byte = message[at] as number;
    scratch[out++] = byte >= 65 && byte <= 90 ? byte | 32 : byte;
  }
  for (let i = 0; i < 4; i++) scratch[out++] = message[nameEnd + i] as number;
  scratch[out++] = flags;
  return scratch.toString('latin1', 0, out);
}
