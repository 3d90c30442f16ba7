import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { IdleWatch } from './idle-watch.ts';

const fakeSocket = () => ({
  bytesRead: 0,
  bytesWritten: 0,
  readableEnded: false,
  writableEnded: false,
  keepAlives: [] as number[],
  setKeepAlive(_: boolean, ms: number) {
    this.keepAlives.push(ms);
  },
});

function watching(limits: { idleMs?: number; halfClosedIdleMs?: number; keepAliveMs?: number }) {
  const clock = createFakeClock();
  const watch = new IdleWatch({ idleMs: 0, halfClosedIdleMs: 0, keepAliveMs: 0, ...limits }, clock);
  const socket = fakeSocket();
  const watched = watch.add(socket);
  let expiredAt: number | undefined;
  watched.expired = () => {
    expiredAt ??= clock.now();
    watch.remove(watched);
  };
  return { clock, watch, socket, watched, expiredAt: () => expiredAt };
}

describe('the idle watch', () => {
  it('expires a silent connection within a quarter more of its time', () => {
    const { clock, expiredAt } = watching({ idleMs: 1_000 });
    clock.advance(5_000);
    expect(expiredAt()).toBeGreaterThanOrEqual(1_000);
    expect(expiredAt()).toBeLessThanOrEqual(1_500);
    expect(clock.pendingTimers).toBe(0);
  });

  it.each(['bytesRead', 'bytesWritten'] as const)('spares a connection whose %s grow', (counter) => {
    const { clock, socket, expiredAt } = watching({ idleMs: 1_000 });
    for (let i = 0; i < 50; i++) {
      socket[counter]++;
      clock.advance(400);
    }
    expect(expiredAt()).toBeUndefined();
  });

  it.each(['readableEnded', 'writableEnded'] as const)('gives a connection less time with %s', (end) => {
    const { clock, socket, expiredAt } = watching({ halfClosedIdleMs: 1_000 });
    clock.advance(10_000);
    expect(expiredAt()).toBeUndefined();
    socket[end] = true;
    clock.advance(2_000);
    expect(expiredAt()).toBeGreaterThan(10_000);
  });

  it('asks for keep-alive of connections that last, once', () => {
    const { clock, watch, socket, watched } = watching({ keepAliveMs: 60_000 });
    expect(socket.keepAlives).toEqual([]);
    clock.advance(100_000);
    expect(socket.keepAlives).toEqual([60_000]);
    watch.remove(watched);
    clock.advance(20_000);
    expect(clock.pendingTimers).toBe(0);
  });

  it('leaves a connection to the kernel that may be silent for ever', () => {
    const { clock, socket, watched } = watching({ keepAliveMs: 60_000 });
    delete watched.expired;
    clock.advance(20_000);
    expect(socket.keepAlives).toEqual([60_000]);
    expect(clock.pendingTimers).toBe(0);
  });
});
