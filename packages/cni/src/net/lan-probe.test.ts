import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { createLanProbe, decodeProbe, encodeProbe, type LanProbe } from './lan-probe.ts';

const key = Buffer.alloc(32, 1);
const open: LanProbe[] = [];
afterEach(async () => {
  for (const probe of open.splice(0)) await probe[Symbol.asyncDispose]();
});

async function probe(nodeName: string, port: number, more: { key?: Buffer } = {}) {
  const created = await createLanProbe({ nodeName, key, port, intervalMs: 50, ...more });
  open.push(created);
  return created;
}

describe('a probe datagram', () => {
  it('is read back, and by nobody with another key', () => {
    fc.assert(
      fc.property(fc.constantFrom(1 as const, 2 as const), fc.string({ maxLength: 60 }), (kind, name) => {
        const bytes = encodeProbe(kind, Buffer.alloc(16, 5), name, key);
        expect(decodeProbe(bytes, key)).toMatchObject({ kind, nonce: '05'.repeat(16) });
        expect(decodeProbe(bytes, Buffer.alloc(32, 2))).toBeUndefined();
      }),
    );
  });

  it('is refused when a single bit is wrong, whatever it was', () => {
    const good = encodeProbe(1, Buffer.alloc(16, 5), 'node', key);
    fc.assert(
      fc.property(fc.nat({ max: good.length * 8 - 1 }), (bit) => {
        const bad = Buffer.from(good);
        bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(decodeProbe(bad, key)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => decodeProbe(Buffer.from(bytes), key) === undefined),
    );
  });
});

describe('the LAN probe', () => {
  it('believes a node that answers to its name, and forgets it when it is silent', async () => {
    // Both ends share one port number in real life; here one process asks itself.
    const both = await probe('right', 0);
    const told: string[] = [];
    both.onChange(() => told.push(both.reachable('right').join()));
    both.watch(new Map([['right', ['127.0.0.1']]]));
    await expect.poll(() => both.reachable('right')).toEqual(['127.0.0.1']);
    both.watch(new Map([['wrong', ['127.0.0.1']]]));
    expect(both.reachable('right')).toEqual([]);
    expect(told).toEqual(['127.0.0.1']);
  });

  it('does not take another node at the same address for the one it seeks', async () => {
    const me = await probe('somebody-else', 0);
    me.watch(
      new Map([
        ['right', ['127.0.0.1']],
        ['somebody-else', ['127.0.0.1']],
      ]),
    );
    await expect.poll(() => me.reachable('somebody-else')).toEqual(['127.0.0.1']);
    expect(me.reachable('right')).toEqual([]);
  });
});
