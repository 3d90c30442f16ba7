import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServiceRule } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { LinuxError } from '../errors.ts';
import type { Bpf } from './bpf.ts';
import { createSocketLb } from './socket-lb.ts';

const AGENT = { agentTimeoutSeconds: 20 };
const folder = mkdtempSync(join(tmpdir(), 'edgemesh-groups-'));

/** Maps in memory, and descriptors that are counted. `failing` names the call that fails, as often as it says. */
function fakeBpf() {
  const open = new Map<number, Map<string, string> | undefined>();
  const failing = new Map<keyof Bpf, number>();
  let next = 10;
  const make = (call: keyof Bpf, content?: Map<string, string>) => {
    fail(call);
    open.set(next, content);
    return next++;
  };
  const fail = (call: keyof Bpf) => {
    const left = failing.get(call) ?? Number.POSITIVE_INFINITY;
    if (left === 0) throw new LinuxError('failed', `${call}: errno 12`);
    failing.set(call, left - 1);
  };
  const pieces = (bytes: Buffer, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const length = bytes.length / count;
      return bytes.toString('hex', i * length, (i + 1) * length);
    });
  const bpf: Bpf = {
    createMap: ({ size }) => make('createMap', Object.assign(new Map(), { limit: size })),
    update(fd, keys, values, count) {
      fail('update');
      const texts = pieces(values, count);
      for (const [i, key] of pieces(keys, count).entries()) open.get(fd)?.set(key, texts[i] as string);
    },
    remove(fd, keys, count) {
      for (const key of pieces(keys, count)) open.get(fd)?.delete(key);
    },
    load: () => make('load'),
    attach: () => make('attach'),
    close: (fd) => void expect(open.delete(fd)).toBe(true),
    netnsCookie: () => 7n,
  };
  /** Of the newest attachment: notes, then gate, frontends and slots of each. */
  const maps = () => [...open.values()].filter((map) => map !== undefined).slice(-2) as Map<string, string>[];
  return { bpf, open, failing, maps };
}

const rule = (n: number, endpoints: number, more: Partial<ServiceRule> = {}): ServiceRule => ({
  key: `rule-${n}`,
  family: 4,
  protocol: 'TCP',
  frontends: [{ kind: 'address', address: `10.96.${n >> 8}.${n & 255}`, port: 80, origin: 'any', masquerade: false }],
  routable: Array.from({ length: endpoints }, (_, i) => ({ address: `10.1.0.${i + 1}`, port: 8080, local: false })),
  tunnelled: 0,
  pick: { kind: 'random' },
  whenEmpty: 'reject',
  ...more,
});
const create = (fake: ReturnType<typeof fakeBpf>) => createSocketLb(fake.bpf, { all: folder, isWhole: true }, AGENT);

describe('what the maps hold', () => {
  it('follows rules that come, change, stay, go and come back', async () => {
    const fake = fakeBpf();
    using lb = create(fake);
    const sizes = () => fake.maps().map((map) => map.size);
    const [one, two] = [rule(1, 3), rule(2, 2)];
    await lb.apply([one, two], []);
    expect(sizes()).toEqual([2, 5]);
    await lb.apply([one, rule(2, 4)], []);
    expect(sizes()).toEqual([2, 7]);
    await lb.apply([one], []);
    expect(sizes()).toEqual([1, 3]);
    await lb.apply([one, two], []);
    expect(sizes()).toEqual([2, 5]);
    await lb.apply([one, { ...two, routable: [] }], []);
    expect(sizes()).toEqual([1, 3]);
    expect(lb.frontends).toBe(1);
  });

  it('keeps an address that moves from one rule to another', async () => {
    const fake = fakeBpf();
    using lb = create(fake);
    await lb.apply([rule(1, 2)], []);
    await lb.apply([rule(1, 3, { key: 'other' })], []);
    expect(fake.maps().map((map) => map.size)).toEqual([1, 3]);
  });

  it('follows exclusions', async () => {
    const fake = fakeBpf();
    using lb = create(fake);
    const rules = [rule(1, 2), rule(2, 2)];
    await lb.apply(rules, []);
    await lb.apply(rules, [{ kind: 'range', cidr: '10.96.0.1/32' }]);
    expect(lb.frontends).toBe(1);
    await lb.apply(rules, []);
    expect(fake.maps().map((map) => map.size)).toEqual([2, 4]);
  });

  it('moves into larger maps', async () => {
    const fake = fakeBpf();
    using lb = create(fake);
    await lb.apply([rule(0, 2)], []);
    const before = fake.open.size;
    await lb.apply(
      Array.from({ length: 5_000 }, (_, n) => rule(n, 2)),
      [],
    );
    expect(fake.maps().map((map) => map.size)).toEqual([5_000, 10_000]);
    expect(fake.open.size).toBe(before);
  });
});

describe('failures', () => {
  it.each<[keyof Bpf, number]>([
    ['createMap', 0],
    ['createMap', 2],
    ['load', 3],
  ])('of %s after %i at the start leave nothing open', (call, after) => {
    const fake = fakeBpf();
    fake.failing.set(call, after);
    expect(() => create(fake)).toThrow('errno 12');
    expect(fake.open.size).toBe(0);
  });

  it.each<[keyof Bpf, number]>([
    ['createMap', 1],
    ['load', 2],
    ['update', 0],
    ['update', 2],
    ['attach', 0],
    ['attach', 3],
  ])('of %s after %i serve nothing, and the next call serves all', async (call, after) => {
    const fake = fakeBpf();
    {
      using lb = create(fake);
      const rules = [rule(1, 2), rule(2, 2)];
      fake.failing.set(call, after);
      await expect(lb.apply(rules, [])).rejects.toThrow('errno 12');
      expect(lb.frontends).toBe(0);
      expect(fake.open.size).toBe(1); // the notes
      fake.failing.clear();
      await lb.apply(rules, []);
      expect(fake.maps().map((map) => map.size)).toEqual([2, 4]);
    }
    expect(fake.open.size).toBe(0);
  });
});
