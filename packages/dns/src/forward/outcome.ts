import { FLAG, HEADER_BYTES } from '../wire/constants.ts';
import { skipName } from '../wire/name.ts';
import { extendedRcode, type MessageScan, scanMessage } from '../wire/scan.ts';

/** Why an upstream gave no usable answer. */
export type UpstreamFailure = 'timeout' | 'refused' | 'unreachable' | 'socket' | 'closed';

/** A validated answer of an upstream. */
export interface UpstreamReply {
  readonly kind: 'reply';
  readonly message: Buffer;
  /** Absent when the answer is truncated in the middle of a record. */
  readonly scan: MessageScan | undefined;
  readonly rcode: number;
  readonly truncated: boolean;
}

export type Outcome = UpstreamReply | { readonly kind: 'failure'; readonly reason: UpstreamFailure };
export type Done = (outcome: Outcome) => void;

export function failure(reason: UpstreamFailure): Outcome {
  return { kind: 'failure', reason };
}

/**
 * Reads a message as the answer to `question` (name, type, class). Undefined for anything else: queries, other
 * questions, malformed data. The caller has matched the id and keeps waiting on undefined, so that a forged or stray
 * datagram can not spoil the real answer.
 */
export function readReply(message: Buffer, question: Buffer): UpstreamReply | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.QR) === 0 || (flags & 0x7800) !== 0) return undefined;
  const truncated = (flags & FLAG.TC) !== 0;
  const scan = scanMessage(message);
  if (scan === undefined) {
    // RFC 6891 7: a server that does not know EDNS may answer FORMERR with nothing but the header.
    const bare = message.readUInt16BE(4) === 0 && message.length === HEADER_BYTES && (flags & 15) !== 0;
    if (bare) return { kind: 'reply', message, scan, rcode: flags & 15, truncated: false };
    if (!truncated || !asks(message, question)) return undefined;
    return { kind: 'reply', message, scan, rcode: flags & 15, truncated };
  }
  if (!asks(message, question)) return undefined;
  return { kind: 'reply', message, scan, rcode: extendedRcode(message, scan), truncated };
}

/** Same name but for the case of ASCII letters, same type and class. */
function asks(message: Buffer, question: Buffer): boolean {
  const end = HEADER_BYTES + question.length;
  const nameEnd = skipName(message, HEADER_BYTES);
  if (message.readUInt16BE(4) !== 1 || message.length < end || nameEnd + 4 !== end) return false;
  const nameBytes = question.length - 4;
  for (let i = 0; i < question.length; i++) {
    const ours = question[i] as number;
    const theirs = message[HEADER_BYTES + i] as number;
    if (ours === theirs) continue;
    const letter = (ours | 32) >= 97 && (ours | 32) <= 122;
    if (i >= nameBytes || !letter || (ours ^ theirs) !== 32) return false;
  }
  return true;
}
