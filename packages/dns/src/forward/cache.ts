import type { CacheOptions } from '../options.ts';
import type { Answer } from '../wire/reply.ts';
import type { Stored } from './cacheable.ts';

/** One cached answer. */
export interface CacheEntry {
  readonly stored: Stored;
  readonly expiresAt: number;
  /** Uses since it was stored; popular entries are refreshed early. */
  hits: number;
  /** Until then a refresh is not awaited, because the last one failed. */
  recheckAt: number;
}

/** Answers of upstreams by question, least recently used out. Times are monotonic milliseconds. */
export interface DnsCache {
  readonly entries: number;
  readonly bytes: number;
  /** The entry, fresh or stale; undefined when unknown or too old even to be stale. */
  get(key: string, now: number): CacheEntry | undefined;
  set(key: string, stored: Stored, now: number): void;
  clear(): void;
}

interface Slot extends CacheEntry {
  readonly storedAt: number;
  readonly bytes: number;
  /** TTL reduction that stands in the packet now; -1 after it was served stale. */
  patched: number;
}

/** What an entry costs besides packet and key: map slot, objects, offsets. Measured: 770 bytes of heap with two records. */
const ENTRY_OVERHEAD_BYTES = 800;

/** Bounded by entries and bytes. */
export function createDnsCache(options: Required<CacheOptions>): DnsCache {
  const slots = new Map<string, Slot>();
  let bytes = 0;
  const remove = (key: string, slot: Slot) => {
    slots.delete(key);
    bytes -= slot.bytes;
  };
  return {
    get entries() {
      return slots.size;
    },
    get bytes() {
      return bytes;
    },
    get(key, now) {
      const slot = slots.get(key);
      if (slot === undefined) return undefined;
      if (now >= slot.expiresAt + options.maxStaleSeconds * 1000) {
        remove(key, slot);
        return undefined;
      }
      slots.delete(key);
      slots.set(key, slot);
      return slot;
    },
    set(key, stored, now) {
      const old = slots.get(key);
      if (old !== undefined) remove(key, old);
      const size = stored.answer.packet.length + key.length + ENTRY_OVERHEAD_BYTES + stored.ttls.length * 16;
      if (options.maxEntries === 0 || size > options.maxBytes) return;
      const expiresAt = now + stored.lifetimeSeconds * 1000;
      slots.set(key, { stored, storedAt: now, expiresAt, bytes: size, hits: 0, recheckAt: 0, patched: 0 });
      bytes += size;
      while (slots.size > options.maxEntries || bytes > options.maxBytes) {
        const [oldest, slot] = slots.entries().next().value as [string, Slot];
        remove(oldest, slot);
      }
    },
    clear() {
      slots.clear();
      bytes = 0;
    },
  };
}

/** The entry's answer with its TTLs counted down to `now`. The packet is shared: copy it before the next call. */
export function freshAnswer(entry: CacheEntry, now: number): Answer {
  const slot = entry as Slot;
  const age = Math.floor((now - slot.storedAt) / 1000);
  if (slot.patched !== age) {
    slot.patched = age;
    const { stored } = slot;
    for (let i = 0; i < stored.ttls.length; i++) {
      const ttl = Math.max(0, (stored.ttls[i] as number) - age);
      stored.answer.packet.writeUInt32BE(ttl, stored.ttlOffsets[i] as number);
    }
  }
  return slot.stored.answer;
}

/** The entry's answer past its time, every TTL set to `ttlSeconds` (RFC 8767 4). Shared as above. */
export function staleAnswer(entry: CacheEntry, ttlSeconds: number, options: Buffer): Answer {
  const slot = entry as Slot;
  if (slot.patched !== -1) {
    slot.patched = -1;
    for (const offset of slot.stored.ttlOffsets) slot.stored.answer.packet.writeUInt32BE(ttlSeconds, offset);
  }
  return { ...slot.stored.answer, options };
}
