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

const times = { intervalMs: 1_000, watchedIntervalMs: 15_000, settleMs: 100 };

describe('the watch over the own network', () => {
  it('tells of addresses that come and go, and of nothing else', () => {
    const clock = createFakeClock();
    let now = [address('eth0', '10.0.0.1'), address('wlan0', '10.0.1.1')];
    using watch = new NetworkWatch({ clock, ...times, read: () => now });
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

  it('looks at once when the kernel tells of a change, once for a group of events, and seldom otherwise', () => {
    const clock = createFakeClock();
    const now = [address('eth0', '10.0.0.1')];
    let tell: (event: 'address' | 'default-route') => void = () => undefined;
    const events = { isWatching: true, [Symbol.dispose]: () => undefined };
    let looks = 0;
    let changes = 0;
    const watch = new NetworkWatch({
      ...{ clock, ...times },
      read: () => {
        looks++;
        return now;
      },
      watch: (onEvent) => {
        tell = onEvent;
        return events;
      },
    });
    watch.onChange(() => changes++);
    clock.advance(14_000);
    expect(looks).toBe(1);
    now.push(address('wlan0', '10.0.1.1'));
    tell('address');
    clock.advance(50);
    tell('address');
    clock.advance(50);
    expect([looks, changes]).toEqual([2, 1]);
    tell('address');
    clock.advance(100);
    expect(changes).toBe(1); // nothing that we care for
    tell('default-route');
    clock.advance(100);
    expect(changes).toBe(2);
    events.isWatching = false;
    clock.advance(15_000); // the interval that was set before
    const before = looks;
    clock.advance(3_000);
    expect(looks).toBe(before + 3);
    watch[Symbol.dispose]();
    expect(clock.pendingTimers).toBe(0);
  });
});
