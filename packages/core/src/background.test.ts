import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { backoffDelay, detach, runForever, sleep } from './background.ts';

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('backoff', () => {
  it('doubles up to its maximum and stays within 50 to 100 % of it', () => {
    const options = { initialMs: 100, maxMs: 1_000 };
    expect([0, 1, 2, 3, 4, 60].map((attempt) => backoffDelay(attempt, options, () => 1))).toEqual([
      100, 200, 400, 800, 1_000, 1_000,
    ]);
    expect(backoffDelay(0, options, () => 0)).toBe(50);
  });
});

describe('sleep', () => {
  it('ends at its time', async () => {
    const clock = createFakeClock();
    let awake = false;
    const done = sleep(100, clock, new AbortController().signal).then(() => {
      awake = true;
    });
    clock.advance(99);
    await settle();
    expect(awake).toBe(false);
    clock.advance(1);
    await done;
    expect(awake).toBe(true);
  });

  it('ends when aborted, and leaves no timer', async () => {
    const clock = createFakeClock();
    const abort = new AbortController();
    const done = sleep(100, clock, abort.signal);
    abort.abort();
    await done;
    expect(clock.pendingTimers).toBe(0);
    await sleep(100, clock, abort.signal);
  });
});

describe('background work', () => {
  it('is repeated after a failure with a growing pause, and ends with the signal', async () => {
    const clock = createFakeClock();
    const log = createRecordingLogger();
    const abort = new AbortController();
    let runs = 0;
    const options = { name: 'test', log, clock, signal: abort.signal, backoff: { initialMs: 100, maxMs: 400 } };
    const done = runForever(options, async () => {
      runs++;
      throw new Error('no luck');
    });
    for (let i = 0; i < 4; i++) {
      await settle();
      clock.advance(400);
    }
    await settle();
    expect(runs).toBe(5);
    expect(log.lines[0]).toMatchObject({ level: 'warn', fields: { work: 'test', error: 'no luck' } });
    abort.abort();
    await done;
    expect(clock.pendingTimers).toBe(0);
  });

  it('never becomes an unhandled rejection', async () => {
    const log = createRecordingLogger();
    detach('lonely', log, Promise.reject(new Error('broken')));
    await settle();
    expect(log.lines).toEqual([
      { level: 'error', message: 'background work failed', fields: { work: 'lonely', error: 'broken' } },
    ]);
  });
});
