import { type Cidr, cidrContains, formatIp, parseCidr, parseIp } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFakePorts } from '../testing/fake-ports.ts';
import { createLeaseBook } from './leases.ts';
import { gatewayOf } from './range.ts';

const range = (text: string) => parseCidr(text) as Cidr;
const owner = (containerId: string) => ({ containerId, ifname: 'eth0' });
const book = () => {
  const { files, disk } = createFakePorts();
  return { files, disk, leases: createLeaseBook(files, '/leases') };
};

describe('leases', () => {
  it('go round: an address that was just given back comes last', () => {
    const { leases } = book();
    const pool = [range('10.0.0.0/29')];
    const first = leases.lease(owner('a'), pool);
    leases.release(owner('a'));
    expect(first).toEqual(['10.0.0.2']);
    expect(['b', 'c', 'd', 'e', 'f'].map((id) => leases.lease(owner(id), pool)[0])).toEqual([
      '10.0.0.3',
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
      '10.0.0.2',
    ]);
    expect(() => leases.lease(owner('g'), pool)).toThrow('all 5 addresses of 10.0.0.0/29 are taken');
  });

  it('give the same owner the same addresses, and finish what a crash left half done', () => {
    const { leases } = book();
    const v4 = leases.lease(owner('a'), [range('10.0.0.0/24')]);
    const both = [range('10.0.0.0/24'), range('fd00::/64')];
    expect(leases.lease(owner('a'), both)).toEqual([...v4, 'fd00::2']);
    expect(leases.lease(owner('a'), both)).toEqual([...v4, 'fd00::2']);
    expect(leases.all()).toHaveLength(2);
  });

  it('keep nothing when one of the ranges is full', () => {
    const { leases } = book();
    const tiny = range('10.0.0.0/30');
    leases.lease(owner('a'), [tiny]);
    expect(() => leases.lease(owner('b'), [range('10.1.0.0/24'), tiny])).toThrow('are taken');
    expect(leases.of(owner('b'))).toEqual([]);
  });

  it('never give an address to two owners, whatever the order of calls', () => {
    const step = fc.record({ id: fc.integer({ min: 0, max: 9 }), del: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { leases } = book();
        const pools = [range('10.0.0.0/28'), range('fd00::/124')];
        const model = new Map<number, readonly string[]>();
        for (const { id, del } of steps) {
          if (del) {
            leases.release(owner(`${id}`));
            model.delete(id);
          } else model.set(id, leases.lease(owner(`${id}`), pools));
        }
        const given = [...model.values()].flat();
        expect(new Set(given).size).toBe(given.length);
        expect(leases.all().length).toBe(given.length);
        for (const [id, addresses] of model)
          expect([...leases.of(owner(`${id}`))].sort()).toEqual([...addresses].sort());
        for (const address of given) {
          const bytes = parseIp(address) as Uint8Array;
          expect(pools.some((pool) => cidrContains(pool, bytes))).toBe(true);
          expect(pools.map((pool) => formatIp(gatewayOf(pool)))).not.toContain(address);
        }
      }),
    );
  });

  it('lose the race for an address to nobody: the file system decides', () => {
    const { files, leases } = book();
    // Another process takes the address between our look and our grip.
    const racing = createLeaseBook({ ...files, list: () => [] }, '/leases');
    leases.lease(owner('a'), [range('10.0.0.0/24')]);
    expect(racing.lease(owner('b'), [range('10.0.0.0/24')])).toEqual(['10.0.0.3']);
  });
});
