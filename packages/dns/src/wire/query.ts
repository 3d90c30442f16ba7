import { CLASS, FLAG, HEADER_BYTES, MAX_NAME_BYTES, RCODE, TYPE } from './constants.ts';
import { skipName } from './name.ts';

/**
 * What the server needs of one query, read in place. One instance is reused for every datagram, so that the hot path
 * allocates nothing: whoever answers later copies what it needs.
 *
 * ```
 *   0               2               4       6       8      10      12
 *   | id            | flags         | QD=1  | AN    | NS    | AR    | name | type | class | records ...
 *                     QR opcode AA TC RD RA Z AD CD rcode            ^12           questionEnd
 * ```
 */
export interface QueryView {
  id: number;
  flags: number;
  /** Offset of the question's type, right behind its name; 0 when there is no readable question. */
  nameEnd: number;
  /** Offset behind the question; 0 when there is no readable question. */
  questionEnd: number;
  qtype: number;
  qclass: number;
  edns: boolean;
  /** Requestor's UDP payload size; 0 without EDNS. */
  udpSize: number;
  dnssecOk: boolean;
  /** Offsets of the EDNS options; equal when there are none. */
  optionsStart: number;
  optionsEnd: number;
}

/** A fresh view for {@link parseQuery}. */
export function createQueryView(): QueryView {
  return {
    id: 0,
    flags: 0,
    nameEnd: 0,
    questionEnd: 0,
    qtype: 0,
    qclass: 0,
    edns: false,
    udpSize: 0,
    dnssecOk: false,
    optionsStart: 0,
    optionsEnd: 0,
  };
}

/** Verdict of {@link parseQuery}: this message gets no answer at all. */
export const DROP = -1;

/**
 * The guard at the door: fills the view and says what to do. `DROP` for what must not be answered (shorter than a
 * header, or itself a response: answering would let two servers talk forever), 0 for a query to be answered, else the
 * RCODE to refuse it with. Never throws, whatever the bytes.
 */
export function parseQuery(message: Buffer, view: QueryView): number {
  if (message.length < HEADER_BYTES) return DROP;
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.QR) !== 0) return DROP;
  view.id = message.readUInt16BE(0);
  view.flags = flags;
  view.questionEnd = 0;
  view.nameEnd = 0;
  view.edns = false;
  view.udpSize = 0;
  view.dnssecOk = false;
  view.optionsStart = 0;
  view.optionsEnd = 0;
  if ((flags & 0x7800) !== 0) return RCODE.NOTIMP;
  if (message.readUInt16BE(4) !== 1) return RCODE.FORMERR;
  const nameEnd = questionNameEnd(message);
  if (nameEnd < 0 || nameEnd + 4 > message.length) return RCODE.FORMERR;
  view.nameEnd = nameEnd;
  view.questionEnd = nameEnd + 4;
  view.qtype = message.readUInt16BE(nameEnd);
  view.qclass = message.readUInt16BE(nameEnd + 2);
  const before = message.readUInt16BE(6) + message.readUInt16BE(8);
  const additional = message.readUInt16BE(10);
  if (before + additional !== 0) {
    const verdict = readRecords(message, before, additional, view);
    if (verdict !== RCODE.NOERROR) return verdict;
  }
  return judgeQuestion(view);
}

/** The question's name may not be compressed: nothing but the header stands before it. */
function questionNameEnd(message: Buffer): number {
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return -1;
    at += length + 1;
    if (at - HEADER_BYTES > MAX_NAME_BYTES) return -1;
    if (length === 0) return at;
  }
}

function readRecords(message: Buffer, before: number, additional: number, view: QueryView): number {
  let at = view.questionEnd;
  for (let i = 0; i < before + additional; i++) {
    const fixed = skipName(message, at);
    if (fixed < 0 || fixed + 10 > message.length) return RCODE.FORMERR;
    const end = fixed + 10 + message.readUInt16BE(fixed + 8);
    if (end > message.length) return RCODE.FORMERR;
    if (message.readUInt16BE(fixed) === TYPE.OPT) {
      // One OPT, owned by the root, among the additional records (RFC 6891 6.1.1).
      if (i < before || view.edns || fixed !== at + 1) return RCODE.FORMERR;
      const verdict = readOpt(message, fixed, end, view);
      if (verdict !== RCODE.NOERROR) return verdict;
    }
    at = end;
  }
  return RCODE.NOERROR;
}

function readOpt(message: Buffer, fixed: number, end: number, view: QueryView): number {
  view.edns = true;
  view.udpSize = message.readUInt16BE(fixed + 2);
  view.dnssecOk = (message.readUInt16BE(fixed + 6) & 0x8000) !== 0;
  view.optionsStart = fixed + 10;
  view.optionsEnd = end;
  if (message[fixed + 5] !== 0) return RCODE.BADVERS;
  for (let at = fixed + 10; at < end; ) {
    if (at + 4 > end) return RCODE.FORMERR;
    at += 4 + message.readUInt16BE(at + 2);
    if (at > end) return RCODE.FORMERR;
  }
  return RCODE.NOERROR;
}

function judgeQuestion(view: QueryView): number {
  if (view.qclass !== CLASS.IN) return RCODE.REFUSED;
  if (view.qtype < TYPE.TKEY) return view.qtype === TYPE.OPT || view.qtype === 0 ? RCODE.FORMERR : RCODE.NOERROR;
  if (view.qtype === TYPE.AXFR || view.qtype === TYPE.IXFR) return RCODE.REFUSED;
  return view.qtype < TYPE.ANY ? RCODE.NOTIMP : RCODE.NOERROR;
}
