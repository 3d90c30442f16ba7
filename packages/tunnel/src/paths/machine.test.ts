import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pathDefaults } from '../options.ts';
import { PATH_KINDS, type PathKind } from '../types.ts';
import { initialPathState, isBetterPath, type PathEvent, type PathState, type PathStep, stepPaths } from './machine.ts';

const step = (state: PathState, event: PathEvent, now = 0) => stepPaths(state, event, now, pathDefaults, () => 0.5);
const run = (events: readonly (readonly [number, PathEvent])[]) =>
  events.reduce<PathStep>((last, [now, event]) => step(last.state, event, now), {
    state: initialPathState,
    start: [],
    nextDeadline: undefined,
    transition: undefined,
  });
const all: PathEvent = { type: 'candidates', kinds: PATH_KINDS };
const wanted: PathEvent = { type: 'wanted', onLan: false };

describe('path choice', () => {
  it('starts nothing before somebody wants the peer', () => {
    expect(run([[0, all]]).start).toEqual([]);
  });

  it('tries lan, direct and relayed at once, and neither punches nor uses circuits at first', () => {
    expect(
      run([
        [0, all],
        [0, wanted],
      ]).start,
    ).toEqual(['lan', 'direct', 'relayed']);
  });

  it('gives a peer on the LAN a head start before asking the relay', () => {
    const first = run([
      [0, all],
      [0, { type: 'wanted', onLan: true }],
    ]);
    expect(first.start).toEqual(['lan', 'direct']);
    expect(first.nextDeadline).toBe(pathDefaults.lanHeadStartMs);
    expect(step(first.state, { type: 'tick' }, pathDefaults.lanHeadStartMs).start).toEqual(['relayed']);
  });

  it('punches only once a path works, and only while the path is worse', () => {
    const relayed = run([
      [0, all],
      [0, wanted],
      [5, { type: 'up', kind: 'relayed' }],
    ]);
    expect(relayed.start).toEqual(['punched']);
    expect(step(relayed.state, { type: 'moved', kind: 'direct' }, 6).start).toEqual([]);
  });

  it('gives up punching after some failures, until the network changes', () => {
    let state = run([
      [0, all],
      [0, wanted],
      [0, { type: 'up', kind: 'relayed' }],
    ]).state;
    let now = 0;
    for (let i = 0; i < pathDefaults.maxPunchFailures; i++) {
      state = step(state, { type: 'failed', kind: 'punched', reason: 'no answer' }, now).state;
      now = state.tries.punched.notBefore;
      state = step(state, { type: 'tick' }, now).state;
    }
    expect(step(state, { type: 'tick' }, now + 1e9).start).not.toContain('punched');
    expect(step(state, { type: 'changed' }, now + 1e9).start).toContain('punched');
  });

  it('falls back to a circuit when the relay refuses to splice', () => {
    const failed = run([
      [0, all],
      [0, wanted],
      [5, { type: 'failed', kind: 'relayed', reason: 'limit' }],
    ]);
    expect(failed.start).toEqual(['circuit']);
  });

  it('keeps a better path when a worse one comes up later', () => {
    const later = run([
      [0, all],
      [0, wanted],
      [1, { type: 'up', kind: 'lan' }],
      [2, { type: 'up', kind: 'relayed' }],
    ]);
    expect(later.state.active).toBe('lan');
    expect(later.transition).toBeUndefined();
  });

  it('looks for any other path beside one that does not answer, until it does', () => {
    const relayed = run([
      [0, all],
      [0, wanted],
      [5, { type: 'up', kind: 'relayed' }],
      [6, { type: 'reached', kind: 'relayed' }],
      [7, { type: 'failed', kind: 'lan', reason: 'timeout' }],
      [8, { type: 'failed', kind: 'direct', reason: 'timeout' }],
      [9, { type: 'failed', kind: 'punched', reason: 'timeout' }],
    ]).state;
    const suspect = step(relayed, { type: 'suspect' }, 10);
    expect(suspect.start).toEqual(['lan', 'direct', 'punched', 'relayed']);
    const trusted = step(suspect.state, { type: 'trusted' }, 11).state;
    const failed = step(trusted, { type: 'failed', kind: 'relayed', reason: 'timeout' }, 12).state;
    expect(step(failed, { type: 'tick' }, 1e9).start).not.toContain('relayed');
  });

  it('remembers that a better path did not answer, and pauses longer each time before it goes back', () => {
    let state = run([
      [0, all],
      [0, wanted],
      [0, { type: 'up', kind: 'lan' }],
    ]).state;
    const pauses: number[] = [];
    for (let now = 1_000; now < 5_000; now += 1_000) {
      state = step(state, { type: 'moved', kind: 'relayed' }, now).state;
      pauses.push(state.tries.lan.notBefore - now);
      state = step(state, { type: 'reached', kind: 'lan' }, now).state;
      const back = step(state, { type: 'moved', kind: 'lan' }, now);
      expect(back.transition).toEqual({ from: 'relayed', to: 'lan', reason: 'better path' });
      state = back.state;
    }
    expect(pauses.every((pause, i) => i === 0 || pause > (pauses[i - 1] as number))).toBe(true);
  });

  it('does not pause for long while there is no path at all', () => {
    let state = run([
      [0, all],
      [0, wanted],
    ]).state;
    for (let i = 0; i < 20; i++) {
      const now = i * 10_000;
      state = step(state, { type: 'failed', kind: 'relayed', reason: 'timeout' }, now).state;
      expect(state.tries.relayed.notBefore - now).toBeLessThanOrEqual(pathDefaults.retryDownMaxMs);
      state = step(state, { type: 'tick' }, state.tries.relayed.notBefore).state;
    }
  });

  it('retries a dead path at once when it lived long, and pauses when it died young', () => {
    const up: (readonly [number, PathEvent])[] = [
      [0, all],
      [0, wanted],
      [0, { type: 'up', kind: 'lan' }],
      [0, { type: 'reached', kind: 'lan' }],
    ];
    const old = run([...up, [pathDefaults.minHealthyMs, { type: 'down', reason: 'reset' }]]);
    expect(old.start).toContain('lan');
    const young = run([...up, [100, { type: 'down', reason: 'reset' }]]);
    expect(young.start).not.toContain('lan');
    expect(young.transition).toEqual({ from: 'lan', to: undefined, reason: 'reset' });
  });

  it('doubles the pause between failures up to its maximum and forgets them when the network changes', () => {
    let state = run([
      [0, all],
      [0, wanted],
      [0, { type: 'up', kind: 'relayed' }],
    ]).state;
    let now = 0;
    const pauses: number[] = [];
    for (let i = 0; i < 12; i++) {
      state = step(state, { type: 'failed', kind: 'lan', reason: 'timeout' }, now).state;
      pauses.push(state.tries.lan.notBefore - now);
      now = state.tries.lan.notBefore;
      state = step(state, { type: 'tick' }, now).state;
    }
    expect(pauses[1]).toBe((pauses[0] as number) * 2);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(pathDefaults.retryMaxMs);
    state = step(state, { type: 'failed', kind: 'lan', reason: 'timeout' }, now).state;
    expect(step(state, { type: 'changed' }, now).start).toContain('lan');
  });

  it('stops looking when nobody wants the peer any more', () => {
    const idle = run([
      [0, all],
      [0, wanted],
      [1, { type: 'failed', kind: 'lan', reason: 'x' }],
      [2, { type: 'idle' }],
    ]);
    expect(idle.nextDeadline).toBeUndefined();
    expect(step(idle.state, { type: 'tick' }, 1e9).start).toEqual([]);
  });

  it('holds its promises for every order of events', () => {
    const kind = fc.constantFrom<PathKind>(...PATH_KINDS);
    const event: fc.Arbitrary<PathEvent> = fc.oneof(
      fc.boolean().map((onLan): PathEvent => ({ type: 'wanted', onLan })),
      fc.constantFrom<PathEvent>(
        { type: 'idle' },
        { type: 'changed' },
        { type: 'tick' },
        { type: 'down', reason: 'x' },
      ),
      fc.subarray([...PATH_KINDS]).map((kinds): PathEvent => ({ type: 'candidates', kinds })),
      kind.map((k): PathEvent => ({ type: 'up', kind: k })),
      kind.map((k): PathEvent => ({ type: 'moved', kind: k })),
      kind.map((k): PathEvent => ({ type: 'reached', kind: k })),
      fc.constantFrom<PathEvent>({ type: 'suspect' }, { type: 'trusted' }),
      kind.map((k): PathEvent => ({ type: 'failed', kind: k, reason: 'x' })),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5_000), event), { maxLength: 60 }), (events) => {
        let state = initialPathState;
        let now = 0;
        for (const [pause, e] of events) {
          now += pause;
          const before = state;
          const result = step(state, e, now);
          state = result.state;
          for (const k of result.start) {
            expect(before.tries[k].trying && e.type !== 'reached' && e.type !== 'failed').toBe(false);
            expect(state.wanted && state.candidates.has(k)).toBe(true);
            expect(state.suspect || isBetterPath(k, state.active)).toBe(true);
            expect(state.tries[k].trying).toBe(true);
          }
          if (result.nextDeadline !== undefined) expect(result.nextDeadline).toBeGreaterThan(now);
          if (e.type === 'up') expect(state.active).toBe(before.active ?? e.kind);
          if (e.type === 'moved' && before.active !== undefined) expect(state.active).toBe(e.kind);
          if (state.active === undefined) expect(state.suspect).toBe(false);
        }
      }),
    );
  });
});
