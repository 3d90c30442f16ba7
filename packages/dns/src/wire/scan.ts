import { HEADER_BYTES, TYPE } from './constants.ts';
import { readName, skipName } from './name.ts';

/** One resource record inside a message, by offsets. */
export interface RecordSpan {
  readonly start: number;
  /** Offset of TYPE, behind the owner name. */
  readonly fixed: number;
  readonly end: number;
  readonly type: number;
}

/** A whole message, walked once and found well-formed. */
export interface MessageScan {
  readonly flags: number;
  /** Offset behind the question's name. */
  readonly nameEnd: number;
  readonly questionEnd: number;
  /** Answer, authority and additional records in order, the OPT left out. */
  readonly records: readonly RecordSpan[];
  readonly answers: number;
  readonly authorities: number;
  /** The OPT record, where present. */
  readonly opt: RecordSpan | undefined;
}

/** Offsets inside the RDATA where names stand, for the types whose names older senders may compress (RFC 3597 4). */
const RDATA_NAMES: ReadonlyMap<number, { readonly skip: number; readonly names: number; readonly tail: number }> =
  new Map([
    [TYPE.NS, { skip: 0, names: 1, tail: 0 }],
    [TYPE.CNAME, { skip: 0, names: 1, tail: 0 }],
    [TYPE.PTR, { skip: 0, names: 1, tail: 0 }],
    [TYPE.DNAME, { skip: 0, names: 1, tail: 0 }],
    [TYPE.MX, { skip: 2, names: 1, tail: 0 }],
    [TYPE.SRV, { skip: 6, names: 1, tail: 0 }],
    [TYPE.SOA, { skip: 0, names: 2, tail: 20 }],
  ]);

/**
 * Walks a message with exactly one question. Undefined when anything in it is malformed: counts that lie, names or data
 * that leave the message, pointers that do not lead backwards, addresses of the wrong length.
 */
export function scanMessage(message: Buffer): MessageScan | undefined {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) !== 1) return undefined;
  const nameEnd = skipName(message, HEADER_BYTES);
  if (nameEnd < 0 || nameEnd + 4 > message.length || readName(message, HEADER_BYTES) === undefined) return undefined;
  const answers = message.readUInt16BE(6);
  const authorities = message.readUInt16BE(8);
  const total = answers + authorities + message.readUInt16BE(10);
  const records: RecordSpan[] = [];
  let opt: RecordSpan | undefined;
  let at = nameEnd + 4;
  for (let i = 0; i < total; i++) {
    const record = scanRecord(message, at);
    if (record === undefined) return undefined;
    at = record.end;
    if (record.type !== TYPE.OPT) records.push(record);
    else if (opt !== undefined || i < answers + authorities) return undefined;
    else opt = record;
  }
  return { flags: message.readUInt16BE(2), nameEnd, questionEnd: nameEnd + 4, records, answers, authorities, opt };
}

function scanRecord(message: Buffer, start: number): RecordSpan | undefined {
  const fixed = skipName(message, start);
  if (fixed < 0 || fixed + 10 > message.length || readName(message, start) === undefined) return undefined;
  const end = fixed + 10 + message.readUInt16BE(fixed + 8);
  if (end > message.length) return undefined;
  const record = { start, fixed, end, type: message.readUInt16BE(fixed) };
  return rdataIsSound(message, record) ? record : undefined;
}

function rdataIsSound(message: Buffer, record: RecordSpan): boolean {
  const data = record.fixed + 10;
  if (record.type === TYPE.A) return record.end - data === 4;
  if (record.type === TYPE.AAAA) return record.end - data === 16;
  const shape = RDATA_NAMES.get(record.type);
  if (shape === undefined) return true;
  let at = data + shape.skip;
  for (let i = 0; i < shape.names; i++) {
    if (at >= record.end || readName(message, at) === undefined) return false;
    at = skipName(message, at);
  }
  return at + shape.tail === record.end;
}

/** TTL of a record. Values with the top bit set count as 0 (RFC 2181 8). */
export function ttlOf(message: Buffer, record: RecordSpan): number {
  const ttl = message.readUInt32BE(record.fixed + 4);
  return ttl > 0x7fff_ffff ? 0 : ttl;
}

/** RCODE with the upper bits that EDNS adds (RFC 6891 6.1.3). */
export function extendedRcode(message: Buffer, scan: MessageScan): number {
  const low = scan.flags & 15;
  return scan.opt === undefined ? low : low | ((message[scan.opt.fixed + 4] as number) << 4);
}

/** RDATA with every name expanded, so that it can stand in another message. */
export function expandRdata(message: Buffer, record: RecordSpan): Buffer {
  const data = record.fixed + 10;
  const shape = RDATA_NAMES.get(record.type);
  if (shape === undefined) return Buffer.from(message.subarray(data, record.end));
  const parts: Buffer[] = [message.subarray(data, data + shape.skip)];
  let at = data + shape.skip;
  for (let i = 0; i < shape.names; i++) {
    for (const label of readName(message, at) ?? []) {
      parts.push(Buffer.from(String.fromCharCode(label.length) + label, 'latin1'));
    }
    parts.push(Buffer.from([0]));
    at = skipName(message, at);
  }
  parts.push(message.subarray(at, record.end));
  return Buffer.concat(parts);
}

/**
 * A copy without its OPT record, which is hop-by-hop. Records behind the OPT go with it: they are additional data that
 * nobody may rely on (a TSIG at most), and moving them would break their pointers.
 */
export function withoutOpt(message: Buffer, scan: MessageScan): Buffer {
  const end = scan.opt?.start ?? scan.records.at(-1)?.end ?? scan.questionEnd;
  const copy = lastingCopy(message, end);
  const kept = scan.opt === undefined ? scan.records.length : scan.records.filter((r) => r.start < end).length;
  copy.writeUInt16BE(kept - scan.answers - scan.authorities, 10);
  return copy;
}

/**
 * A copy of the first bytes in memory of its own. What is kept for long must not come from Node's pool: a packet of 80
 * bytes would keep a whole slab of 8 KiB.
 */
export function lastingCopy(source: Buffer, end: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(end);
  source.copy(copy, 0, 0, end);
  return copy;
}
