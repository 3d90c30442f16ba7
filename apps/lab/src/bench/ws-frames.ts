/*
 * WebSocket messages of one size (RFC 6455 5.2), so that both ends of the bench can count bytes instead of parsing frames and cost
 * little beside what is measured: a proxy forwards bytes after the handshake either way. The mask is zero, which leaves the payload
 * as it is.
 */

const PAYLOAD_BYTES = 64;
const BINARY_FINAL = 0x82;
const MASKED = 0x80;

/** What a client sends. */
export const MASKED_FRAME: Buffer = Buffer.concat([
  Buffer.from([BINARY_FINAL, MASKED | PAYLOAD_BYTES, 0, 0, 0, 0]),
  Buffer.alloc(PAYLOAD_BYTES, 'e'),
]);

/** What the server answers: the same payload. */
export const PLAIN_FRAME: Buffer = Buffer.concat([
  Buffer.from([BINARY_FINAL, PAYLOAD_BYTES]),
  Buffer.alloc(PAYLOAD_BYTES, 'e'),
]);
