import { canonicalIp } from '@edgemesh/core';
import type { PrivateKey } from '@libp2p/interface';
import { TunnelError } from '../../errors.ts';
import type { NodeRecord, SocketAddress } from '../../types.ts';
import { formatAddress } from '../transport/connect.ts';
import { type EnvelopeKind, openEnvelope, sealEnvelope } from './envelope.ts';

/** Domain and payload type of node records; the type is in the range that multicodec leaves to private use. */
const RECORD_ENVELOPE: EnvelopeKind = {
  domain: 'edgemesh-node-record',
  payloadType: Uint8Array.of(0x80, 0x80, 0xc0, 0x01),
};
const VERSION = 1;

/** Bounds of the lists in a record; more than that is no honest node. */
const MAX_ADDRESSES = 64;
const MAX_RELAYS = 16;
const MAX_CAPABILITIES = 32;
/** Kubernetes node names are DNS subdomains: 253 characters at most. */
const MAX_NAME_CHARS = 253;
const NODE_NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{40,64}$/;
const CAPABILITY = /^[a-z0-9][a-z0-9./-]{0,62}$/;

/** A record together with the bytes that prove it. */
export interface SignedRecord {
  readonly record: NodeRecord;
  readonly envelope: Uint8Array;
}

/** True for names that a record may carry (DNS subdomain characters, any case). */
export function isNodeName(name: string): boolean {
  return name.length <= MAX_NAME_CHARS && NODE_NAME.test(name);
}

/**
 * Signs a record. The signer's key must be the one of `record.peerId`. Rejects with TunnelError `protocol` rather than
 * signing what every reader would refuse.
 */
export async function signRecord(record: NodeRecord, key: PrivateKey): Promise<SignedRecord> {
  const payload = encodeRecord(record);
  return { record: decodeRecord(payload), envelope: await sealEnvelope(key, RECORD_ENVELOPE, payload) };
}

/** Verifies and validates. Rejects with TunnelError `limit`, `protocol` or `identity`. */
export async function openRecord(envelope: Uint8Array, maxBytes: number): Promise<SignedRecord> {
  if (envelope.length > maxBytes) {
    throw new TunnelError('limit', `a node record of ${envelope.length} bytes exceeds ${maxBytes}`);
  }
  const { peerId, payload } = await openEnvelope(RECORD_ENVELOPE, envelope);
  const record = decodeRecord(payload);
  if (record.peerId !== peerId) {
    throw new TunnelError('identity', `the record of ${record.nodeName} is signed by another key than its own`);
  }
  // a copy: the envelope is usually a view of a larger receive buffer
  return { record, envelope: Uint8Array.from(envelope) };
}

/** Canonical JSON: fixed keys in fixed order. */
export function encodeRecord(record: NodeRecord): Uint8Array {
  const body = {
    v: VERSION,
    name: record.nodeName,
    peer: record.peerId,
    seq: record.sequence,
    lan: record.lanAddresses.map(formatAddress),
    public: record.publicAddresses.map(formatAddress),
    relays: record.relays,
    caps: record.capabilities,
  };
  return new TextEncoder().encode(JSON.stringify(body));
}

/** Reads the payload field by field; unknown fields are ignored. Throws TunnelError `protocol` or `version`. */
export function decodeRecord(payload: Uint8Array): NodeRecord {
  const body = parseObject(payload);
  if (body.v !== VERSION) throw new TunnelError('version', 'node record of an unknown version');
  return {
    nodeName: text(body, 'name', (value) => isNodeName(value)),
    peerId: text(body, 'peer', (value) => PEER_ID.test(value)),
    sequence: sequenceOf(body),
    lanAddresses: list(body, 'lan', MAX_ADDRESSES).map(readAddress),
    publicAddresses: list(body, 'public', MAX_ADDRESSES).map(readAddress),
    relays: list(body, 'relays', MAX_RELAYS).map((value) => matching(value, 'relays', PEER_ID)),
    capabilities: list(body, 'caps', MAX_CAPABILITIES).map((value) => matching(value, 'caps', CAPABILITY)),
  };
}

type Body = Readonly<Record<string, unknown>>;

function parseObject(payload: Uint8Array): Body {
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (cause) {
    throw new TunnelError('protocol', 'node record is not JSON', { cause });
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw bad('record');
  return body as Body;
}

function bad(name: string): TunnelError {
  return new TunnelError('protocol', `node record: bad field "${name}"`);
}

function text(body: Body, name: string, valid: (value: string) => boolean): string {
  const value = body[name];
  if (typeof value !== 'string' || !valid(value)) throw bad(name);
  return value;
}

function sequenceOf(body: Body): number {
  const value = body.seq;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw bad('seq');
  return value;
}

function list(body: Body, name: string, max: number): unknown[] {
  const value = body[name];
  if (!Array.isArray(value) || value.length > max) throw bad(name);
  return value;
}

function matching(value: unknown, name: string, pattern: RegExp): string {
  if (typeof value !== 'string' || !pattern.test(value)) throw bad(name);
  return value;
}

function readAddress(value: unknown): SocketAddress {
  const address = typeof value === 'string' ? parseSocketAddress(value) : undefined;
  if (address === undefined) throw bad('addresses');
  return address;
}

/** `1.2.3.4:5` or `[fd00::1]:5`; undefined for anything else, port 0 included. */
export function parseSocketAddress(value: string): SocketAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):(\d{1,5})$/.exec(value);
  if (match === null) return undefined;
  const host = canonicalIp((match[1] ?? match[2]) as string);
  const port = Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  if ((match[1] !== undefined) !== host.includes(':')) return undefined;
  return { host, port };
}
