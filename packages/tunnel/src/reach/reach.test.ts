import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { noMetrics, silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { readPreamble } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { RelayState, SocketAddress } from '../types.ts';
import { serveDialBack, triedIn } from './dial-back.ts';
import { NatWatch } from './nat-watch.ts';
import { reachDefaults } from './options.ts';
import { decodeProbes, encodeProbes, type Probe, REACH_PROBE } from './probe-message.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

type Handler = (peerId: string, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

const host = '127.0.0.1';
const ticket = Buffer.alloc(32, 5);

/** The shared port of a node, as far as tickets go. */
async function listen(onTicket: (ticket: Uint8Array) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      const verdict = readPreamble(chunk);
      if (verdict.type === 'data' && verdict.preamble.kind === 'ticket') onTicket(verdict.preamble.ticket);
      socket.destroy();
    });
  }).listen(0, host);
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

function relayThatDials(hosts: readonly string[]): Handler {
  const handlers = new Map<string, Handler>();
  const control = {
    remoteHosts: () => hosts,
    handle: (method: string, given: Handler) => void handlers.set(method, given),
  };
  serveDialBack(control, reachDefaults);
  return handlers.get(REACH_PROBE) as Handler;
}

describe('probes', () => {
  it('come back as they were, of both IP versions', () => {
    const probes: Probe[] = [
      { address: { host: '1.2.3.4', port: 5 }, ticket },
      { address: { host: '2001:db8::1', port: 6 }, ticket },
    ];
    expect(decodeProbes(encodeProbes(probes))).toEqual(probes);
  });

  it('never fail but with a protocol error', () => {
    const json = fc.oneof(fc.json(), fc.string(), fc.constant('{"probes":[null]}'));
    fc.assert(
      fc.property(json, (text) => {
        try {
          decodeProbes(Buffer.from(text));
        } catch (error) {
          expect(error).toBeInstanceOf(TunnelError);
        }
      }),
    );
  });
});

describe('a relay that dials back', () => {
  it('brings the ticket to the address that the member comes from, and to no other', async () => {
    const brought: Uint8Array[] = [];
    const port = await listen((given) => brought.push(given));
    const body = encodeProbes([{ address: { host, port }, ticket }]);
    const { signal } = new AbortController();
    expect(triedIn(await relayThatDials([host])('peer', body, signal))).toBe(1);
    expect(brought.map((given) => Buffer.from(given))).toEqual([ticket]);
    expect(triedIn(await relayThatDials(['10.0.0.9'])('peer', body, signal))).toBe(0);
    expect(brought).toHaveLength(1);
  });

  it('answers although nobody listens there', async () => {
    const port = await listen(() => undefined);
    for (const close of closers.splice(0)) close();
    const body = encodeProbes([{ address: { host, port }, ticket }]);
    expect(triedIn(await relayThatDials([host])('peer', body, new AbortController().signal))).toBe(1);
  });
});

describe('the look from outside', () => {
  /** A node whose relay brings tickets to the ports in `reachable`; with port 0 in there it has no time. */
  function setUp(reachable: Set<number>) {
    const clock = createFakeClock();
    const relay = { state: 'connected', peerId: 'relay', rttMs: 1 } as RelayState;
    const asked: SocketAddress[][] = [];
    const watch = new NatWatch({
      control: {
        relays: () => [relay],
        observedAddresses: () => [{ relay: 'relay', address: '5.1.1.1:999' }],
        async request(_, method, body) {
          expect(method).toBe(REACH_PROBE);
          const probes = decodeProbes(body);
          if (reachable.has(0)) throw new TunnelError('limit', 'too many dials under way');
          asked.push(probes.map(({ address }) => address));
          for (const { address, ticket: given } of probes) if (reachable.has(address.port)) watch.take(given);
          return Buffer.from(JSON.stringify({ tried: probes.length }));
        },
      },
      candidates: () => [
        { host: '5.1.1.1', port: 40_000 },
        { host: '10.0.0.1', port: 1 },
      ],
      ...{ port: 20_006, options: { ...reachDefaults, timeoutMs: 50 }, clock, random: () => 0 },
      onChange: () => undefined,
      log: silentLogger,
      metrics: noMetrics,
    });
    closers.push(() => watch[Symbol.dispose]());
    const looks = async (count: number) => expect.poll(() => asked.length).toBe(count);
    return { watch, clock, asked, looks };
  }

  it('is public by what a relay has dialled, and asks for nothing but the host that it sees', async () => {
    const { watch, clock, asked, looks } = setUp(new Set([40_000]));
    expect(watch.status().reachability).toBe('unknown');
    watch.changed();
    clock.advance(reachDefaults.settleMs);
    await looks(1);
    expect(asked[0]).toEqual([
      { host: '5.1.1.1', port: 20_006 },
      { host: '5.1.1.1', port: 40_000 },
    ]);
    await expect.poll(() => watch.status().reachability).toBe('public');
    expect(watch.status().confirmed).toEqual([{ host: '5.1.1.1', port: 40_000 }]);
    expect(watch.take(Buffer.alloc(32))).toBe(false);
  });

  it('is private only after a second look when it was public', async () => {
    const reachable = new Set([20_006]);
    const { watch, clock, looks } = setUp(reachable);
    watch.changed();
    clock.advance(reachDefaults.settleMs);
    await expect.poll(() => watch.status().reachability).toBe('public');
    reachable.clear();
    clock.advance(reachDefaults.intervalMs);
    await looks(2);
    expect(watch.status().reachability).toBe('public');
    const verdictLater = () => {
      clock.advance(reachDefaults.doubtMs);
      return watch.status().reachability;
    };
    await expect.poll(verdictLater).toBe('private');
  });

  it('looks again when something changes during a look', async () => {
    const { watch, clock, asked, looks } = setUp(new Set());
    watch.changed();
    clock.advance(reachDefaults.settleMs); // a look begins
    watch.changed();
    clock.advance(reachDefaults.settleMs); // and is not over
    await looks(1);
    await expect.poll(() => watch.status().reachability).toBe('private');
    const lookNow = () => {
      clock.advance(reachDefaults.settleMs);
      return asked.length;
    };
    await expect.poll(lookNow).toBe(2);
  });

  it('stays what it was while no relay tries', async () => {
    const reachable = new Set([20_006]);
    const { watch, clock } = setUp(reachable);
    watch.changed();
    clock.advance(reachDefaults.settleMs);
    await expect.poll(() => watch.status().reachability).toBe('public');
    reachable.clear();
    reachable.add(0);
    for (let i = 0; i < 3; i++) {
      clock.advance(reachDefaults.intervalMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(watch.status().reachability).toBe('public');
  });

  it('keeps a symmetric NAT in mind where one relay alone cannot tell, until the network changes', () => {
    const { watch } = setUp(new Set());
    for (const kind of ['unknown', 'symmetric', 'unknown'] as const) watch.noteKind(kind);
    expect(watch.status().kind).toBe('symmetric');
    watch.networkChanged();
    expect(watch.status().kind).toBeUndefined();
    watch.noteKind('port-preserving');
    expect(watch.status().kind).toBe('port-preserving');
  });
});
