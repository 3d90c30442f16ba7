import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PolicyJudge } from './judge.ts';
import type { Allow } from './planner.ts';

const POD = '10.244.1.2';
const judge = (ingress: readonly Allow[] | undefined, egress?: readonly Allow[]) =>
  new PolicyJudge({
    pods: [{ pod: 'shop/web', ips: [POD, 'fd44:1::2'], ...(ingress && { ingress }), ...(egress && { egress }) }],
    problems: [],
  });
const from = (...peers: string[]) => ({
  direction: 'ingress' as const,
  pod: POD,
  peers,
  protocol: 'TCP' as const,
  port: 80,
});

describe('a judge of connections', () => {
  it('lets everything through that no policy isolates', () => {
    const one = judge([]);
    expect(one.permits(from('10.244.2.2'))).toBe(false);
    expect(one.permits({ ...from('10.244.2.2'), direction: 'egress' })).toBe(true);
    expect(one.permits({ ...from('10.244.2.2'), pod: '10.244.1.3' })).toBe(true);
  });

  it('asks for the port, in its protocol', () => {
    const one = judge([{ blocks: 'any', ports: [{ protocol: 'TCP', first: 80, last: 90 }] }]);
    expect([79, 80, 90, 91].map((port) => one.permits({ ...from(), port }))).toEqual([false, true, true, false]);
    expect(one.permits({ ...from(), protocol: 'UDP' })).toBe(false);
  });

  it('asks for the peer, however its address is written, and takes any one of several', () => {
    const one = judge([{ blocks: [{ include: ['10.244.2.2', 'fd44:2::2'], except: [] }], ports: 'any' }]);
    expect(one.permits(from('10.244.2.2'))).toBe(true);
    expect(one.permits(from('fd44:0002:0::2'))).toBe(true);
    expect(one.permits(from('10.244.2.3', '10.244.2.2'))).toBe(true);
    expect(one.permits({ ...from('10.244.2.2'), pod: 'FD44:1:0::2' })).toBe(true);
    for (const peer of ['10.244.2.3', 'fd44:2::3', '', 'nonsense']) expect(one.permits(from(peer))).toBe(false);
    expect(one.permits(from())).toBe(false);
  });

  it('heeds exceptions of the block that they belong to', () => {
    const block = { include: ['10.0.0.0/8'], except: ['10.1.0.0/16'] };
    const one = judge([{ blocks: [block, { include: ['10.1.2.0/24'], except: [] }], ports: 'any' }]);
    const answers = ['10.2.0.1', '10.1.0.1', '10.1.2.1', '11.0.0.1'].map((peer) => one.permits(from(peer)));
    expect(answers).toEqual([true, false, true, false]);
  });

  it('allows whoever is named by address, and nobody else', () => {
    const address = fc.integer({ min: 1, max: 40 }).map((n) => `10.9.0.${n}`);
    fc.assert(
      fc.property(fc.array(address), address, (named, peer) => {
        const one = judge([{ blocks: [{ include: named, except: [] }], ports: 'any' }]);
        expect(one.permits(from(peer))).toBe(named.includes(peer));
      }),
    );
  });
});
