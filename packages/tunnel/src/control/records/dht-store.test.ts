import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DhtStore } from './dht-store.ts';

const record = (name: string | number) => `/dht/record/${name}`;

function store(limits: Partial<ConstructorParameters<typeof DhtStore>[0]>) {
  const dropped: string[] = [];
  const all = { maxDhtRecords: 1_000, maxDhtBytes: 1_000_000, ...limits };
  return { dropped, store: new DhtStore(all, (reason) => dropped.push(reason)) };
}

test('a flood of records fills it to its limits and no further; the latest stay', () => {
  const { store: kept, dropped } = store({ maxDhtRecords: 100, maxDhtBytes: 50_000 });
  for (let i = 0; i < 10_000; i++) kept.put(record(i), Buffer.alloc(i % 700));
  expect(kept.size).toBeLessThanOrEqual(100);
  expect(kept.bytes).toBeLessThanOrEqual(50_000);
  expect(kept.has(record(9_999))).toBe(true);
  expect(kept.has(record(0))).toBe(false);
  expect(dropped.length).toBe(10_000 - kept.size);
});

test('a record that is put again outlives those that are not', () => {
  const { store: kept } = store({ maxDhtRecords: 3 });
  for (const name of ['a', 'b', 'c', 'a', 'd']) kept.put(record(name), Buffer.from(name));
  expect(['a', 'b', 'c', 'd'].filter((name) => kept.has(record(name)))).toEqual(['a', 'c', 'd']);
  expect(() => kept.get(record('b'))).toThrow(expect.objectContaining({ name: 'NotFoundError' }));
});

test('keeps neither providers of content nor what is larger than all its room', () => {
  const { store: kept, dropped } = store({ maxDhtBytes: 100 });
  kept.put('/dht/provider/cid/peer', Buffer.alloc(8));
  kept.put(record('huge'), Buffer.alloc(100));
  expect([kept.size, kept.bytes, dropped]).toEqual([0, 0, ['provider', 'too-big']]);
});

test('knows its bytes, whatever is put and deleted', () => {
  const step = fc.record({ name: fc.integer({ min: 0, max: 20 }), size: fc.integer({ min: -1, max: 60 }) });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const { store: kept } = store({ maxDhtRecords: 10, maxDhtBytes: 400 });
      for (const { name, size } of steps) {
        if (size < 0) kept.delete(record(name));
        else kept.put(record(name), Buffer.alloc(size));
      }
      let bytes = 0;
      for (let name = 0; name <= 20; name++) {
        if (kept.has(record(name))) bytes += record(name).length + kept.get(record(name)).length;
      }
      expect(kept.bytes).toBe(bytes);
      expect(kept.bytes).toBeLessThanOrEqual(400);
      expect(kept.size).toBeLessThanOrEqual(10);
    }),
  );
});
