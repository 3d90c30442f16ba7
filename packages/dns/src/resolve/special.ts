import { FLAG, RCODE, TYPE } from '../wire/constants.ts';
import type { Name } from '../wire/name.ts';
import type { Answer } from '../wire/reply.ts';
import { type WireRecord, writeMessage } from '../wire/writer.ts';
import { addressRecord, nameRecord, soaRecord } from '../zone/records.ts';

/** These names never change. */
const SPECIAL_TTL_SECONDS = 86_400;
const LOCALHOST: Name = ['localhost'];
const LOOPBACK_4: Name = ['1', '0', '0', '127', 'in-addr', 'arpa'];
const LOOPBACK_6: Name = ['1', ...Array.from({ length: 31 }, () => '0'), 'ip6', 'arpa'];

/**
 * Names that no upstream may be asked for: `localhost` and its addresses, `invalid` (RFC 6761 6.3, 6.4), `onion`
 * (RFC 7686 2). Undefined for all others.
 */
export function specialAnswer(question: Buffer, name: Name, qtype: number): Answer | undefined {
  const last = name.at(-1);
  if (last === 'invalid' || last === 'onion') return negative(question, name, [last], RCODE.NXDOMAIN);
  if (last === 'localhost') {
    const addresses = ['127.0.0.1', '::1'].flatMap((ip) => addressRecord(name, SPECIAL_TTL_SECONDS, ip) ?? []);
    return positive(question, name, qtype, addresses, LOCALHOST);
  }
  if (!isLoopback(name)) return undefined;
  return positive(question, name, qtype, [nameRecord(name, TYPE.PTR, SPECIAL_TTL_SECONDS, LOCALHOST)], name);
}

function isLoopback(name: Name): boolean {
  if (name.at(-1) !== 'arpa') return false;
  return [LOOPBACK_4, LOOPBACK_6].some((own) => own.length === name.length && own.every((l, i) => l === name[i]));
}

function positive(question: Buffer, name: Name, qtype: number, records: readonly WireRecord[], zone: Name): Answer {
  const answers = records.filter((record) => record.type === qtype || qtype === TYPE.ANY);
  if (answers.length === 0) return negative(question, name, zone, RCODE.NOERROR);
  return { packet: writeMessage(question, name, { flags: FLAG.QR | FLAG.AA | FLAG.RA, answers }) };
}

function negative(question: Buffer, name: Name, zone: Name, rcode: number): Answer {
  const soa = soaRecord(zone, LOCALHOST, 1, SPECIAL_TTL_SECONDS);
  const flags = FLAG.QR | FLAG.AA | FLAG.RA | rcode;
  return { packet: writeMessage(question, name, { flags, answers: [], authorities: [soa] }) };
}
