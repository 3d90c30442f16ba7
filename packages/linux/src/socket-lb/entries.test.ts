import type { RuleFrontend, ServiceRule } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import {
  encodeFrontend,
  encodePlace,
  encodeSlotKey,
  excludedBy,
  servedFrontends,
  slotCount,
  slotsOf,
} from './entries.ts';

const front = (more: object = {}): RuleFrontend => ({
  kind: 'address',
  address: '10.96.0.1',
  port: 80,
  origin: 'any',
  masquerade: false,
  ...more,
});
const rule = (more: Partial<ServiceRule> = {}): ServiceRule => ({
  key: 'a',
  family: 4,
  protocol: 'TCP',
  frontends: [front()],
  routable: [{ address: '10.1.0.1', port: 8080, local: true }],
  tunnelled: 0,
  listener: { address: '169.254.96.16', port: 30001 },
  pick: { kind: 'random' },
  whenEmpty: 'reject',
  ...more,
});
const nothing = excludedBy([]);

describe('what sockets are served', () => {
  it('is addresses that answer everybody alike', () => {
    const nodePort: RuleFrontend = { kind: 'nodePort', port: 30_000, origin: 'any', masquerade: true };
    const others = [
      nodePort,
      front({ origin: 'external' }),
      front({ masquerade: true }),
      front({ sourceRanges: ['10.0.0.0/8'] }),
    ];
    const served = front({ sourceRanges: [] });
    expect(servedFrontends(rule({ frontends: [...others, served] }), nothing)).toEqual([served]);
  });

  it.each<[string, Partial<ServiceRule>]>([
    ['UDP', { protocol: 'UDP' }],
    ['affinity, which remembers clients', { pick: { kind: 'clientIP', timeoutSeconds: 5 } }],
    ['no endpoints, which is to be refused', { routable: [] }],
    ['what cannot be rendered', { routable: [{ address: '10.1.0.01', port: 80, local: false }] }],
  ])('is not %s', (_, more) => {
    expect(servedFrontends(rule(more), nothing)).toEqual([]);
  });

  it('is not what the plan excludes', () => {
    const is = (...exclusions: Parameters<typeof excludedBy>[0][number][]) =>
      servedFrontends(rule(), excludedBy(exclusions)).length === 0;
    expect(is({ kind: 'range', cidr: '10.96.0.0/30' })).toBe(true);
    expect(is({ kind: 'range', cidr: '10.97.0.0/16' }, { kind: 'range', cidr: 'fd00::/8' })).toBe(false);
    expect(is({ kind: 'address', address: '10.96.0.1', protocol: 'TCP', port: 80 })).toBe(true);
    expect(is({ kind: 'address', address: '10.96.0.1', protocol: 'UDP', port: 80 })).toBe(false);
    expect(is({ kind: 'localPort', protocol: 'TCP', port: 80 })).toBe(true);
    expect(is({ kind: 'localPort', protocol: 'UDP', port: 80 })).toBe(false);
  });
});

describe('the slots of a rule', () => {
  const listener = { address: '169.254.96.16', port: 30001 };

  it('are its endpoints, then the listener as often as it has others', () => {
    const mixed = rule({ tunnelled: 2 });
    expect([...slotsOf(mixed)].map(({ port }) => port)).toEqual([8080, 30001, 30001]);
    expect(slotCount(mixed)).toBe(3);
  });

  it('are one where all of them are the listener', () => {
    const far = rule({ routable: [], tunnelled: 7 });
    expect([...slotsOf(far)]).toEqual([listener]);
    expect(slotCount(far)).toBe(1);
  });
});

describe('what programs read', () => {
  it('has addresses of both families at one length, and ports as the network writes them', () => {
    expect(encodePlace({ address: '10.96.0.1', port: 80 }).toString('hex')).toBe(
      '00000000000000000000ffff0a60000100500000',
    );
    expect(encodePlace({ address: 'fd00:96::1', port: 443 }).toString('hex')).toBe(
      'fd00009600000000000000000000000101bb0000',
    );
  });

  it('has rule, number of slots and way to choose', () => {
    const inTurn = rule({ tunnelled: 2, pick: { kind: 'roundRobin' } });
    expect(encodeFrontend(7, inTurn, 5).toString('hex')).toBe('07000000030000000100000005000000');
    expect(encodeFrontend(8, rule(), 0).toString('hex')).toBe('08000000010000000000000000000000');
    expect(encodeSlotKey(7, 2).toString('hex')).toBe('0700000002000000');
  });
});
