import { createHash } from 'node:crypto';
import { type Cidr, formatIp } from '@edgemesh/core';

/** Addresses handed out to keys, the same one to the same key as long as possible. */
export interface AddressPool {
  /** The key's address; undefined when the range is full. */
  take(key: string): string | undefined;
  /** The key is gone. Its address stays reserved for its return until room is needed. */
  release(key: string): void;
  /** All assignments, those of released keys included, oldest first: what a restart needs. */
  entries(): readonly (readonly [key: string, address: string])[];
  readonly used: number;
}

export interface AddressPoolOptions {
  /** An IPv4 range. */
  readonly range: Cidr;
  /** Keys in use at once. */
  readonly maxUsed: number;
  /** Assignments kept, released ones included. */
  readonly maxKept: number;
  /** Assignments of an earlier run. Those outside the range are dropped. */
  readonly initial?: readonly (readonly [key: string, address: string])[];
}

/**
 * Hands out addresses of an IPv4 range. A new key gets the one that its hash names, or the next free one, so that all nodes and
 * all runs mostly agree even without memory. Network and broadcast addresses of /24s are left out: some stacks refuse them.
 */
export function createAddressPool(options: AddressPoolOptions): AddressPool {
  const { range, maxUsed, maxKept } = options;
  const base = new DataView(range.bytes.buffer, range.bytes.byteOffset).getUint32(0);
  const size = 2 ** (32 - range.prefix);
  const byKey = new Map<string, number>();
  const taken = new Map<number, string>();
  const live = new Set<string>();

  const assign = (key: string, offset: number) => {
    byKey.set(key, offset);
    taken.set(offset, key);
  };
  const forget = (key: string) => {
    const offset = byKey.get(key);
    if (offset === undefined) return;
    byKey.delete(key);
    taken.delete(offset);
  };
  const forgetOldest = () => {
    for (const key of byKey.keys()) {
      if (live.has(key)) continue;
      forget(key);
      return true;
    }
    return false;
  };
  const free = (start: number): number | undefined => {
    for (let i = 0; i < size; i++) {
      const offset = (start + i) % size;
      if (isUsable(base + offset) && !taken.has(offset)) return offset;
    }
    return undefined;
  };
  const text = (offset: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, base + offset);
    return formatIp(bytes);
  };

  for (const [key, address] of options.initial ?? []) {
    const offset = offsetOf(address) - base;
    if (offset >= 0 && offset < size && isUsable(base + offset) && !taken.has(offset) && byKey.size < maxKept)
      assign(key, offset);
  }
  return {
    take(key) {
      const known = byKey.get(key);
      if (known !== undefined) {
        if (!live.has(key) && live.size >= maxUsed) return undefined;
        live.add(key);
        return text(known);
      }
      if (live.size >= maxUsed) return undefined;
      if (byKey.size >= maxKept) forgetOldest();
      const start = createHash('sha256').update(key).digest().readUInt32BE(0) % size;
      const offset = free(start) ?? (forgetOldest() ? free(start) : undefined);
      if (offset === undefined) return undefined;
      assign(key, offset);
      live.add(key);
      return text(offset);
    },
    release(key) {
      const offset = byKey.get(key);
      if (offset === undefined || !live.delete(key)) return;
      // To the end: the address released last is the last to go to somebody else.
      byKey.delete(key);
      byKey.set(key, offset);
    },
    entries: () => [...byKey].map(([key, offset]) => [key, text(offset)] as const),
    get used() {
      return live.size;
    },
  };
}

function isUsable(address: number): boolean {
  const last = address & 255;
  return last !== 0 && last !== 255;
}

function offsetOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}
