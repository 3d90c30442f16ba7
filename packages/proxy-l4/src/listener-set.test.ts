import { silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createListenerSet, type OpenListener } from './listener-set.ts';

/** Addresses that can be held once; opening takes turns of the loop and fails while the address is held. */
function world() {
  const held = new Set<string>();
  let opened = 0;
  let most = 0;
  const open = async (address: string): Promise<OpenListener> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (held.has(address)) throw new Error('EADDRINUSE');
    held.add(address);
    opened++;
    most = Math.max(most, held.size);
    return {
      address,
      port: 1,
      async [Symbol.asyncDispose]() {
        held.delete(address);
        await new Promise((resolve) => setImmediate(resolve));
      },
    };
  };
  return { open, held, opened: () => opened, most: () => most };
}

describe('a listener set', () => {
  it('ends up with what was wanted last, whatever was wanted before, and with nothing after disposal', async () => {
    const wish = fc.record({
      specs: fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2', '3')),
      whole: fc.boolean(),
      pause: fc.nat(3),
      advance: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(wish, { minLength: 1, maxLength: 8 }), async (wishes) => {
        const { open, held } = world();
        const clock = createFakeClock();
        const told = new Set<string>();
        const set = createListenerSet<string>({
          open,
          changed: (address, listener) => void (listener === undefined ? told.delete(address) : told.add(address)),
          maxListeners: 3,
          retryMs: 10,
          log: silentLogger,
          clock,
        });
        // The address is part of the key, as it is for Service ports.
        let wanted = new Map<string, string>();
        for (const { specs, whole, pause, advance } of wishes) {
          const before = wanted;
          wanted = new Map(Object.entries(specs).map(([name, address]) => [`${name} ${address}`, address]));
          if (whole) set.want(wanted);
          else {
            const gone = [...before.keys()].filter((key) => !wanted.has(key));
            set.change(gone, new Map([...wanted].filter(([key]) => !before.has(key))));
          }
          if (advance) clock.advance(10);
          for (let i = 0; i < pause; i++) await new Promise((resolve) => setImmediate(resolve));
        }
        for (let i = 0; i < 12; i++) {
          clock.advance(10);
          await new Promise((resolve) => setImmediate(resolve));
        }
        const allowed = [...wanted.keys()].sort().slice(0, 3);
        const addresses = new Set(allowed.map((key) => wanted.get(key)));
        expect(new Set([...set.open()].map(([, address]) => address))).toEqual(addresses);
        expect(held).toEqual(addresses);
        expect(told).toEqual(addresses);
        expect([...set.open()].every(([key]) => allowed.includes(key))).toBe(true);
        await set[Symbol.asyncDispose]();
        expect([held.size, clock.pendingTimers]).toEqual([0, 0]);
      }),
      { numRuns: 60 },
    );
  });

  it('never opens one listener twice at a time', async () => {
    const { open, opened } = world();
    const clock = createFakeClock();
    const set = createListenerSet<string>({
      open,
      changed: () => undefined,
      maxListeners: 10,
      retryMs: 1,
      log: silentLogger,
      clock,
    });
    set.want(
      new Map([
        ['a', '1'],
        ['b', '1'],
      ]),
    );
    await set.settled();
    expect(set.problems).toEqual(['b: EADDRINUSE']);
    for (let i = 0; i < 5; i++) {
      clock.advance(1);
      set.want(new Map([['b', '1']]));
    }
    for (let i = 0; i < 10; i++) {
      clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(opened()).toBe(2);
    expect([...set.open()].map(([key]) => key)).toEqual(['b']);
    await set[Symbol.asyncDispose]();
  });
});
