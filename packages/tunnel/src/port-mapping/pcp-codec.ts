import { formatIp, parseIp } from '@edgemesh/core';
import type { MappingRequest } from './protocol.ts';

/** Both protocols listen here, on the router. */
export const PCP_PORT = 5_351;
/** Bytes that tell one request of ours from another. */
export const NONCE_BYTES = 12;

const PCP_VERSION = 2;
const OP_MAP = 1;
const RESPONSE = 0x80;
const TCP = 6;
const PMP_OP_ADDRESS = 0;
const PMP_OP_TCP = 2;
const PCP_BYTES = 60;
const PMP_ADDRESS_BYTES = 12;
const PMP_MAP_BYTES = 16;

/** What an answer says; `unsupported` is a router of the other protocol's version. */
export type Answer<T> =
  | { readonly type: 'ok'; readonly value: T }
  | { readonly type: 'unsupported' }
  | { readonly type: 'refused'; readonly code: number };

export interface GrantedPort {
  readonly externalPort: number;
  readonly lifetimeSeconds: number;
}

/**
 * A MAP request of PCP (RFC 6887, 7.1 and 11.1), lifetime 0 takes the mapping back:
 *
 * ```
 *  0         1         2                   4                   8                     24
 * +---------+---------+-------------------+-------------------+---------------------+
 * | version | opcode  | reserved          | lifetime (s)      | our address (IPv6)  |
 * +---------+---------+-------------------+---------+---------+---------------------+
 * | nonce (12)                            | proto   | reserved (3)                  |  24..40
 * +-------------------+-------------------+---------+-------------------------------+
 * | internal port     | external port     | suggested external address (16)         |  40..60
 * +-------------------+-------------------+-----------------------------------------+
 * ```
 */
export function encodePcpMap(request: MappingRequest, clientHost: string, nonce: Uint8Array): Buffer {
  const bytes = Buffer.alloc(PCP_BYTES);
  bytes[0] = PCP_VERSION;
  bytes[1] = OP_MAP;
  bytes.writeUInt32BE(request.lifetimeSeconds, 4);
  bytes.set(mapped(clientHost), 8);
  bytes.set(nonce, 24);
  bytes[36] = TCP;
  bytes.writeUInt16BE(request.internalPort, 40);
  bytes.writeUInt16BE(request.externalPort, 42);
  bytes.set(mapped('0.0.0.0'), 44);
  return bytes;
}

/** The answer to our request; undefined for anything else. */
export function decodePcpMap(
  bytes: Buffer,
  request: MappingRequest,
  nonce: Uint8Array,
): Answer<GrantedPort & { readonly externalHost: string }> | undefined {
  const [version, op] = bytes;
  if (version !== PCP_VERSION)
    return version === 0 && ((op ?? 0) & RESPONSE) !== 0 ? { type: 'unsupported' } : undefined;
  if (op !== (OP_MAP | RESPONSE) || bytes.length < 24) return undefined;
  const code = bytes[3] as number;
  if (code === 1) return { type: 'unsupported' };
  if (bytes.length < PCP_BYTES || !bytes.subarray(24, 24 + NONCE_BYTES).equals(nonce)) return undefined;
  if (bytes[36] !== TCP || bytes.readUInt16BE(40) !== request.internalPort) return undefined;
  if (code !== 0) return { type: 'refused', code };
  return {
    type: 'ok',
    value: {
      externalHost: unmapped(bytes.subarray(44, 60)),
      externalPort: bytes.readUInt16BE(42),
      lifetimeSeconds: bytes.readUInt32BE(4),
    },
  };
}

/** Asks a NAT-PMP router for its outer address (RFC 6886, 3.2). */
export function encodePmpAddress(): Buffer {
  return Buffer.from([0, PMP_OP_ADDRESS]);
}

export function decodePmpAddress(bytes: Buffer): Answer<string> | undefined {
  const failure = pmpFailure(bytes, PMP_OP_ADDRESS);
  if (failure !== 'none') return failure;
  if (bytes.length < PMP_ADDRESS_BYTES) return undefined;
  return { type: 'ok', value: formatIp(bytes.subarray(8, 12)) };
}

/**
 * Asks a NAT-PMP router for a TCP port (RFC 6886, 3.3), lifetime 0 takes it back:
 *
 * ```
 * +---------+---------+----------+---------------+---------------+--------------+
 * | version | opcode  | reserved | internal port | external port | lifetime (s) |
 * +---------+---------+----------+---------------+---------------+--------------+
 *  0         1         2          4               6               8            12
 * ```
 */
export function encodePmpMap(request: MappingRequest): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[1] = PMP_OP_TCP;
  bytes.writeUInt16BE(request.internalPort, 4);
  bytes.writeUInt16BE(request.lifetimeSeconds === 0 ? 0 : request.externalPort, 6);
  bytes.writeUInt32BE(request.lifetimeSeconds, 8);
  return bytes;
}

export function decodePmpMap(bytes: Buffer, request: MappingRequest): Answer<GrantedPort> | undefined {
  const failure = pmpFailure(bytes, PMP_OP_TCP);
  if (failure !== 'none') return failure;
  if (bytes.length < PMP_MAP_BYTES || bytes.readUInt16BE(8) !== request.internalPort) return undefined;
  return { type: 'ok', value: { externalPort: bytes.readUInt16BE(10), lifetimeSeconds: bytes.readUInt32BE(12) } };
}

function pmpFailure(bytes: Buffer, op: number): Answer<never> | undefined | 'none' {
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== (op | RESPONSE)) return undefined;
  const code = bytes.readUInt16BE(2);
  if (code === 0) return 'none';
  return code === 1 ? { type: 'unsupported' } : { type: 'refused', code };
}

/** IPv4 as `::ffff:a.b.c.d`, as PCP writes all addresses. */
function mapped(host: string): Uint8Array {
  const bytes = parseIp(host) ?? new Uint8Array(16);
  return bytes.length === 16 ? bytes : Uint8Array.from([...new Uint8Array(10), 255, 255, ...bytes]);
}

function unmapped(bytes: Uint8Array): string {
  const isIpv4 = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return formatIp(isIpv4 ? bytes.subarray(12) : bytes);
}
