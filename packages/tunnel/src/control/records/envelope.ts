import { publicKeyFromProtobuf, publicKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPublicKey } from '@libp2p/peer-id';
import { TunnelError } from '../../errors.ts';

/**
 * libp2p's signed envelope (RFC 0002): a protobuf message with public key (1), payload type (2), payload (3) and
 * signature (5). The signature covers domain, payload type and payload, each behind its varint length, so that a
 * signature made for one purpose is worth nothing for another.
 */
export interface OpenedEnvelope {
  /** Peer id of the signer, base58. */
  readonly peerId: string;
  readonly payload: Uint8Array;
}

const PUBLIC_KEY = 1;
const PAYLOAD_TYPE = 2;
const PAYLOAD = 3;
const SIGNATURE = 5;
const LENGTH_DELIMITED = 2;

export interface EnvelopeKind {
  readonly domain: string;
  readonly payloadType: Uint8Array;
}

/** Signs the payload with the node key. */
export async function sealEnvelope(key: PrivateKey, kind: EnvelopeKind, payload: Uint8Array): Promise<Uint8Array> {
  const signature = await key.sign(signedBytes(kind, payload));
  return Buffer.concat([
    field(PUBLIC_KEY, publicKeyToProtobuf(key.publicKey)),
    field(PAYLOAD_TYPE, kind.payloadType),
    field(PAYLOAD, payload),
    field(SIGNATURE, signature),
  ]);
}

/** Verifies signature, domain and payload type. Rejects with TunnelError `protocol` (malformed) or `identity` (not genuine). */
export async function openEnvelope(kind: EnvelopeKind, bytes: Uint8Array): Promise<OpenedEnvelope> {
  const fields = readFields(bytes);
  const part = (number: number): Uint8Array => {
    const value = fields.get(number);
    if (value === undefined) throw new TunnelError('protocol', `signed envelope without field ${number}`);
    return value;
  };
  if (Buffer.compare(part(PAYLOAD_TYPE), kind.payloadType) !== 0) {
    throw new TunnelError('protocol', 'signed envelope of another payload type');
  }
  const payload = part(PAYLOAD);
  const genuine = await verify(part(PUBLIC_KEY), signedBytes(kind, payload), part(SIGNATURE));
  return { peerId: genuine, payload };
}

async function verify(keyBytes: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<string> {
  let genuine: boolean;
  let peerId: string;
  try {
    const key = publicKeyFromProtobuf(keyBytes);
    if (key.type !== 'Ed25519') throw new Error(`key type ${key.type}`);
    if (Buffer.compare(publicKeyToProtobuf(key), keyBytes) !== 0) throw new Error('key is not in canonical form');
    peerId = peerIdFromPublicKey(key).toString();
    genuine = await key.verify(message, signature);
  } catch (cause) {
    throw new TunnelError('protocol', 'signed envelope with an unusable key or signature', { cause });
  }
  if (!genuine) throw new TunnelError('identity', 'the signature of the envelope does not verify');
  return peerId;
}

function signedBytes(kind: EnvelopeKind, payload: Uint8Array): Uint8Array {
  const parts = [new TextEncoder().encode(kind.domain), kind.payloadType, payload];
  return Buffer.concat(parts.flatMap((part) => [varint(part.length), part]));
}

function field(number: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of((number << 3) | LENGTH_DELIMITED), varint(value.length), value]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  return Uint8Array.of(...bytes, rest);
}

/** Reads a flat message of length-delimited fields; a repeated field or any other wire type is refused. */
function readFields(bytes: Uint8Array): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>();
  let offset = 0;
  while (offset < bytes.length) {
    const tag = bytes[offset++] as number;
    const { value: length, next } = readVarint(bytes, offset);
    const end = next + length;
    if ((tag & 7) !== LENGTH_DELIMITED || tag > 127 || end > bytes.length || fields.has(tag >> 3)) {
      throw new TunnelError('protocol', 'malformed signed envelope');
    }
    fields.set(tag >> 3, bytes.subarray(next, end));
    offset = end;
  }
  return fields;
}

function readVarint(bytes: Uint8Array, start: number): { value: number; next: number } {
  let value = 0;
  for (let i = 0; i < 3; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) break;
    value |= (byte & 127) << (7 * i);
    if (byte < 128) return { value, next: start + i + 1 };
  }
  throw new TunnelError('protocol', 'malformed length in a signed envelope');
}
