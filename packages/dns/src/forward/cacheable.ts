import type { CacheOptions } from '../options.ts';
import { FLAG, HEADER_BYTES, OPTION, RCODE, TYPE } from '../wire/constants.ts';
import { filterOptions, HOP_BY_HOP } from '../wire/options.ts';
import type { Answer, Rotation } from '../wire/reply.ts';
import { type MessageScan, ttlOf, withoutOpt } from '../wire/scan.ts';
import type { UpstreamReply } from './outcome.ts';

/** An upstream answer made ready for clients: without OPT, its TTLs capped and their places known. */
export interface Stored {
  readonly answer: Answer;
  readonly rcode: number;
  /** Offsets of the TTL fields and the values they had on arrival, seconds. */
  readonly ttlOffsets: readonly number[];
  readonly ttls: readonly number[];
  /** How long the answer may be given, seconds; 0 means not at all to others. */
  readonly lifetimeSeconds: number;
}

type Caps = Required<Pick<CacheOptions, 'maxTtlSeconds' | 'maxNegativeTtlSeconds'>>;

/**
 * Prepares a reply; undefined when its records could not be read (cut off in the middle). Of its EDNS options a shared
 * answer keeps the extended errors only.
 */
export function prepare(reply: UpstreamReply, caps: Caps, shared: boolean): Stored | undefined {
  const { message, scan } = reply;
  if (scan === undefined) return undefined;
  const packet = withoutOpt(message, scan);
  // We are not the authority, we do recurse, and reserved bits end here.
  packet.writeUInt16BE(FLAG.QR | FLAG.RA | (scan.flags & (FLAG.AD | FLAG.TC | 15)), 2);
  const records = scan.records.filter((record) => record.end <= packet.length);
  const negativeTtl = negativeTtlOf(message, scan, reply.rcode);
  const cap = negativeTtl === undefined ? caps.maxTtlSeconds : caps.maxNegativeTtlSeconds;
  const ttls = records.map((record) => Math.min(ttlOf(message, record), cap));
  const ttlOffsets = records.map((record) => record.fixed + 4);
  for (const [i, offset] of ttlOffsets.entries()) packet.writeUInt32BE(ttls[i] as number, offset);
  const settled = reply.rcode === RCODE.NOERROR || reply.rcode === RCODE.NXDOMAIN;
  const denied = reply.rcode === RCODE.NXDOMAIN || !hasAnswer(message, scan);
  // A denial without SOA says nothing about how long it holds and is not kept (RFC 2308 5).
  const keep = settled && !reply.truncated && (!denied || negativeTtl !== undefined);
  const lifetimeSeconds = keep ? Math.min(...ttls, denied ? (negativeTtl as number) : cap, cap) : 0;
  return {
    answer: {
      packet,
      rotation: rotationOf(packet, scan),
      extendedRcode: reply.rcode >> 4,
      options: optionsOf(reply, shared),
    },
    rcode: reply.rcode,
    ttlOffsets,
    ttls,
    lifetimeSeconds,
  };
}

function optionsOf({ message, scan }: UpstreamReply, shared: boolean): Buffer | undefined {
  if (scan?.opt === undefined) return undefined;
  const keep = (code: number) => (shared ? code === OPTION.EXTENDED_ERROR : !HOP_BY_HOP.has(code));
  const options = filterOptions(message, scan.opt.fixed + 10, scan.opt.end, keep);
  return options.length === 0 ? undefined : options;
}

function hasAnswer(message: Buffer, scan: MessageScan): boolean {
  const qtype = message.readUInt16BE(scan.nameEnd);
  const answers = scan.records.slice(0, scan.answers);
  if (qtype === TYPE.ANY) return answers.length > 0;
  return answers.some((record) => record.type === qtype);
}

/** TTL of a denial: the lesser of the SOA's TTL and its minimum (RFC 2308 5); undefined where there is none. */
function negativeTtlOf(message: Buffer, scan: MessageScan, rcode: number): number | undefined {
  if (rcode !== RCODE.NXDOMAIN && hasAnswer(message, scan)) return undefined;
  const authorities = scan.records.slice(scan.answers, scan.answers + scan.authorities);
  const soa = authorities.find((record) => record.type === TYPE.SOA);
  return soa && Math.min(ttlOf(message, soa), message.readUInt32BE(soa.end - 4));
}

/** Address sets rotate when they are all there is behind the question's own name, so that nothing can point at them. */
function rotationOf(packet: Buffer, scan: MessageScan): Rotation | undefined {
  const spans = scan.records;
  if (spans.length < 2 || spans.length !== scan.answers) return undefined;
  const toQuestion = 0xc000 | HEADER_BYTES;
  const same = spans.every(
    (span) =>
      (span.type === TYPE.A || span.type === TYPE.AAAA) &&
      span.fixed === span.start + 2 &&
      packet.readUInt16BE(span.start) === toQuestion,
  );
  return same ? { starts: spans.map((span) => span.start), end: spans.at(-1)?.end as number } : undefined;
}
