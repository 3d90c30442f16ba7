import { CLASS, HEADER_BYTES, MAX_MESSAGE_BYTES } from './constants.ts';
import type { Name } from './name.ts';
import { lastingCopy } from './scan.ts';

/** A resource record ready to be written, class IN. Names inside `data` are uncompressed. */
export interface WireRecord {
  /** Lower-case owner name. */
  readonly name: Name;
  readonly type: number;
  /** Seconds. */
  readonly ttl: number;
  readonly data: Buffer;
}

/** The parts of a response besides its question. */
export interface MessageParts {
  /** Header flags with the low four bits of the RCODE. */
  readonly flags: number;
  readonly answers: readonly WireRecord[];
  readonly authorities?: readonly WireRecord[];
  readonly additionals?: readonly WireRecord[];
}

/** Message being written: large enough for any, used synchronously only, so one is enough for the process. */
const scratch = Buffer.allocUnsafe(MAX_MESSAGE_BYTES);
/** Pointers have 14 bits. */
const MAX_POINTER = 0x3fff;

/**
 * Writes a response behind the bytes of its question (name, type, class). Owner names are compressed, against the
 * question above all: the answer then carries the client's own spelling of the name (0x20). RDATA is not compressed,
 * as RFC 3597 4 and RFC 2782 ask. Records that do not fit into 64 KiB are left out and TC is set.
 */
export function writeMessage(question: Buffer, questionName: Name, parts: MessageParts): Buffer {
  const pointers = new Map<string, number>();
  question.copy(scratch, HEADER_BYTES);
  rememberSuffixes(pointers, questionName, HEADER_BYTES);
  let at = HEADER_BYTES + question.length;
  let flags = parts.flags;
  const counts: number[] = [];
  for (const section of [parts.answers, parts.authorities ?? [], parts.additionals ?? []]) {
    let written = 0;
    for (const record of section) {
      const next = writeRecord(record, at, pointers);
      if (next < 0) {
        flags |= 0x0200;
        break;
      }
      at = next;
      written++;
    }
    counts.push(written);
  }
  scratch.writeUInt16BE(0, 0);
  scratch.writeUInt16BE(flags, 2);
  scratch.writeUInt16BE(1, 4);
  for (let i = 0; i < 3; i++) scratch.writeUInt16BE(counts[i] as number, 6 + 2 * i);
  return lastingCopy(scratch, at);
}

function writeRecord(record: WireRecord, start: number, pointers: Map<string, number>): number {
  if (start + 255 + 10 + record.data.length > MAX_MESSAGE_BYTES) return -1;
  let at = writeCompressed(record.name, start, pointers);
  at = scratch.writeUInt16BE(record.type, at);
  at = scratch.writeUInt16BE(CLASS.IN, at);
  at = scratch.writeUInt32BE(record.ttl, at);
  at = scratch.writeUInt16BE(record.data.length, at);
  return at + record.data.copy(scratch, at);
}

function suffixKey(name: Name, from: number): string {
  // A label holds any byte but never more than 63 of them, so its length in front keeps keys apart.
  let key = '';
  for (let i = from; i < name.length; i++) key += String.fromCharCode((name[i] as string).length) + name[i];
  return key;
}

function rememberSuffixes(pointers: Map<string, number>, name: Name, start: number): void {
  let at = start;
  for (let i = 0; i < name.length && at <= MAX_POINTER; i++) {
    const key = suffixKey(name, i);
    if (!pointers.has(key)) pointers.set(key, at);
    at += (name[i] as string).length + 1;
  }
}

function writeCompressed(name: Name, start: number, pointers: Map<string, number>): number {
  let at = start;
  for (let i = 0; i < name.length; i++) {
    const key = suffixKey(name, i);
    const pointer = pointers.get(key);
    if (pointer !== undefined) return scratch.writeUInt16BE(0xc000 | pointer, at);
    if (at <= MAX_POINTER) pointers.set(key, at);
    const label = name[i] as string;
    scratch[at] = label.length;
    at += 1 + scratch.write(label, at + 1, 'latin1');
  }
  scratch[at] = 0;
  return at + 1;
}
