import { CLASSIC_UDP_BYTES, FLAG, HEADER_BYTES, OPTION, TYPE } from './constants.ts';
import type { QueryView } from './query.ts';
import { scanMessage } from './scan.ts';

/**
 * Records whose order changes with every answer, by their offsets in the encoded message: `starts[i]` to `starts[i+1]`,
 * the last one to `end`. Nothing in the message may point into this region.
 */
export interface Rotation {
  readonly starts: readonly number[];
  readonly end: number;
}

/** An encoded answer without OPT, ready to be copied for any client that asks the same question. */
export interface Answer {
  readonly packet: Buffer;
  readonly rotation?: Rotation | undefined;
  /** RCODE bits above the low four. */
  readonly extendedRcode?: number | undefined;
  /** EDNS options to hand to the client, encoded. */
  readonly options?: Buffer | undefined;
}

/** An extended DNS error (RFC 8914 2) as an encoded option. */
export function extendedError(code: number, text: string): Buffer {
  const message = Buffer.from(text, 'utf8');
  const option = Buffer.allocUnsafe(6 + message.length);
  option.writeUInt16BE(OPTION.EXTENDED_ERROR, 0);
  option.writeUInt16BE(2 + message.length, 2);
  option.writeUInt16BE(code, 4);
  message.copy(option, 6);
  return option;
}

const OPT_BYTES = 11;
const NO_OPTIONS = Buffer.alloc(0);

/** What fits into a UDP response for this client. */
export function udpLimit(view: QueryView, maxUdpPayload: number): number {
  if (!view.edns) return CLASSIC_UDP_BYTES;
  return Math.min(Math.max(view.udpSize, CLASSIC_UDP_BYTES), maxUdpPayload);
}

/** What of a query decides the form of its reply; a {@link QueryView} is one. */
export type Asker = Pick<QueryView, 'id' | 'flags' | 'questionEnd' | 'edns' | 'dnssecOk'>;

/**
 * Copies an encoded answer for one client: its id, its spelling of the name, its RD and CD bits, an OPT if it sent one,
 * and no more bytes than `limit` (whole records, TC when something of the answer is missing). `turn` rotates.
 */
export function replyWith(answer: Answer, query: Buffer, view: Asker, limit: number, turn: number, ourPayload: number) {
  const { packet } = answer;
  const options = answer.options ?? NO_OPTIONS;
  const extra = view.edns ? OPT_BYTES + options.length : 0;
  if (packet.length + extra > limit) return replyTruncated(answer, query, view, limit, turn, ourPayload);
  const reply = Buffer.allocUnsafe(packet.length + extra);
  if (answer.rotation === undefined) packet.copy(reply, 0);
  else copyRotated(packet, answer.rotation, turn, reply);
  patchHeader(reply, query, view);
  if (view.edns) appendOpt(reply, packet.length, view, answer.extendedRcode ?? 0, options, ourPayload);
  return reply;
}

function copyRotated(packet: Buffer, rotation: Rotation, turn: number, out: Buffer): void {
  const { starts, end } = rotation;
  const first = starts[0] as number;
  const cut = starts[turn % starts.length] as number;
  packet.copy(out, 0, 0, first);
  packet.copy(out, first, cut, end);
  packet.copy(out, first + end - cut, first, cut);
  packet.copy(out, end, end);
}

function patchHeader(reply: Buffer, query: Buffer, view: Asker): void {
  reply[0] = view.id >> 8;
  reply[1] = view.id & 255;
  const echoed = FLAG.RD | FLAG.CD;
  let flags = ((reply[2] as number) << 8) | (reply[3] as number);
  flags = (flags & ~echoed) | (view.flags & echoed) | FLAG.QR;
  // AD says something only to who asked for it (RFC 6840 5.8).
  if (!view.dnssecOk && (view.flags & FLAG.AD) === 0) flags &= ~FLAG.AD;
  reply[2] = flags >> 8;
  reply[3] = flags & 255;
  query.copy(reply, HEADER_BYTES, HEADER_BYTES, view.questionEnd);
}

function appendOpt(reply: Buffer, at: number, view: Asker, extended: number, options: Buffer, payload: number): void {
  reply[at] = 0;
  reply.writeUInt16BE(TYPE.OPT, at + 1);
  reply.writeUInt16BE(payload, at + 3);
  reply[at + 5] = extended;
  reply[at + 6] = 0;
  reply.writeUInt16BE(view.dnssecOk ? 0x8000 : 0, at + 7);
  reply.writeUInt16BE(options.length, at + 9);
  options.copy(reply, at + OPT_BYTES);
  reply.writeUInt16BE(reply.readUInt16BE(10) + 1, 10);
}

/** Leaves out records from the end: additional ones freely, the others with TC set. Options go first. */
function replyTruncated(answer: Answer, query: Buffer, view: Asker, limit: number, turn: number, payload: number) {
  const whole = Buffer.allocUnsafe(answer.packet.length);
  if (answer.rotation === undefined) answer.packet.copy(whole);
  else copyRotated(answer.packet, answer.rotation, turn, whole);
  const room = limit - (view.edns ? OPT_BYTES : 0);
  const scan = scanMessage(whole);
  const spans = scan?.records ?? [];
  let kept = 0;
  while (kept < spans.length && (spans[kept]?.end as number) <= room) kept++;
  const cut = kept === 0 ? (scan?.questionEnd ?? view.questionEnd) : (spans[kept - 1]?.end as number);
  const answers = Math.min(kept, scan?.answers ?? 0);
  const authorities = Math.min(kept - answers, scan?.authorities ?? 0);
  const needed = (scan?.answers ?? 0) + (scan?.authorities ?? 0);
  const reply = Buffer.allocUnsafe(cut + (view.edns ? OPT_BYTES : 0));
  whole.copy(reply, 0, 0, cut);
  if (kept < needed) reply[2] = (reply[2] as number) | (FLAG.TC >> 8);
  reply.writeUInt16BE(answers, 6);
  reply.writeUInt16BE(authorities, 8);
  reply.writeUInt16BE(kept - answers - authorities, 10);
  patchHeader(reply, query, view);
  if (view.edns) appendOpt(reply, cut, view, answer.extendedRcode ?? 0, NO_OPTIONS, payload);
  return reply;
}

/** A reply that carries only an RCODE: the question where there is a readable one, and an OPT if the client sent one. */
export function replyWithError(
  query: Buffer,
  view: Asker,
  rcode: number,
  payload: number,
  options: Buffer = NO_OPTIONS,
): Buffer {
  const body = view.questionEnd === 0 ? HEADER_BYTES : view.questionEnd;
  const reply = Buffer.alloc(body + (view.edns ? OPT_BYTES + options.length : 0));
  const opcode = view.flags & 0x7800;
  reply.writeUInt16BE(FLAG.QR | opcode | FLAG.RA | (rcode & 15), 2);
  reply.writeUInt16BE(view.questionEnd === 0 ? 0 : 1, 4);
  if (view.questionEnd === 0) {
    reply.writeUInt16BE(view.id, 0);
    reply[2] = (reply[2] as number) | ((view.flags & FLAG.RD) >> 8);
  } else patchHeader(reply, query, view);
  if (view.edns) appendOpt(reply, body, view, rcode >> 4, options, payload);
  return reply;
}
