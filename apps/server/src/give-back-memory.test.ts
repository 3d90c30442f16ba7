import { type Clock, silentLogger } from '@edgemesh/core';
import { expect, it } from 'vitest';
import { giveBackMemory, type Load } from './give-back-memory.ts';

function setUp() {
  let look: (() => void) | undefined;
  const cancel = () => {
    look = undefined;
  };
  const after = (_delayMs: number, run: () => void) => {
    look = run;
    return { cancel };
  };
  const clock: Clock = { now: () => 0, wallNow: () => 0, after };
  const state = { load: { circuits: 0, nodes: 0 } as Load, collected: 0 };
  const collect = () => {
    state.collected++;
  };
  const watch = giveBackMemory({ load: () => state.load, log: silentLogger, clock, collect });
  /** How often was collected by the end of a look at this load. */
  const at = (load: Load) => {
    state.load = load;
    look?.();
    return state.collected;
  };
  return { at, watch, isWaiting: () => look !== undefined };
}

it('collects once, when many circuits have left and no more of them leave', () => {
  const { at } = setUp();
  expect(at({ circuits: 5_000, nodes: 10 })).toBe(0);
  expect(at({ circuits: 3_000, nodes: 10 })).toBe(0);
  expect(at({ circuits: 0, nodes: 10 })).toBe(0);
  expect(at({ circuits: 1, nodes: 10 })).toBe(1);
  expect(at({ circuits: 1, nodes: 10 })).toBe(1);
});

it('collects for nodes as well, and not for the comings and goings of every day', () => {
  const { at } = setUp();
  for (const circuits of [500, 0, 400, 0, 0]) expect(at({ circuits, nodes: 0 })).toBe(0);
  at({ circuits: 0, nodes: 200 });
  at({ circuits: 0, nodes: 20 });
  expect(at({ circuits: 0, nodes: 20 })).toBe(1);
});

it('leaves no timer', () => {
  const { watch, isWaiting } = setUp();
  expect(isWaiting()).toBe(true);
  watch[Symbol.dispose]();
  expect(isWaiting()).toBe(false);
});
