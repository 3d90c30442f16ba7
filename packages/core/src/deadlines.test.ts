import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Timer } from './clock.ts';
import { Deadlines } from './deadlines.ts';

const step = fc.record({ wait: fc.nat(30), ms: fc.constantFrom(5, 20, 50), cancel: fc.option(fc.nat(40)) });

describe('deadlines', () => {
  it('run exactly when they are due, unless they were cancelled before', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const clock = createFakeClock();
        const deadlines = new Deadlines(clock);
        const timers: Timer[] = [];
        const due: number[] = [];
        const cancelledAt: number[] = [];
        const ranAt = new Map<number, number>();
        for (const [id, { wait, ms, cancel }] of steps.entries()) {
          clock.advance(wait);
          due[id] = clock.now() + ms;
          timers[id] = deadlines.after(ms, () => ranAt.set(id, clock.now()));
          if (cancel === null || cancel > id) continue;
          timers[cancel]?.cancel();
          cancelledAt[cancel] ??= clock.now();
        }
        clock.advance(100);
        const expected = due.flatMap((at, id) => ((cancelledAt[id] ?? 1e9) < at ? [] : [[id, at]]));
        expect([...ranAt].sort(([a], [b]) => a - b)).toEqual(expected);
        expect(clock.pendingTimers).toBe(0);
      }),
    );
  });

  it('need one timer per duration, and none once they are stopped', () => {
    const clock = createFakeClock();
    const deadlines = new Deadlines(clock);
    for (let i = 0; i < 10; i++) deadlines.after(10, () => expect.unreachable());
    expect(clock.pendingTimers).toBe(1);
    deadlines.stop();
    expect(clock.pendingTimers).toBe(0);
    clock.advance(20);
  });
});
