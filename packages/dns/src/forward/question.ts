import { FLAG, HEADER_BYTES, TYPE } from '../wire/constants.ts';
import { KEY_CHECKING_DISABLED, KEY_DNSSEC_OK, questionKey } from '../wire/key.ts';
import { encodeName, type Name } from '../wire/name.ts';
import { filterOptions, HOP_BY_HOP } from '../wire/options.ts';
import type { QueryView } from '../wire/query.ts';
import type { Asker } from '../wire/reply.ts';

/** A question on its way to upstreams. */
export interface Question {
  /** Name (as the client spelt it), type and class. */
  readonly wire: Buffer;
  /** Equal for questions that one answer serves. */
  readonly key: string;
  readonly dnssecOk: boolean;
  readonly checkingDisabled: boolean;
  readonly recursionDesired: boolean;
  /** EDNS options to pass on, encoded; empty as a rule. */
  readonly options: Buffer;
  /** False where the answer is meant for this client only (options, RD clear). */
  readonly shared: boolean;
}

const NO_OPTIONS = Buffer.alloc(0);

/** Flags of {@link questionKey} for a query. */
export function keyFlags(view: Pick<Asker, 'flags' | 'dnssecOk'>): number {
  return (view.dnssecOk ? KEY_DNSSEC_OK : 0) | ((view.flags & FLAG.CD) !== 0 ? KEY_CHECKING_DISABLED : 0);
}

/** The options of a query that travel on. */
export function passedOptions(message: Buffer, view: Pick<QueryView, 'optionsStart' | 'optionsEnd'>): Buffer {
  if (view.optionsStart === view.optionsEnd) return NO_OPTIONS;
  return filterOptions(message, view.optionsStart, view.optionsEnd, (code) => !HOP_BY_HOP.has(code));
}

/** True when a query asks for what a shared answer gives: recursion, and no options that travel. */
export function isShared(message: Buffer, view: QueryView): boolean {
  return (view.flags & FLAG.RD) !== 0 && passedOptions(message, view).length === 0;
}

/** The question of a client's query; copies what it keeps. */
export function questionOf(message: Buffer, view: QueryView): Question {
  const options = passedOptions(message, view);
  const recursionDesired = (view.flags & FLAG.RD) !== 0;
  const shared = recursionDesired && options.length === 0;
  const plain = questionKey(message, view.nameEnd, keyFlags(view));
  return {
    wire: Buffer.from(message.subarray(HEADER_BYTES, view.questionEnd)),
    key: shared ? plain : `${plain}|${recursionDesired}|${options.toString('latin1')}`,
    dnssecOk: view.dnssecOk,
    checkingDisabled: (view.flags & FLAG.CD) !== 0,
    recursionDesired,
    options,
    shared,
  };
}

/** A question of our own, class IN. */
export function questionFor(
  name: Name,
  type: number,
  like?: Pick<Question, 'dnssecOk' | 'checkingDisabled'>,
): Question {
  const encoded = encodeName(name);
  const wire = Buffer.concat([encoded, Buffer.from([type >> 8, type & 255, 0, 1])]);
  const dnssecOk = like?.dnssecOk ?? false;
  const checkingDisabled = like?.checkingDisabled ?? false;
  const flags = keyFlags({ dnssecOk, flags: checkingDisabled ? FLAG.CD : 0 });
  const message = Buffer.concat([Buffer.alloc(HEADER_BYTES), wire]);
  return {
    wire,
    key: questionKey(message, HEADER_BYTES + encoded.length, flags),
    dnssecOk,
    checkingDisabled,
    recursionDesired: true,
    options: NO_OPTIONS,
    shared: true,
  };
}

/** The query for an upstream, id 0: an OPT only where the upstream takes it. */
export function encodeQuery(question: Question, edns: boolean, payload: number): Buffer {
  const size = HEADER_BYTES + question.wire.length + (edns ? 11 + question.options.length : 0);
  const query = Buffer.alloc(size);
  let flags = question.recursionDesired ? FLAG.RD : 0;
  if (question.checkingDisabled) flags |= FLAG.CD;
  // AD asks whether the upstream validated; the reply hides it from clients that did not ask (RFC 6840 5.7).
  flags |= FLAG.AD;
  query.writeUInt16BE(flags, 2);
  query.writeUInt16BE(1, 4);
  question.wire.copy(query, HEADER_BYTES);
  if (!edns) return query;
  query.writeUInt16BE(1, 10);
  const at = HEADER_BYTES + question.wire.length;
  query.writeUInt16BE(TYPE.OPT, at + 1);
  query.writeUInt16BE(payload, at + 3);
  query.writeUInt16BE(question.dnssecOk ? 0x8000 : 0, at + 7);
  query.writeUInt16BE(question.options.length, at + 9);
  question.options.copy(query, at + 11);
  return query;
}
