import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { NetworkWatch } from './network-watch.ts';
import type { InterfaceAddress } from './own-addresses.ts';

const address = (name: string, host: string): InterfaceAddress => ({
  interface: name,
  host,
  cidr: `${host}/24`,
  loopback: false,
});

describe('the watch over the own network', () => {
  it('tells of addresses that come and go, and of nothing else', () => {
    const clock = createFakeClock();
    let now = [address('eth0', '10.0.0.1'), address('wlan0', '10.0.1.1')];
    using watch = new NetworkWatch({ clock, intervalMs: 1_000, read: () => now });
    let changes = 0;
    const stop = watch.onChange(() => changes++);
    clock.advance(1_000);
    now = [...now].reverse();
    clock.advance(1_000);
    expect(changes).toBe(0);
    now = [address('eth0', '10.0.0.2'), address('wlan0', '10.0.1.1')];
    clock.advance(1_000);
    expect(changes).toBe(1);
    now = now.slice(1);
    clock.advance(3_000);
    expect(changes).toBe(2);
    stop();
    now = [];
    clock.advance(1_000);
    expect(changes).toBe(2);
  });
});
