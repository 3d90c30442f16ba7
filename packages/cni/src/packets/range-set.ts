import { type Cidr, parseCidr } from '@edgemesh/core';
import { be32 } from './layout.ts';

const maskOf = (prefix: number): number => (prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0);

/** A few address ranges, asked once per packet without making an object. */
export class RangeSet {
  readonly #v4: { readonly network: number; readonly mask: number }[] = [];
  readonly #v6: Cidr[] = [];

  constructor(cidrs: Iterable<string>) {
    for (const text of cidrs) {
      const cidr = parseCidr(text);
      if (cidr === undefined) continue;
      if (cidr.bytes.length === 4) this.#v4.push({ network: be32(cidr.bytes, 0), mask: maskOf(cidr.prefix) });
      else this.#v6.push(cidr);
    }
  }

  /** True when the address at this place of a frame is in one of the ranges. */
  has(frame: Uint8Array, at: number, version: number): boolean {
    if (version === 4) {
      const address = be32(frame, at);
      for (const { network, mask } of this.#v4) if ((address & mask) >>> 0 === network) return true;
      return false;
    }
    for (const range of this.#v6) if (contains(range, frame, at)) return true;
    return false;
  }
}

function contains({ bytes, prefix }: Cidr, frame: Uint8Array, at: number): boolean {
  const whole = prefix >> 3;
  for (let i = 0; i < whole; i++) if (bytes[i] !== frame[at + i]) return false;
  const rest = prefix & 7;
  return rest === 0 || (((bytes[whole] as number) ^ (frame[at + whole] as number)) & (0xff << (8 - rest)) & 0xff) === 0;
}

/** Longest-prefix match from a packet's address to a value; one hash lookup per prefix length in use, usually one. */
export class RangeMap<T> {
  readonly #v4 = new Map<number, Map<number, T>>();
  readonly #v6 = new Map<number, Map<string, T>>();
  #v4Lengths: { readonly mask: number; readonly table: ReadonlyMap<number, T> }[] = [];
  #v6Lengths: { readonly prefix: number; readonly table: ReadonlyMap<string, T> }[] = [];

  constructor(entries: Iterable<readonly [cidr: string, value: T]>) {
    for (const [text, value] of entries) {
      const cidr = parseCidr(text);
      if (cidr === undefined) continue;
      if (cidr.bytes.length === 4) tableOf(this.#v4, cidr.prefix).set(be32(cidr.bytes, 0), value);
      else tableOf(this.#v6, cidr.prefix).set(keyOf(cidr.bytes, 0, cidr.prefix), value);
    }
    const longestFirst = <K>(tables: ReadonlyMap<number, K>) => [...tables].sort(([a], [b]) => b - a);
    this.#v4Lengths = longestFirst(this.#v4).map(([prefix, table]) => ({ mask: maskOf(prefix), table }));
    this.#v6Lengths = longestFirst(this.#v6).map(([prefix, table]) => ({ prefix, table }));
  }

  find(frame: Uint8Array, at: number, version: number): T | undefined {
    if (version === 4) {
      const address = be32(frame, at);
      for (const { mask, table } of this.#v4Lengths) {
        const value = table.get((address & mask) >>> 0);
        if (value !== undefined) return value;
      }
      return undefined;
    }
    for (const { prefix, table } of this.#v6Lengths) {
      const value = table.get(keyOf(frame, at, prefix));
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

function tableOf<K, T>(tables: Map<number, Map<K, T>>, prefix: number): Map<K, T> {
  const known = tables.get(prefix);
  if (known !== undefined) return known;
  const fresh = new Map<K, T>();
  tables.set(prefix, fresh);
  return fresh;
}

function keyOf(bytes: Uint8Array, at: number, prefix: number): string {
  const whole = prefix >> 3;
  const rest = prefix & 7;
  let key = '';
  for (let i = 0; i < whole; i++) key += String.fromCharCode(bytes[at + i] as number);
  if (rest > 0) key += String.fromCharCode((bytes[at + whole] as number) & (0xff << (8 - rest)) & 0xff);
  return key;
}
