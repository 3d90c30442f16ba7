import { HEADER_BYTES, MAX_LABEL_BYTES, MAX_NAME_BYTES } from './constants.ts';

/**
 * A domain name as its labels, leftmost first, without the root; each character is one byte (latin1). Labels instead of
 * dotted text, because a label may contain a dot or any other byte (RFC 2181 11).
 */
export type Name = readonly string[];

/** Labels of dotted text, lower-cased; undefined when a label is empty or too long, or the whole is. No escapes. */
export function parseName(text: string): Name | undefined {
  const trimmed = text.endsWith('.') ? text.slice(0, -1) : text;
  if (trimmed === '') return [];
  const labels = trimmed.toLowerCase().split('.');
  let bytes = 1;
  for (const label of labels) {
    if (label.length === 0 || label.length > MAX_LABEL_BYTES || !isLatin1(label)) return undefined;
    bytes += label.length + 1;
  }
  return bytes > MAX_NAME_BYTES ? undefined : labels;
}

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 255) return false;
  return true;
}

/** Dotted text for logs and status, absolute (with the final dot). Unprintable bytes and dots are escaped as `\DDD`. */
export function formatName(name: Name): string {
  if (name.length === 0) return '.';
  const escapeLabel = (label: string) =>
    label.replace(/[^!-~]|[.\\]/g, (c) => `\\${String(c.charCodeAt(0)).padStart(3, '0')}`);
  return `${name.map(escapeLabel).join('.')}.`;
}

/** True when `name` is `zone` or below it. Both lower-case. */
export function isWithin(name: Name, zone: Name): boolean {
  const skip = name.length - zone.length;
  if (skip < 0) return false;
  for (let i = 0; i < zone.length; i++) if (name[skip + i] !== zone[i]) return false;
  return true;
}

/** Lower-cases ASCII letters only: other bytes are opaque (RFC 4343 3). */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Wire form, uncompressed. */
export function encodeName(name: Name): Buffer {
  return Buffer.from(`${name.map((label) => String.fromCharCode(label.length) + label).join('')}\0`, 'latin1');
}

/** Offset behind the name at `offset`, or -1 when it is malformed or leaves the message. Pointers are not followed. */
export function skipName(message: Buffer, offset: number): number {
  let at = offset;
  while (at < message.length) {
    const length = message[at] as number;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= message.length ? at + 2 : -1;
    if (length > MAX_LABEL_BYTES) return -1;
    at += length + 1;
  }
  return -1;
}

/**
 * Labels of the name at `offset`, pointers followed; undefined when malformed. A pointer must lead before the place it
 * was reached from (RFC 1035 4.1.4: a prior occurrence), and what is read there must end before that place too. So no message can
 * make this loop, and no name is made of its own pointer's bytes.
 */
export function readName(message: Buffer, offset: number): Name | undefined {
  const labels: string[] = [];
  let at = offset;
  let floor = offset;
  let end = message.length;
  let bytes = 1;
  for (;;) {
    if (at >= end) return undefined;
    const length = message[at] as number;
    if (length === 0) return labels;
    if (length >= 0xc0) {
      if (at + 2 > end) return undefined;
      const low = message[at + 1] as number;
      at = ((length & 0x3f) << 8) | low;
      // Into the header: its flags are no name, and they are rewritten when an answer is passed on.
      if (at >= floor || at < HEADER_BYTES) return undefined;
      end = floor;
      floor = at;
      continue;
    }
    if (length > MAX_LABEL_BYTES || at + 1 + length > end) return undefined;
    bytes += length + 1;
    if (bytes > MAX_NAME_BYTES) return undefined;
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += length + 1;
  }
}
