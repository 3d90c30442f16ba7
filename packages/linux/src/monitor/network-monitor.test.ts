import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { LINUX_DEFAULTS } from '../options.ts';
import { monitorNetwork, type NetworkEvent, readEvent } from './network-monitor.ts';

describe('lines of ip monitor', () => {
  it.each([
    ['2: eth0    inet 10.0.0.5/24 scope global eth0\\       valid_lft forever', 'address'],
    ['Deleted 2: eth0    inet6 fe80::1/64 scope link \\  valid_lft forever', 'address'],
    ['3: veth1@if2: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state UP group default', 'address'],
    ['default via 10.0.0.1 dev eth0 ', 'default-route'],
    ['Deleted default via 10.0.0.1 dev eth0 proto dhcp metric 100 ', 'default-route'],
    ['10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.5 ', undefined],
    ['local 10.0.0.5 dev eth0 table local proto kernel scope host src 10.0.0.5 ', undefined],
    ['', undefined],
  ])('%s', (line, event) => {
    expect(readEvent(line)).toBe(event);
  });
});

describe('a network monitor', () => {
  it('tells of events, and starts again when its tool ends', async () => {
    const clock = createFakeClock();
    const events: NetworkEvent[] = [];
    const command = ['sh', '-c', 'echo "2: eth0 inet"; echo "default via 10.0.0.1"'] as const;
    using monitor = monitorNetwork({ onEvent: (event) => events.push(event), command: [...command], clock });
    expect(monitor.isWatching).toBe(true);
    await expect.poll(() => events).toEqual(['address', 'default-route']);
    await expect.poll(() => monitor.isWatching).toBe(false);
    clock.advance(LINUX_DEFAULTS.monitorRestartMs);
    await expect.poll(() => events).toHaveLength(4);
  });

  it('does not watch where there is no such tool', async () => {
    using monitor = monitorNetwork({ onEvent: () => undefined, command: ['/nowhere/ip'] });
    await expect.poll(() => monitor.isWatching).toBe(false);
  });
});
