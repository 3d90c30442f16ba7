import { type CatalogView, createCatalogFeed, EMPTY_CATALOG, silentLogger } from '@edgemesh/core';
import { createFakeClock, makeService } from '@edgemesh/testkit';
import { expect, it } from 'vitest';
import { giveBackMemory } from './give-back-memory.ts';

function setup(services = 0) {
  const ids = (count: number) => Array.from({ length: count }, (_, i) => `shop/s${i}` as const);
  const known = new Map(ids(services).map((id) => [id, makeService(id)]));
  const view = createCatalogFeed({ ...EMPTY_CATALOG, services: known });
  const change = (count: number) => view.publish(view.current, { services: new Set(ids(count)) });
  const clock = createFakeClock();
  let collected = 0;
  const disposable = giveBackMemory({ view, log: silentLogger, clock, collect: () => collected++ });
  return { change, clock, disposable, view, collected: () => collected };
}

it('collects once, when a load is over', () => {
  const { change, clock, collected } = setup();
  change(999);
  clock.advance(60_000);
  expect(collected()).toBe(0);
  change(5_000);
  clock.advance(7_000);
  change(2_000);
  clock.advance(7_999);
  change(1);
  expect(collected()).toBe(0);
  clock.advance(1);
  expect(collected()).toBe(1);
  change(1);
  clock.advance(60_000);
  expect(collected()).toBe(1);
});

it('counts what a snapshot has brought as a load, and leaves no timer', () => {
  const { clock, disposable, view, collected } = setup(1_000);
  clock.advance(8_000);
  expect(collected()).toBe(1);
  disposable[Symbol.dispose]();
  expect([view.subscribers, clock.pendingTimers]).toEqual([0, 0]);
});

it('can reach the collector of V8', async () => {
  const clock = createFakeClock();
  const view = { current: { ...EMPTY_CATALOG, services: { size: 1_000 } }, subscribe: () => () => undefined };
  using _ = giveBackMemory({ view: view as unknown as CatalogView, log: silentLogger, clock });
  const forgotten = new WeakRef({ some: 'garbage' });
  // A WeakRef keeps its target until the end of the turn in which it was made.
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(8_000);
  expect(forgotten.deref()).toBeUndefined();
});
