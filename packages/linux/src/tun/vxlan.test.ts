import { describe, expect, it } from 'vitest';
import { createRecordingRunner } from '../exec.ts';
import { createVxlan, type VxlanPeer } from './vxlan.ts';

const MAC = '0a:00:00:00:00:01';
const near: VxlanPeer = { remote: '192.168.1.2', mac: '0a:00:00:00:00:02', gateways: ['10.244.2.1', 'fd44:2::1'] };
const next: VxlanPeer = { remote: '192.168.1.3', mac: '0a:00:00:00:00:03', gateways: ['10.244.3.1'] };

/** A kernel that has the device or not; `lines` are the batch lines since the last look. */
function machine(isThere = false) {
  let there = isThere;
  const runner = createRecordingRunner(({ args, input = '' }) => {
    if (input.includes('link add')) there = true;
    if (args.join(' ').startsWith('link del')) there = false;
    return args[1] === 'show' && !there ? { code: 1 } : {};
  });
  const vxlan = createVxlan({
    name: 'vx9',
    id: 94,
    port: 8472,
    mtu: 1450,
    runner,
    writeSetting: async () => undefined,
  });
  let seen = 0;
  const lines = () => {
    const fresh = runner.calls.slice(seen);
    seen = runner.calls.length;
    return fresh.flatMap(({ input }) => input?.trim().split('\n') ?? []);
  };
  const setThere = (value: boolean) => {
    there = value;
  };
  return { vxlan, lines, setThere, isThere: () => there };
}

describe('the VXLAN device', () => {
  it('is made with the first peer, and knows it by neighbour and forwarding entries alone', async () => {
    const { vxlan, lines } = machine();
    expect(await vxlan.apply(MAC, [])).toBe(0);
    expect(lines()).toEqual([]);
    await vxlan.apply(MAC, [near]);
    expect(lines()).toEqual([
      `link add name vx9 address ${MAC} mtu 1450 type vxlan id 94 dstport 8472 nolearning`,
      'link set dev vx9 addrgenmode none',
      'link set dev vx9 up',
      `neigh replace 10.244.2.1 lladdr ${near.mac} dev vx9 nud permanent`,
      `neigh replace fd44:2::1 lladdr ${near.mac} dev vx9 nud permanent`,
      `fdb replace ${near.mac} dev vx9 dst 192.168.1.2 self permanent`,
    ]);
    expect(await vxlan.apply(MAC, [near])).toBe(0);
  });

  it('follows peers that come, move and go, and goes with the last', async () => {
    const { vxlan, lines, isThere } = machine();
    await vxlan.apply(MAC, [near, next]);
    lines();
    await vxlan.apply(MAC, [{ ...near, remote: '192.168.1.9' }]);
    expect(lines()).toEqual([
      'neigh del 10.244.3.1 dev vx9',
      `fdb del ${next.mac} dev vx9 dst 192.168.1.3`,
      `fdb replace ${near.mac} dev vx9 dst 192.168.1.9 self permanent`,
    ]);
    await vxlan.apply(MAC, []);
    expect(isThere()).toBe(false);
  });

  it('takes another MTU, now and when it is made anew', async () => {
    const { vxlan, lines } = machine();
    await vxlan.setMtu(1400);
    await vxlan.apply(MAC, [near]);
    expect(lines()[0]).toContain('mtu 1400');
  });

  it('is made anew where somebody removed it, and where an earlier process left one', async () => {
    const removed = machine();
    await removed.vxlan.apply(MAC, [near]);
    removed.setThere(false);
    removed.lines();
    await removed.vxlan.apply(MAC, [near]);
    expect(removed.lines()).toHaveLength(6);
    const left = machine(true);
    await left.vxlan.apply(MAC, [near]);
    expect(left.lines()).toHaveLength(6);
    await left.vxlan.clear();
    expect(left.isThere()).toBe(false);
  });
});
