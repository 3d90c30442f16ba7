import { noMetrics, silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { createDnsMetrics } from '../metrics.ts';
import { LIMITS } from '../options.ts';
import { openListeners } from './listeners.ts';
import type { ListenerDeps } from './udp-listener.ts';

/** Listeners over openers that tests can make fail. */
async function fakeListeners(port: number) {
  const clock = createFakeClock();
  const opened: { readonly transport: string; readonly port: number; readonly lose: (error: Error) => void }[] = [];
  const refuse = new Set<string>();
  let closed = 0;
  const opener = (transport: string) => (address: string, wanted: number, deps: ListenerDeps) => {
    if (refuse.has(`${transport}:${wanted}`)) {
      return Promise.reject(Object.assign(new Error('taken'), { code: 'EADDRINUSE' }));
    }
    const bound = wanted === 0 ? 40_000 + opened.length : wanted;
    opened.push({ transport, port: bound, lose: deps.onLost });
    return Promise.resolve({ address, port: bound, close: () => Promise.resolve(void closed++) });
  };
  const listeners = await openListeners([{ address: '127.0.0.1', port }], {
    resolver: { answerNow: () => undefined, answerLater: () => undefined },
    limits: LIMITS,
    metrics: createDnsMetrics(noMetrics),
    clock,
    random: () => 0.5,
    log: silentLogger,
    openers: { udp: opener('udp'), tcp: opener('tcp') },
  });
  return { clock, opened, refuse, listeners, closed: () => closed };
}

describe('a listener that is lost', () => {
  it('is reported and bound again on the same port, while the other goes on', async () => {
    const { clock, opened, refuse, listeners } = await fakeListeners(0);
    const port = opened[0]?.port as number;
    expect(opened.map((o) => o.port)).toEqual([port, port]);
    refuse.add(`udp:${port}`);
    opened[0]?.lose(new Error('recv failed'));
    expect(listeners.status).toEqual([
      { address: '127.0.0.1', port, transport: 'udp', state: 'down', error: 'recv failed' },
      { address: '127.0.0.1', port, transport: 'tcp', state: 'up' },
    ]);
    clock.advance(LIMITS.rebindMinMs);
    await new Promise(setImmediate);
    expect(listeners.status[0]).toMatchObject({ state: 'down', error: expect.stringContaining('EADDRINUSE') });
    refuse.clear();
    clock.advance(LIMITS.rebindMaxMs);
    await new Promise(setImmediate);
    expect(listeners.status[0]).toMatchObject({ state: 'up', port });
    expect(opened.at(-1)).toMatchObject({ transport: 'udp', port });
  });

  it('is not bound again after the server is disposed', async () => {
    const { clock, opened, listeners, closed } = await fakeListeners(0);
    opened[1]?.lose(new Error('gone'));
    await listeners[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
    expect(opened).toHaveLength(2);
    expect(closed()).toBe(1);
  });
});
