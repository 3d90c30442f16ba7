import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { createHealth } from './health.ts';
import { createMetrics } from './metrics.ts';
import { type ModuleContext, type StartModule, superviseModule } from './supervise.ts';

/** Lets every promise that can run, run. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

function supervised(start: StartModule) {
  const clock = createFakeClock();
  const log = createRecordingLogger();
  const health = createHealth({ clock });
  const module = superviseModule('dns', start, {
    health,
    clock,
    log,
    random: () => 1,
    retry: { initialMs: 100, maxMs: 400 },
  });
  const report = () => health.modules.map(({ name, state, reason }) => ({ name, state, reason }))[0];
  return { clock, log, health, module, report };
}

describe('a supervised module', () => {
  it('is ready after its start, and stopped after its disposal, which disposes what it made', async () => {
    let disposed = 0;
    const { module, report, health } = supervised(async () => ({ [Symbol.asyncDispose]: async () => void disposed++ }));
    expect(report()).toEqual({ name: 'dns', state: 'starting', reason: '' });
    expect(health.ready).toBe(false);
    await module.firstAttempt;
    expect(report()).toMatchObject({ state: 'ready' });
    expect(health.ready).toBe(true);
    await module[Symbol.asyncDispose]();
    await module[Symbol.asyncDispose]();
    expect(disposed).toBe(1);
    expect(report()).toMatchObject({ state: 'stopped' });
  });

  it('that fails is degraded with the reason and tried again with growing delays', async () => {
    let attempts = 0;
    const { module, report, clock, log } = supervised(async () => {
      if (++attempts < 4) throw new Error(`port 53 is busy (${attempts})`);
      return undefined;
    });
    await module.firstAttempt;
    await settle();
    expect(report()).toEqual({ name: 'dns', state: 'degraded', reason: 'port 53 is busy (1)' });
    for (const delay of [100, 200, 400]) {
      const before = attempts;
      clock.advance(delay - 1);
      await settle();
      expect(attempts).toBe(before);
      clock.advance(1);
      await settle();
      expect(attempts).toBe(before + 1);
    }
    expect(report()).toEqual({ name: 'dns', state: 'ready', reason: '' });
    expect(log.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields.delayMs)).toEqual([
      100, 200, 400,
    ]);
    await module[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
  });

  it('that breaks later is disposed and started again', async () => {
    const contexts: ModuleContext[] = [];
    let disposed = 0;
    const { module, report, clock } = supervised(async (context) => {
      contexts.push(context);
      return { [Symbol.dispose]: () => void disposed++ };
    });
    await module.firstAttempt;
    contexts[0]?.degraded('upstream is gone');
    expect(report()).toMatchObject({ state: 'degraded', reason: 'upstream is gone' });
    contexts[0]?.ready();
    expect(report()).toMatchObject({ state: 'ready', reason: '' });
    contexts[0]?.failed(new Error('socket closed'));
    await settle();
    expect([disposed, contexts[0]?.signal.aborted]).toEqual([1, true]);
    expect(report()).toMatchObject({ state: 'degraded', reason: 'socket closed' });
    clock.advance(100);
    await settle();
    expect(report()).toMatchObject({ state: 'ready' });
    contexts[0]?.degraded('from a run that is over');
    expect(report()).toMatchObject({ state: 'ready' });
    await module[Symbol.asyncDispose]();
    expect(disposed).toBe(2);
  });

  it('restarts at once when told, also out of the pause after a failure', async () => {
    let attempts = 0;
    const { module, report } = supervised(async () => {
      if (++attempts === 1) throw new Error('no');
      return undefined;
    });
    await module.firstAttempt;
    await settle();
    module.restart('configuration changed');
    await settle();
    expect([attempts, report()?.state]).toEqual([2, 'ready']);
    module.restart('configuration changed');
    await settle();
    expect(attempts).toBe(3);
    await module[Symbol.asyncDispose]();
  });

  it('whose start hangs does not block the others, and is left behind when it does not stop', async () => {
    const { module, report, clock, log } = supervised(() => new Promise(() => undefined));
    clock.advance(30_000);
    await module.firstAttempt;
    expect(report()).toMatchObject({ state: 'degraded', reason: 'has not started after 30 s, still trying' });
    const stopped = module[Symbol.asyncDispose]();
    await settle();
    clock.advance(10_000);
    await stopped;
    expect(log.lines.at(-1)?.message).toBe('module does not stop, it is left behind');
    expect(report()).toMatchObject({ state: 'stopped' });
  });

  it('that throws while it stops is logged, and stopped all the same', async () => {
    const { module, report, log } = supervised(async () => ({
      [Symbol.dispose]() {
        throw new Error('cannot');
      },
    }));
    await module.firstAttempt;
    await module[Symbol.asyncDispose]();
    expect(log.lines.map(({ message }) => message)).toContain('module failed to stop');
    expect(report()).toMatchObject({ state: 'stopped' });
  });

  it('that throws synchronously is a failure like any other', async () => {
    const { module, report } = supervised(() => {
      throw new Error('at once');
    });
    await module.firstAttempt;
    await settle();
    expect(report()).toMatchObject({ state: 'degraded', reason: 'at once' });
    await module[Symbol.asyncDispose]();
  });
});

describe('health', () => {
  it('keeps since with the state, not with the reason, and shows the state as a metric', () => {
    const clock = createFakeClock(0);
    const metrics = createMetrics();
    const health = createHealth({ clock, metrics });
    const seen: string[] = [];
    const stop = health.subscribe(({ state, reason }) => seen.push(`${state} ${reason}`));
    const module = health.register('tunnel', { critical: false });
    clock.advance(1000);
    module.set('degraded', 'a');
    clock.advance(1000);
    module.set('degraded', 'b');
    module.set('degraded', 'b');
    stop();
    expect(health.modules).toEqual([
      { name: 'tunnel', state: 'degraded', reason: 'b', since: '1970-01-01T00:00:01.000Z', critical: false },
    ]);
    expect(seen).toEqual(['starting ', 'degraded a', 'degraded b']);
    expect(health.ready).toBe(true);
    expect(metrics.render()).toContain('edgemesh_module_state{module="tunnel",state="degraded"} 1');
    expect(() => health.register('tunnel')).toThrow('registered already');
    module.remove();
    module.set('ready');
    expect(health.modules).toEqual([]);
  });
});
