import { type Cidr, parseCidr } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAddressPool } from './address-pool.ts';

const range = (text: string) => parseCidr(text) as Cidr;
const pool = (options: Partial<Parameters<typeof createAddressPool>[0]> = {}) =>
  createAddressPool({ range: range('240.96.0.0/16'), maxUsed: 1_024, maxKept: 8_192, ...options });

describe('createAddressPool', () => {
  it('gives the same address to the same key, on every node and after a return', () => {
    const one = pool();
    const address = one.take('db-0');
    expect(address).toMatch(/^240\.96\.\d+\.\d+$/);
    expect([one.take('db-0'), pool().take('db-0')]).toEqual([address, address]);
    one.release('db-0');
    for (let i = 0; i < 1_000; i++) one.take(`other-${i}`);
    expect(one.take('db-0')).toBe(address);
  });

  it('goes on where an earlier run has ended', () => {
    const one = pool({ range: range('240.96.0.0/28') });
    const keys = Array.from({ length: 10 }, (_, i) => `key-${i}`);
    const before = keys.map((key) => one.take(key));
    const two = pool({ range: range('240.96.0.0/28'), initial: one.entries() });
    expect([...keys].reverse().map((key) => two.take(key))).toEqual([...before].reverse());
  });

  it('drops assignments of another range', () => {
    const two = pool({
      initial: [
        ['a', '10.0.0.1'],
        ['b', 'rubbish'],
        ['c', '240.96.7.7'],
        ['d', '240.96.7.7'],
      ],
    });
    expect(two.entries()).toEqual([['c', '240.96.7.7']]);
  });

  it('gives the address that was released longest ago to somebody else, when there is no other', () => {
    const one = pool({ range: range('240.96.0.0/30') });
    const [a, b, c] = ['a', 'b', 'c'].map((key) => one.take(key));
    expect([a, b, c].every((address) => address !== undefined)).toBe(true);
    expect(one.take('d')).toBeUndefined();
    one.release('b');
    one.release('a');
    expect([one.take('d'), one.take('a')]).toEqual([b, a]);
  });

  it('never has more in use, nor remembers more, than allowed', () => {
    const one = pool({ maxUsed: 2, maxKept: 3 });
    expect([one.take('a'), one.take('b'), one.take('c')].filter(Boolean)).toHaveLength(2);
    one.release('a');
    expect(one.take('c')).toBeDefined();
    expect(one.take('a')).toBeUndefined();
    one.release('c');
    one.take('d');
    expect(one.entries()).toHaveLength(3);
    expect(one.used).toBe(2);
  });

  it('never gives one address to two keys in use', () => {
    const step = fc.record({ key: fc.integer({ min: 0, max: 30 }), take: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const one = pool({ range: range('240.96.0.0/28'), maxUsed: 12, maxKept: 14 });
        const live = new Map<string, string>();
        for (const { key, take } of steps) {
          const address = take ? one.take(`${key}`) : undefined;
          if (!take) one.release(`${key}`);
          if (!take) live.delete(`${key}`);
          if (address !== undefined) live.set(`${key}`, address);
          expect(new Set(live.values()).size).toBe(live.size);
          for (const [known, expected] of live) expect(one.take(known)).toBe(expected);
        }
        expect(one.used).toBe(live.size);
      }),
    );
  });
});
