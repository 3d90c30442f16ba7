import { MeshError, type MeshErrorCode } from '@edgemesh/core';
import { TunnelError, type TunnelErrorCode } from '../errors.ts';
import type { PathKind } from '../types.ts';

/*
 * Every frame, big-endian (docs/protocol.md has the whole story):
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-+-------------+-----------------------------------------------+
 *   |U|    type     |               payload length                  |
 *   +-+-------------+-----------------------------------------------+
 *   |                          stream id                            |
 *   +---------------------------------------------------------------+
 *   |                           payload ...
 *
 * U = 1: unnumbered. Its bytes do not count in the session's byte numbering and it is never sent again on another carrier.
 */

/** Bytes of a frame header. */
export const HEADER_BYTES = 8;
/** Protocol versions that this code speaks. */
export const VERSION_MIN = 1;
export const VERSION_MAX = 1;
/** Bytes that either end may send on a fresh stream; part of the protocol, so that data can follow OPEN at once. */
export const INITIAL_WINDOW_BYTES = 262_144;
/** Most data in one frame: what a socket read yields; small enough to interleave streams. */
export const MAX_DATA_BYTES = 65_536;
/** Largest UDP payload over IPv4. */
export const MAX_UDP_BYTES = 65_507;
/** Largest packet: 64 KiB of segmentation offload and a link header, behind a virtio-net header of 10 bytes. */
export const MAX_PACKET_BYTES = 65_555;
/** Longest payload of all other frames, known and unknown; unknown ones are skipped without being kept. */
export const MAX_CONTROL_BYTES = 4096;
/** Longest payload of one REPLAY frame: an offset and repeated bytes. */
export const MAX_REPLAY_BYTES = 65_536;
/** Reason texts are cut to this many bytes. */
export const MAX_REASON_BYTES = 512;
/** Addresses of clients are cut to this many bytes. */
const MAX_CLIENT_BYTES = 255;
const MAX_UINT32 = 0xffff_ffff;

export const FRAME = {
  open: 0x01,
  accept: 0x02,
  reset: 0x03,
  data: 0x04,
  end: 0x05,
  credit: 0x06,
  hello: 0x80,
  attach: 0x81,
  start: 0x82,
  replay: 0x83,
  ack: 0x84,
  ping: 0x85,
  pong: 0x86,
  datagram: 0x87,
  goaway: 0x88,
} as const;

/** True for frames whose bytes count in the session's numbering. */
export function isNumbered(type: number): boolean {
  return type < 0x80;
}

export type StreamKind = 'tcp' | 'udp' | 'packets';
const KINDS: readonly StreamKind[] = ['tcp', 'udp', 'packets'];

/** Codes on the wire are positions in these lists: append only. */
const RESET_CODES: readonly MeshErrorCode[] = [
  'reset',
  'refused',
  'unreachable',
  'timeout',
  'forbidden',
  'unknown-node',
  'no-endpoints',
  'limit',
  'aborted',
  'session-lost',
  'protocol',
  'shutdown',
];
const PATH_CODES: readonly PathKind[] = ['lan', 'direct', 'punched', 'relayed', 'circuit'];

/** Why a carrier or a session is closed; `superseded` and `not-needed` are no failures. */
export type GoawayCode = TunnelErrorCode | 'superseded' | 'not-needed';
const GOAWAY_CODES: readonly GoawayCode[] = [
  'closed',
  'superseded',
  'not-needed',
  'protocol',
  'version',
  'secret',
  'identity',
  'timeout',
  'limit',
  'refused',
];

export function protocolError(what: string): TunnelError {
  return new TunnelError('protocol', what);
}

/** Writes a frame header at `at`. */
export function putHeader(target: Buffer, at: number, type: number, id: number, length: number): void {
  target[at] = type;
  target[at + 1] = length >>> 16;
  target[at + 2] = length >>> 8;
  target[at + 3] = length;
  target[at + 4] = id >>> 24;
  target[at + 5] = id >>> 16;
  target[at + 6] = id >>> 8;
  target[at + 7] = id;
}

/** A whole frame in a buffer of its own; for everything but data and datagrams. */
export function encodeFrame(type: number, id: number, payload: Uint8Array = NO_BYTES): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  putHeader(frame, 0, type, id, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export const NO_BYTES = new Uint8Array(0);

export interface OpenFrame {
  readonly kind: StreamKind;
  readonly address: string;
  readonly port: number;
  readonly clientAddress: string;
}

/** `kind(8) port(16) addressLength(8) address clientLength(8) client` */
export function encodeOpen(open: OpenFrame): Buffer {
  // UTF-8 takes at most three bytes for each unit of a string.
  const payload = Buffer.allocUnsafe(5 + 3 * open.address.length + MAX_CLIENT_BYTES);
  payload[0] = KINDS.indexOf(open.kind);
  payload[1] = open.port >>> 8;
  payload[2] = open.port;
  const addressBytes = payload.write(open.address, 4);
  if (addressBytes > 255) throw new MeshError('unreachable', `address of ${addressBytes} bytes is too long`);
  payload[3] = addressBytes;
  const clientBytes = payload.write(open.clientAddress, 5 + addressBytes, MAX_CLIENT_BYTES);
  payload[4 + addressBytes] = clientBytes;
  return payload.subarray(0, 5 + addressBytes + clientBytes);
}

export function decodeOpen(payload: Buffer): OpenFrame {
  const kind = KINDS[payload[0] ?? 255];
  const addressEnd = 4 + (payload[3] ?? MAX_UINT32);
  const clientEnd = addressEnd + 1 + (payload[addressEnd] ?? MAX_UINT32);
  if (clientEnd > payload.length || kind === undefined) throw protocolError('malformed OPEN');
  return {
    kind,
    port: payload.readUInt16BE(1),
    address: payload.toString('utf8', 4, addressEnd),
    clientAddress: payload.toString('utf8', addressEnd + 1, clientEnd),
  };
}

/** `code(8) flags(8) reason`; bit 0 of flags: nothing was delivered, another endpoint may be tried. */
export function encodeReset(error: MeshError): Buffer {
  const reason = Buffer.from(error.message).subarray(0, MAX_REASON_BYTES);
  const code = Math.max(0, RESET_CODES.indexOf(error.code));
  return Buffer.concat([Buffer.of(code, error.retryable ? 1 : 0), reason]);
}

/** What the far side's abort means here: its `aborted` is our `reset`. */
export function decodeReset(payload: Buffer): { code: MeshErrorCode; reason: string; retryable: boolean } {
  if (payload.length < 2) throw protocolError('malformed RESET');
  const code = RESET_CODES[payload[0] as number] ?? 'reset';
  const reason = payload.toString('utf8', 2, 2 + MAX_REASON_BYTES);
  return { code: code === 'aborted' ? 'reset' : code, reason, retryable: ((payload[1] as number) & 1) === 1 };
}

export function encodeCredit(bytes: number): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32BE(bytes);
  return payload;
}

export function decodeCredit(payload: Buffer): number {
  if (payload.length < 4) throw protocolError('malformed CREDIT');
  return payload.readUInt32BE(0);
}

/** Byte offsets of a session: 64 bits on the wire, below 2^53 here (9 PB). */
export function encodeOffset(offset: number): Buffer {
  const payload = Buffer.allocUnsafe(8);
  putOffset(payload, 0, offset);
  return payload;
}

export function putOffset(target: Buffer, at: number, offset: number): void {
  target.writeUInt32BE(Math.floor(offset / 2 ** 32), at);
  target.writeUInt32BE(offset % 2 ** 32, at + 4);
}

export function readOffset(payload: Buffer, at = 0): number {
  if (payload.length < at + 8) throw protocolError('malformed offset');
  const offset = payload.readUInt32BE(at) * 2 ** 32 + payload.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(offset)) throw protocolError('offset out of range');
  return offset;
}

export interface HelloFrame {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly nodeName: string;
  /** One HMAC per mesh secret that the sender accepts. */
  readonly proofs: readonly Buffer[];
}

const PROOF_BYTES = 32;

/** `versionMin(8) versionMax(8) nameLength(8) name proofCount(8) proofs(32 each)`, more may follow and is ignored. */
export function encodeHello(hello: HelloFrame): Buffer {
  const name = Buffer.from(hello.nodeName).subarray(0, 255);
  return Buffer.concat([
    Buffer.of(hello.versionMin, hello.versionMax, name.length),
    name,
    Buffer.of(hello.proofs.length),
    ...hello.proofs,
  ]);
}

export function decodeHello(payload: Buffer): HelloFrame {
  const [versionMin, versionMax, nameLength] = payload;
  if (versionMin === undefined || versionMax === undefined || nameLength === undefined)
    throw protocolError('malformed HELLO');
  const nameEnd = 3 + nameLength;
  const count = payload[nameEnd];
  const proofsEnd = nameEnd + 1 + (count ?? 0) * PROOF_BYTES;
  if (count === undefined || proofsEnd > payload.length) throw protocolError('malformed HELLO');
  const proofs = Array.from({ length: count }, (_, i) =>
    payload.subarray(nameEnd + 1 + i * PROOF_BYTES, nameEnd + 1 + (i + 1) * PROOF_BYTES),
  );
  return { versionMin, versionMax, nodeName: payload.toString('utf8', 3, nameEnd), proofs };
}

/** Bytes of a session id. */
export const SESSION_ID_BYTES = 16;

export interface AttachFrame {
  /** The sender's id of this session; new after each restart or loss. */
  readonly localId: string;
  /** What the sender believes to be the receiver's id; empty when it does not know. */
  readonly remoteId: string;
  /** Numbered bytes that the sender has received. */
  readonly received: number;
  /** Number of the last START that the sender has received in this session. */
  readonly lastStart: number;
  readonly path: PathKind;
  /** The sender had a carrier, lost it, and has no other. */
  readonly needed: boolean;
  /** The sender wants this carrier even where it does not look better. */
  readonly preferred: boolean;
}

/** `localId(128) remoteId(128, zero = unknown) received(64) lastStart(32) path(8) flags(8)` */
export function encodeAttach(attach: AttachFrame): Buffer {
  const payload = Buffer.alloc(46);
  payload.write(attach.localId, 0, 'hex');
  payload.write(attach.remoteId, SESSION_ID_BYTES, 'hex');
  putOffset(payload, 32, attach.received);
  payload.writeUInt32BE(attach.lastStart, 40);
  payload[44] = PATH_CODES.indexOf(attach.path);
  payload[45] = (attach.needed ? 1 : 0) | (attach.preferred ? 2 : 0);
  return payload;
}

export function decodeAttach(payload: Buffer): AttachFrame {
  const path = PATH_CODES[payload[44] ?? 255];
  const flags = payload[45];
  if (path === undefined || flags === undefined) throw protocolError('malformed ATTACH');
  const remoteId = payload.toString('hex', SESSION_ID_BYTES, 2 * SESSION_ID_BYTES);
  return {
    localId: payload.toString('hex', 0, SESSION_ID_BYTES),
    remoteId: /^0*$/.test(remoteId) ? '' : remoteId,
    received: readOffset(payload, 32),
    lastStart: payload.readUInt32BE(40),
    path,
    needed: (flags & 1) !== 0,
    preferred: (flags & 2) !== 0,
  };
}

export interface StartFrame {
  /** Counts the carriers on which this direction has begun or gone on; the highest is the one that counts. */
  readonly number: number;
  /** The session offset from which bytes are repeated, in REPLAY frames. */
  readonly from: number;
  /** The session offset at which new frames begin. */
  readonly to: number;
}

/** `number(32) from(64) to(64)` */
export function encodeStart(start: StartFrame): Buffer {
  const payload = Buffer.allocUnsafe(20);
  payload.writeUInt32BE(start.number);
  putOffset(payload, 4, start.from);
  putOffset(payload, 12, start.to);
  return payload;
}

export function decodeStart(payload: Buffer): StartFrame {
  if (payload.length < 20) throw protocolError('malformed START');
  const start = { number: payload.readUInt32BE(0), from: readOffset(payload, 4), to: readOffset(payload, 12) };
  if (start.from > start.to) throw protocolError('malformed START');
  return start;
}

/** `offset(64) bytes` */
export function encodeReplay(offset: number, bytes: Buffer): Buffer {
  return Buffer.concat([encodeOffset(offset), bytes]);
}

export function decodeReplay(payload: Buffer): { offset: number; bytes: Buffer } {
  return { offset: readOffset(payload), bytes: payload.subarray(8) };
}

/** `code(8) reason` */
export function encodeGoaway(code: GoawayCode, reason: string): Buffer {
  const at = GOAWAY_CODES.indexOf(code);
  return Buffer.concat([
    Buffer.of(at < 0 ? GOAWAY_CODES.indexOf('refused') : at),
    Buffer.from(reason).subarray(0, MAX_REASON_BYTES),
  ]);
}

export function decodeGoaway(payload: Buffer): { code: GoawayCode; reason: string } {
  return {
    code: GOAWAY_CODES[payload[0] ?? 0] ?? 'refused',
    reason: payload.toString('utf8', 1, 1 + MAX_REASON_BYTES),
  };
}
