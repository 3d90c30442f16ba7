import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHealthMachine } from './health-machine.ts';

const limits = { healthyThreshold: 2, unhealthyThreshold: 3, maxEjectionPercent: 100 };
const fail = (machine: ReturnType<typeof createHealthMachine>, key: string) => {
  for (let i = 0; i < 3; i++) machine.record(key, false);
};

describe('health machine', () => {
  it('changes its mind after the threshold of results in a row', () => {
    const machine = createHealthMachine(limits);
    machine.members(['a', 'b']);
    expect([false, false, true, false, false, false].map((ok) => machine.record('a', ok))).toEqual([
      ...[false, false, false, false, false],
      true,
    ]);
    expect([...machine.ejected()]).toEqual(['a']);
    expect([true, false, true, true].map((ok) => machine.record('a', ok))).toEqual([false, false, false, true]);
    expect(machine.ejected().size).toBe(0);
  });

  it('leaves out nobody when everybody fails, and never the only one', () => {
    const machine = createHealthMachine(limits);
    machine.members(['a', 'b']);
    fail(machine, 'a');
    fail(machine, 'b');
    expect(machine.ejected().size).toBe(0);
    machine.members(['a', 'c']);
    expect([...machine.ejected()]).toEqual(['a']);
    machine.members(['a']);
    expect(machine.ejected().size).toBe(0);
  });

  it('leaves out those that failed first, up to the share that may be out', () => {
    const machine = createHealthMachine({ ...limits, maxEjectionPercent: 50 });
    machine.members(['a', 'b', 'c', 'd']);
    for (const key of ['c', 'a', 'd']) fail(machine, key);
    expect([...machine.ejected()]).toEqual(['c', 'a']);
    machine.record('c', true);
    machine.record('c', true);
    expect([...machine.ejected()]).toEqual(['a', 'd']);
  });

  it('forgets who left, and keeps no trace of results of others', () => {
    const machine = createHealthMachine(limits);
    machine.members(['a', 'b']);
    fail(machine, 'a');
    machine.members(['b']);
    machine.members(['a', 'b']);
    expect(machine.isHealthy('a')).toBe(true);
    expect(machine.record('gone', false)).toBe(false);
  });

  it('agrees with a slow oracle, and always leaves somebody in', () => {
    const results = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()), { maxLength: 60 });
    fc.assert(
      fc.property(results, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), (list, up, down) => {
        const machine = createHealthMachine({
          healthyThreshold: up,
          unhealthyThreshold: down,
          maxEjectionPercent: 100,
        });
        machine.members(['a', 'b', 'c']);
        for (const [key, ok] of list) machine.record(key, ok);
        for (const key of ['a', 'b', 'c'])
          expect(machine.isHealthy(key)).toBe(
            oracle(
              list.filter(([k]) => k === key).map(([, ok]) => ok),
              up,
              down,
            ),
          );
        expect(machine.ejected().size).toBeLessThan(3);
      }),
    );
  });
});

/** The state after the last run of equal results that was long enough to change it. */
function oracle(results: readonly boolean[], up: number, down: number): boolean {
  let healthy = true;
  for (let end = 1; end <= results.length; end++) {
    const threshold = healthy ? down : up;
    const run = results.slice(Math.max(0, end - threshold), end);
    if (run.length === threshold && run.every((ok) => ok !== healthy)) healthy = !healthy;
  }
  return healthy;
}
