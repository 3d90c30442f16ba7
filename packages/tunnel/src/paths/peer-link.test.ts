import { type MeshError, silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { createDatagramPair, createStreamPair } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { TunnelError } from '../errors.ts';
import { pathDefaults } from '../options.ts';
import type { Carrier, NodeRecord, PathKind, RelayState, Session } from '../types.ts';
import type { PathTransition } from './machine.ts';
import { type LinkSessions, PeerLink } from './peer-link.ts';

const record = (more: Partial<NodeRecord> = {}): NodeRecord => ({
  ...{ nodeName: 'b', peerId: 'peer-b', sequence: 1, relays: [], capabilities: [] },
  ...{ lanAddresses: [{ host: '10.0.0.2', port: 1 }], publicAddresses: [] },
  ...more,
});
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A link whose sessions, strategies and control plane are tables that the test fills. */
function setUp(options: Partial<typeof pathDefaults> = {}, known: () => NodeRecord | undefined = () => undefined) {
  const clock = createFakeClock();
  const attempts: { kind: PathKind; avoid: string | undefined; settle: PromiseWithResolvers<Carrier> }[] = [];
  const transitions: PathTransition[] = [];
  const attached: { path: PathKind; preferred: boolean | undefined }[] = [];
  const dialled: string[] = [];
  let carrier: Carrier | undefined;
  let streams = 0;
  const session = {
    peerId: 'peer-b',
    nodeName: 'b',
    get state() {
      return carrier === undefined ? 'suspended' : 'active';
    },
    get carrier() {
      return carrier;
    },
    dial: (target) => {
      dialled.push(`${target.address}:${target.port}`);
      return createStreamPair().a;
    },
    openDatagrams: () => createDatagramPair().a,
    stats: () => ({ streams, bytesIn: 0, bytesOut: 0, rttMs: 1, unacknowledgedBytes: 0, resumptions: 0 }),
  } as Session;
  const sessions: LinkSessions = {
    get: () => session,
    reserve: () => session,
    attach(made, { preferred } = {}) {
      attached.push({ path: made.path, preferred });
      carrier = made;
      return session;
    },
  };
  const strategy = (kind: PathKind) => (_: NodeRecord, __: AbortSignal, avoid?: string) => {
    const settle = Promise.withResolvers<Carrier>();
    attempts.push({ kind, avoid, settle });
    return settle.promise;
  };
  const relay = { state: 'connected' } as RelayState;
  const link = new PeerLink('b', {
    control: { resolve: async () => known(), isOnLan: () => false, relays: () => [relay] },
    servesRelay: false,
    sessions,
    strategies: { lan: strategy('lan'), relayed: strategy('relayed'), punched: strategy('punched') },
    options: { ...pathDefaults, ...options },
    clock,
    log: silentLogger,
    onTransition: (_, transition) => transitions.push(transition),
  });
  const made = (path: PathKind): Carrier => ({
    ...{ peerId: 'peer-b', nodeName: 'b', path, remoteAddress: `${path}:1`, initiator: true },
  });
  return {
    ...{ link, clock, attempts, transitions, attached, dialled, made },
    setCarrier: (next: Carrier | undefined) => {
      carrier = next;
    },
    setStreams: (count: number) => {
      streams = count;
    },
    /** Settles the open attempt of a kind. */
    finish: async (kind: PathKind, result: Carrier | Error) => {
      const attempt = attempts.findLast((candidate) => candidate.kind === kind);
      if (result instanceof Error) attempt?.settle.reject(result);
      else attempt?.settle.resolve(result);
      await turn();
    },
    kinds: () => attempts.map(({ kind }) => kind),
  };
}

const failure = (stream: { attach(sink: never): void }) =>
  new Promise<MeshError>((resolve) => {
    const nothing = () => undefined;
    stream.attach({ data: nothing, ended: nothing, drained: nothing, closed: resolve } as never);
  });

describe('the link to a peer', () => {
  it('keeps streams until the record of the node is known, then dials them and tries every way', async () => {
    let known: NodeRecord | undefined;
    const { link, clock, dialled, kinds } = setUp({}, () => known);
    link.dial({ address: '10.0.0.9', port: 80 });
    await turn();
    expect(dialled).toEqual([]);
    known = record();
    clock.advance(1_000);
    await turn();
    expect(dialled).toEqual(['10.0.0.9:80']);
    expect(kinds()).toEqual(['lan', 'relayed']);
  });

  it('ends them with advice when nobody knows the node', async () => {
    const { link, clock } = setUp({ resolveTimeoutMs: 2_000 });
    const lost = failure(link.dial({ address: '10.0.0.9', port: 80 }));
    for (let i = 0; i < 10; i++) {
      clock.advance(1_000);
      await turn();
    }
    expect(await lost).toMatchObject({ code: 'unknown-node', message: expect.stringContaining('same mesh secret') });
  });

  it('refuses more streams than may wait', async () => {
    const { link } = setUp({ maxWaitingStreams: 1 });
    link.dial({ address: '10.0.0.9', port: 80 });
    expect(await failure(link.dial({ address: '10.0.0.9', port: 80 }))).toMatchObject({ code: 'limit' });
    link.close();
    expect(await failure(link.dial({ address: '10.0.0.9', port: 80 }))).toMatchObject({ code: 'shutdown' });
  });

  it('goes from the relay to a punched path, and tells of each change', async () => {
    const { link, finish, made, kinds, transitions } = setUp();
    link.learn(record({ lanAddresses: [], capabilities: ['punch'] }));
    link.dial({ address: '10.0.0.9', port: 80 });
    await finish('relayed', made('relayed'));
    expect(kinds()).toEqual(['relayed', 'punched']);
    await finish('punched', made('punched'));
    expect(transitions.map(({ from, to }) => [from, to])).toEqual([
      [undefined, 'relayed'],
      ['relayed', 'punched'],
    ]);
    expect(link.status()).toMatchObject({ path: 'punched', state: 'active', address: 'punched:1' });
  });

  it('looks for a way around a path that does not answer, and prefers it', async () => {
    const { link, finish, made, attempts, attached } = setUp();
    link.learn(record({ lanAddresses: [] }));
    link.dial({ address: '10.0.0.9', port: 80 });
    await finish('relayed', made('relayed'));
    link.suspect();
    expect(attempts.at(-1)).toMatchObject({ kind: 'relayed', avoid: 'relayed:1' });
    await finish('relayed', made('relayed'));
    expect(attached).toEqual([
      { path: 'relayed', preferred: false },
      { path: 'relayed', preferred: true },
    ]);
  });

  it('says why there is no path, and tries again', async () => {
    const { link, clock, finish, kinds } = setUp();
    link.learn(record({ lanAddresses: [] }));
    link.dial({ address: '10.0.0.9', port: 80 });
    await finish('relayed', new TunnelError('unreachable', 'the relay is full'));
    expect(link.status()).toMatchObject({ state: 'failed', reason: 'relayed: the relay is full' });
    clock.advance(pathDefaults.retryInitialMs);
    expect(kinds()).toEqual(['relayed', 'relayed']);
  });

  it('starts again at once when the peer has moved, not when its record is merely renewed', async () => {
    const { link, finish, kinds } = setUp({ retryInitialMs: 60_000 });
    link.learn(record());
    link.dial({ address: '10.0.0.9', port: 80 });
    await finish('lan', new TunnelError('unreachable', 'no route'));
    link.learn(record({ sequence: 2 }));
    expect(kinds()).toEqual(['lan', 'relayed']);
    link.learn(record({ sequence: 3, lanAddresses: [{ host: '10.0.0.3', port: 1 }] }));
    expect(kinds()).toEqual(['lan', 'relayed', 'lan']);
  });

  it('stops searching when nothing is open', async () => {
    const { link, finish, made, kinds, clock, setStreams, setCarrier } = setUp();
    link.learn(record());
    link.dial({ address: '10.0.0.9', port: 80 });
    await finish('relayed', made('relayed'));
    await finish('lan', new TunnelError('unreachable', 'no route'));
    setStreams(0);
    link.sweep();
    clock.advance(600_000);
    expect(kinds()).toEqual(['lan', 'relayed']);
    expect(link.sweep()).toBeGreaterThanOrEqual(600_000);
    setStreams(1);
    expect(link.sweep()).toBe(0);
    expect(kinds()).toEqual(['lan', 'relayed', 'lan']);
    setCarrier(undefined);
    link.reconcile('cable pulled');
    expect(link.status()).toMatchObject({ path: undefined, reason: 'cable pulled' });
  });
});
