import { FLAG, TYPE } from '../wire/constants.ts';
import type { Name } from '../wire/name.ts';
import type { Answer, Rotation } from '../wire/reply.ts';
import { scanMessage } from '../wire/scan.ts';
import { writeMessage } from '../wire/writer.ts';
import type { ZoneAnswer } from './types.ts';

const ROTATED: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.SRV]);

/**
 * Encodes an answer of the zone. All answers of a set own the question's name, so their records are independent of
 * their order and can be rotated by copying.
 */
export function encodeZoneAnswer(question: Buffer, name: Name, answer: ZoneAnswer): Answer {
  const packet = writeMessage(question, name, {
    flags: FLAG.QR | FLAG.AA | FLAG.RA | answer.rcode,
    answers: answer.answers,
    authorities: answer.authorities,
    additionals: answer.additionals,
  });
  return { packet, rotation: rotationOf(packet, answer) };
}

function rotationOf(packet: Buffer, answer: ZoneAnswer): Rotation | undefined {
  if (answer.answers.length < 2 || !answer.answers.every((record) => ROTATED.has(record.type))) return undefined;
  const scan = scanMessage(packet);
  const spans = scan?.records.slice(0, scan.answers) ?? [];
  const last = spans.at(-1);
  return last && { starts: spans.map((span) => span.start), end: last.end };
}
