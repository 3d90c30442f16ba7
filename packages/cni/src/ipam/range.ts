import type { Cidr } from '@edgemesh/core';

/** Addresses of a range as numbers from its start, in BigInt: IPv6 ranges are wider than a number. */

export function toNumber(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

export function fromNumber(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 255n);
  return bytes;
}

/** Number of addresses in a range. */
export function rangeSize(range: Cidr): bigint {
  return 1n << BigInt(range.bytes.length * 8 - range.prefix);
}

/** The n-th address of a range. */
export function addressAt(range: Cidr, offset: bigint): Uint8Array {
  return fromNumber(toNumber(range.bytes) + offset, range.bytes.length);
}

/** The node's own address in a range: the first after the network address, where kubenet and host-local put the gateway. */
export function gatewayOf(range: Cidr): Uint8Array {
  return addressAt(range, 1n);
}

/** First and last offset that a pod may get: not the network address, not the gateway, not IPv4's broadcast address. */
export function podOffsets(range: Cidr): { readonly first: bigint; readonly last: bigint } {
  const last = rangeSize(range) - (range.bytes.length === 4 ? 2n : 1n);
  return { first: 2n, last };
}
