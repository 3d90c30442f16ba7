import type { Socket } from 'node:net';
import type { DataPreamble } from '../../types.ts';

/**
 * First bytes of every data-plane socket. Control connections start with a random 24-byte pnet nonce instead, so both
 * share one port: the chance of a nonce that looks like this is 2^-128.
 *
 * ```
 *  0               16      17                             49
 * +---------------+-------+------------------------------+
 * | magic         | kind  | ticket (kind 2 only)         |
 * +---------------+-------+------------------------------+
 * ```
 */
export const DATA_MAGIC: Uint8Array = Uint8Array.from([
  0xe7, 0x3c, 0x91, 0x5a, 0xd2, 0x08, 0xb6, 0x4f, 0x1d, 0xca, 0x63, 0xf8, 0x27, 0x9e, 0x50, 0xab,
]);

/** Length of a relay ticket in bytes. */
export const TICKET_BYTES = 32;

const KIND_DIRECT = 1;
const KIND_TICKET = 2;
const KIND_OBSERVE = 3;
const HEADER_BYTES = DATA_MAGIC.length + 1;

/** What the first bytes of an accepted socket say so far. */
export type PreambleVerdict =
  | { readonly type: 'incomplete' }
  /** Not the data plane: everything belongs to libp2p. */
  | { readonly type: 'control' }
  /** Data plane; what follows `consumed` bytes belongs to the session. */
  | { readonly type: 'data'; readonly preamble: DataPreamble; readonly consumed: number }
  /** The magic, then a kind that we do not know. */
  | { readonly type: 'unknown-kind'; readonly kind: number };

/** Judges the first bytes of a socket. The first byte that differs from the magic decides at once. */
export function readPreamble(bytes: Uint8Array): PreambleVerdict {
  const compared = Math.min(bytes.length, DATA_MAGIC.length);
  for (let i = 0; i < compared; i++) if (bytes[i] !== DATA_MAGIC[i]) return { type: 'control' };
  if (bytes.length < HEADER_BYTES) return { type: 'incomplete' };
  const kind = bytes[DATA_MAGIC.length] as number;
  if (kind === KIND_DIRECT) return { type: 'data', preamble: { kind: 'direct' }, consumed: HEADER_BYTES };
  if (kind === KIND_OBSERVE) return { type: 'data', preamble: { kind: 'observe' }, consumed: HEADER_BYTES };
  if (kind !== KIND_TICKET) return { type: 'unknown-kind', kind };
  const consumed = HEADER_BYTES + TICKET_BYTES;
  if (bytes.length < consumed) return { type: 'incomplete' };
  // a copy: slice() of a Buffer would be a view of the receive buffer
  const ticket = Uint8Array.from(bytes.subarray(HEADER_BYTES, consumed));
  return { type: 'data', preamble: { kind: 'ticket', ticket }, consumed };
}

/** The bytes that announce a data socket. Throws RangeError when the ticket does not have {@link TICKET_BYTES} bytes. */
export function encodePreamble(preamble: DataPreamble): Uint8Array {
  if (preamble.kind === 'direct') return Uint8Array.from([...DATA_MAGIC, KIND_DIRECT]);
  if (preamble.kind === 'observe') return Uint8Array.from([...DATA_MAGIC, KIND_OBSERVE]);
  if (preamble.ticket.length !== TICKET_BYTES) {
    throw new RangeError(`a ticket has ${TICKET_BYTES} bytes, not ${preamble.ticket.length}`);
  }
  return Uint8Array.from([...DATA_MAGIC, KIND_TICKET, ...preamble.ticket]);
}

/** Writes the preamble to a socket that we have dialled; the session's own bytes follow it on the same socket. */
export function writePreamble(socket: Socket, preamble: DataPreamble): void {
  socket.write(encodePreamble(preamble));
}
