import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { Turns } from './turns.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

function setUp() {
  const clock = createFakeClock();
  const pumps = { count: 0 };
  const turns = new Turns(clock, () => {
    pumps.count++;
    turns.begin();
  });
  /** Turns of the event loop until it sends, each of which finds something, or not. */
  const turnsUntilSent = async (found: (n: number) => boolean) => {
    const before = pumps.count;
    for (let n = 1; n < 100; n++) {
      await turn();
      if (pumps.count > before) return n;
      if (found(n)) turns.wake(1);
    }
    throw new Error('nothing was sent');
  };
  return { clock, turns, pumps, turnsUntilSent };
}

describe('the turns of a session', () => {
  it('look once more, and send when that finds nothing', async () => {
    const { turns, turnsUntilSent } = setUp();
    turns.wake(10);
    expect(await turnsUntilSent(() => false)).toBe(2);
  });

  it('look on while looks find something, eight times', async () => {
    const { turns, turnsUntilSent } = setUp();
    turns.wake(10);
    expect(await turnsUntilSent((n) => n <= 3)).toBe(5);
    turns.wake(10);
    expect(await turnsUntilSent(() => true)).toBe(9);
  });

  it('look for a millisecond at most', async () => {
    const { clock, turns, turnsUntilSent } = setUp();
    turns.wake(10);
    const sentAfter = await turnsUntilSent((n) => {
      if (n === 2) clock.advance(1);
      return true;
    });
    expect(sentAfter).toBe(3);
  });

  it('do not let a full batch wait', async () => {
    const { turns, pumps } = setUp();
    turns.wake(200_000);
    expect(pumps.count).toBe(0); // never inside of the writer's own call
    await Promise.resolve();
    expect(pumps.count).toBe(1);
  });

  it('send late what nobody waits for, and at once with what somebody does', async () => {
    const { clock, turns, pumps, turnsUntilSent } = setUp();
    turns.wakeLater();
    await turn();
    expect(pumps.count).toBe(0);
    clock.advance(2);
    expect(await turnsUntilSent(() => false)).toBe(2);
  });

  it('end when they are stopped', async () => {
    const { clock, turns, pumps } = setUp();
    turns.wake(10);
    turns.wakeLater();
    turns.stop();
    clock.advance(10);
    for (let n = 0; n < 12; n++) await turn();
    expect(pumps.count).toBe(0);
  });
});
