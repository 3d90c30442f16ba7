import { noMetrics } from '@edgemesh/core';
import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import { expect, test } from 'vitest';
import { TunnelError } from '../../errors.ts';
import { controlDefaults } from '../../options.ts';
import type { SocketAddress } from '../../types.ts';
import type { Link, Links } from '../links.ts';
import { createControlMetrics } from '../metrics.ts';
import { OWN_ADDRESS } from '../transport/tcp.ts';
import { Relays } from './relays.ts';

interface FakeLink extends Link {
  rttMs: number;
  lose(reason: string): void;
}

/** Relays over links that a test makes and breaks; addresses are named by their host. */
function fixture(answer: (host: string) => FakeLink | TunnelError) {
  const clock = createFakeClock();
  const log = createRecordingLogger();
  const attempts: { host: string; at: number }[] = [];
  const aborted = new AbortController();
  const connect = async (addresses: readonly SocketAddress[]) => {
    const host = addresses[0]?.host as string;
    attempts.push({ host, at: clock.now() });
    const result = answer(host);
    if (result instanceof TunnelError) throw result;
    return result;
  };
  const relays = new Relays({
    links: { connect } as unknown as Links,
    ownNodeName: 'self',
    tunables: controlDefaults,
    clock,
    random: () => 1,
    log,
    metrics: createControlMetrics(noMetrics),
    signal: aborted.signal,
    onConnected: () => undefined,
  });
  return { relays, clock, log, attempts, stop: () => aborted.abort() };
}

function fakeLink(peerId: string, rttMs: number): FakeLink {
  const { promise, resolve } = Promise.withResolvers<string>();
  const connection = { abort: () => resolve('aborted') } as unknown as Link['connection'];
  const facts = { peerId, nodeName: peerId, address: undefined, relay: true, observed: '', connection };
  return { ...facts, rttMs, closed: promise, lose: resolve, probe: () => undefined };
}

const relay = (host: string, nodeName = host) => ({ nodeName, addresses: [{ host, port: 1 }] });
const settle = () => new Promise((resolve) => setImmediate(resolve));

test('retries are quick during the first minute of an outage and slow down later', async () => {
  const { relays, clock, attempts, stop } = fixture(() => new TunnelError('unreachable', 'down'));
  relays.set([relay('r')]);
  for (let i = 0; i < 400; i++) {
    await settle();
    clock.advance(500);
  }
  const pauses = attempts.map(({ at }, i) => at - (attempts[i - 1]?.at ?? 0)).slice(1);
  const early = pauses.filter((_, i) => (attempts[i]?.at ?? 0) < 50_000);
  expect(pauses.slice(0, 2).every((pause) => pause <= 500)).toBe(true);
  expect(Math.max(...early)).toBeLessThanOrEqual(2_500);
  expect(Math.max(...pauses)).toBeGreaterThan(10_000);
  expect(Math.max(...pauses)).toBeLessThanOrEqual(15_500);
  stop();
});

test('one outage is one warning, however many attempts it takes', async () => {
  const { relays, clock, log, attempts, stop } = fixture(() => new TunnelError('unreachable', 'down'));
  relays.set([relay('r')]);
  for (let i = 0; i < 50; i++) {
    await settle();
    clock.advance(500);
  }
  expect(attempts.length).toBeGreaterThan(5);
  expect(log.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  expect(relays.states()[0]).toMatchObject({ state: 'failed', reason: 'down' });
  stop();
});

test('the nearest relay comes first, but a little jitter changes nothing', async () => {
  const links = new Map([
    ['far', fakeLink('far', 100)],
    ['near', fakeLink('near', 20)],
    ['middle', fakeLink('middle', 60)],
  ]);
  const { relays, stop } = fixture((host) => links.get(host) as FakeLink);
  relays.set([relay('far'), relay('near'), relay('middle')]);
  await settle();
  const order = () => relays.links().map((link) => link.peerId);
  expect(order()).toEqual(['near', 'middle', 'far']);
  (links.get('middle') as FakeLink).rttMs = 17;
  expect(order()).toEqual(['near', 'middle', 'far']);
  (links.get('middle') as FakeLink).rttMs = 5;
  expect(order()).toEqual(['middle', 'near', 'far']);
  stop();
});

test('our own entry is skipped by name, and found out by connecting where it has another name', async () => {
  const { relays, attempts, stop } = fixture(() => new TunnelError('refused', OWN_ADDRESS));
  relays.set([relay('a', 'self'), relay('b', 'alias')]);
  await settle();
  expect(attempts.map(({ host }) => host)).toEqual(['b']);
  expect(relays.states()).toEqual([]);
  expect(relays.pending()).toBe(false);
  stop();
});

test('a lost relay is reported with its reason and dialled again at once', async () => {
  const first = fakeLink('r', 10);
  const links = [first, fakeLink('r', 10)];
  const { relays, clock, attempts, stop } = fixture(() => links.shift() as FakeLink);
  const seen: string[] = [];
  relays.onChange(([state]) => seen.push(`${state?.state} ${state?.reason ?? ''}`));
  relays.set([relay('r')]);
  await settle();
  first.lose('no answer');
  await settle();
  clock.advance(200);
  await settle();
  expect(attempts).toHaveLength(2);
  expect(seen).toEqual(['connecting ', 'connected ', 'connecting no answer', 'connected ']);
  stop();
});

test('a node that does not relay is refused with the remedy', async () => {
  const { relays, stop } = fixture(() => ({ ...fakeLink('agent', 1), relay: false }));
  relays.set([relay('agent')]);
  await settle();
  expect(relays.states()[0]?.reason).toMatch(/does not relay: enable/);
  stop();
});
