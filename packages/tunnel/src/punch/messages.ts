import { TunnelError } from '../errors.ts';

/**
 * The `HolePunch` message of DCUtR (libp2p specification, relay/DCUtR.md):
 *
 * ```
 * message HolePunch {
 *   enum Type { CONNECT = 100; SYNC = 300; }
 *   required Type type = 1;
 *   repeated bytes ObsAddrs = 2;   // multiaddrs
 * }
 * ```
 */
export interface HolePunch {
  readonly type: 'CONNECT' | 'SYNC';
  /** Binary multiaddrs. */
  readonly observed: readonly Uint8Array[];
}

const TYPES = { CONNECT: 100, SYNC: 300 } as const;
const TAG_TYPE = (1 << 3) | 0;
const TAG_OBSERVED = (2 << 3) | 2;
/** More addresses than any node has mappings. */
const MAX_ADDRESSES = 16;
const MAX_ADDRESS_BYTES = 256;

export function encodeHolePunch(message: HolePunch): Uint8Array {
  const bytes: number[] = [TAG_TYPE, ...varint(TYPES[message.type])];
  for (const address of message.observed) bytes.push(TAG_OBSERVED, ...varint(address.length), ...address);
  return Uint8Array.from(bytes);
}

/** @throws TunnelError `protocol` for anything that is not a HolePunch; unknown fields are skipped */
export function decodeHolePunch(bytes: Uint8Array): HolePunch {
  const reader = new Reader(bytes);
  let type: number | undefined;
  const observed: Uint8Array[] = [];
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === TAG_TYPE) type = reader.varint();
    else if (tag === TAG_OBSERVED) observed.push(reader.bytes(MAX_ADDRESS_BYTES));
    else reader.skip(tag & 7);
    if (observed.length > MAX_ADDRESSES) throw malformed('too many addresses');
  }
  if (type === TYPES.CONNECT) return { type: 'CONNECT', observed };
  if (type === TYPES.SYNC) return { type: 'SYNC', observed };
  throw malformed(`type ${type}`);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  bytes.push(value);
  return bytes;
}

function malformed(what: string): TunnelError {
  return new TunnelError('protocol', `malformed HolePunch message: ${what}`);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Up to 28 bits: every tag, type and length that may occur. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw malformed('cut short');
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw malformed('a number is too large');
  }

  bytes(limit: number): Uint8Array {
    const length = this.varint();
    if (length > limit) throw malformed(`a field of ${length} bytes`);
    return Uint8Array.from(this.#take(length));
  }

  #take(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw malformed(`a field of ${length} bytes`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  skip(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.#take(8);
    else if (wireType === 5) this.#take(4);
    else if (wireType === 2) this.bytes(this.#bytes.length);
    else throw malformed(`wire type ${wireType}`);
  }
}
