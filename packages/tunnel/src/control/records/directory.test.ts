import { noMetrics, silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { expect, test } from 'vitest';
import { TunnelError } from '../../errors.ts';
import { controlDefaults } from '../../options.ts';
import { decodeJson, encodeJson, METHODS, toBase64 } from '../messages.ts';
import { createControlMetrics } from '../metrics.ts';
import type { Rpc, RpcHandler } from '../rpc.ts';
import { createJsonFile } from '../state/json-file.ts';
import { Pins } from '../state/pins.ts';
import { type SignedRecord, signRecord } from './codec.ts';
import { Directory } from './directory.ts';
import { RecordStore } from './store.ts';

const metrics = createControlMetrics(noMetrics);
const never = new AbortController().signal;
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

async function signed(nodeName: string, sequence = 1): Promise<SignedRecord> {
  const key = await generateKeyPair('Ed25519');
  const peerId = peerIdFromPrivateKey(key).toString();
  const lists = { lanAddresses: [], publicAddresses: [], relays: [], capabilities: [] };
  return signRecord({ nodeName, peerId, sequence, ...lists }, key);
}

type Answer = (relay: string, method: string, body: Uint8Array) => Promise<Uint8Array>;

async function fixture(relays: string[], answer: Answer, serveRelay = false) {
  const clock = createFakeClock();
  const file = createJsonFile(undefined, { log: silentLogger, clock, saveDelayMs: 1 });
  const pins = await Pins.load({ file, log: silentLogger, metrics, maxPins: 1_000 });
  const store = new RecordStore({ file, pins, tunables: controlDefaults, clock, log: silentLogger, metrics });
  const handlers = new Map<string, RpcHandler>();
  const asked: string[] = [];
  const state = { pending: false, lanAsked: 0, changed: (): void => undefined };
  const rpc = {
    handle: (method: string, handler: RpcHandler) => void handlers.set(method, handler),
    request: (relay: string, method: string, body: Uint8Array) => {
      asked.push(`${relay} ${method}`);
      return answer(relay, method, body);
    },
  } as unknown as Rpc;
  const directory = new Directory({
    store,
    rpc,
    neighbours: {
      relays: () => relays,
      onRelays: (listener) => {
        state.changed = listener;
        return () => undefined;
      },
      relaysPending: () => state.pending,
      peers: () => relays,
      hasGreeted: () => false,
      askLan: () => void state.lanAsked++,
      askDht: async () => false,
    },
    serveRelay,
    ownPeerId: 'self',
    tunables: controlDefaults,
    clock,
    log: silentLogger,
    signal: never,
  });
  const call = (from: string, method: string, body: unknown) =>
    (handlers.get(method) as RpcHandler)({ peerId: from } as never, encodeJson(body), never);
  return { directory, store, clock, asked, state, call };
}

const nobody: Answer = () => Promise.resolve(encodeJson({}));
const holding =
  (record: SignedRecord): Answer =>
  () =>
    Promise.resolve(encodeJson({ record: toBase64(record.envelope) }));

test('all relays are asked at once, and one lookup serves all who ask meanwhile', async () => {
  const record = await signed('a');
  const { directory, asked } = await fixture(['r1', 'r2'], holding(record));
  const found = await Promise.all([directory.resolve('a', never), directory.resolve('a', never)]);
  expect(found).toEqual([record.record, record.record]);
  expect(asked.sort()).toEqual([`r1 ${METHODS.get}`, `r2 ${METHODS.get}`]);
});

test('a confirmed record is used for a minute without asking, then asked for again', async () => {
  const { directory, asked, clock } = await fixture(['r'], holding(await signed('a')));
  await directory.resolve('a', never);
  clock.advance(controlDefaults.freshRecordMs - 1);
  await directory.resolve('a', never);
  expect(asked).toHaveLength(1);
  clock.advance(2);
  await directory.resolve('a', never);
  expect(asked).toHaveLength(2);
});

test('"nobody knows it" holds for a second, unless the record arrives', async () => {
  const { directory, asked, clock, store } = await fixture(['r'], nobody);
  expect(await directory.resolve('a', never)).toBeUndefined();
  expect(await directory.resolve('a', never)).toBeUndefined();
  expect(asked).toHaveLength(1);
  clock.advance(controlDefaults.negativeTtlMs + 1);
  await directory.resolve('a', never);
  expect(asked).toHaveLength(2);
  const record = await signed('a');
  await store.offer(record.envelope);
  expect(await directory.resolve('a', never)).toEqual(record.record);
});

test('a relay that does not answer cannot hold a lookup beyond its time', async () => {
  const { directory, clock } = await fixture(['r'], () => new Promise(() => undefined));
  const lookup = directory.resolve('a', never);
  await settle();
  clock.advance(controlDefaults.lookupTimeoutMs);
  expect(await lookup).toBeUndefined();
});

test('an older record is given after half a second when relays are silent, and at once when there is none', async () => {
  const record = await signed('a');
  const silent = await fixture(['r'], () => new Promise(() => undefined));
  await silent.store.offer(record.envelope);
  silent.clock.advance(controlDefaults.freshRecordMs + 1);
  const lookup = silent.directory.resolve('a', never);
  await settle();
  silent.clock.advance(controlDefaults.staleLookupTimeoutMs);
  expect(await lookup).toEqual(record.record);
  const alone = await fixture([], nobody);
  await alone.store.offer(record.envelope);
  alone.clock.advance(controlDefaults.freshRecordMs + 1);
  expect(await alone.directory.resolve('a', never)).toEqual(record.record);
});

test('a relay that connects during a lookup is asked too', async () => {
  const record = await signed('a');
  const relays: string[] = [];
  const { directory, state } = await fixture(relays, holding(record));
  state.pending = true;
  const lookup = directory.resolve('a', never);
  await settle();
  relays.push('late');
  state.changed();
  expect(await lookup).toEqual(record.record);
});

test('a lookup that nobody can answer yet asks the LAN, and a record that turns up there ends it', async () => {
  const { directory, state, store, clock } = await fixture([], nobody);
  const lookup = directory.resolve('a', never);
  await settle();
  expect(state.lanAsked).toBe(1);
  const record = await signed('a');
  await store.offer(record.envelope);
  clock.advance(30);
  expect(await lookup).toEqual(record.record);
});

test('a caller that gives up is released at once', async () => {
  const { directory } = await fixture(['r'], () => new Promise(() => undefined));
  const caller = new AbortController();
  const lookup = directory.resolve('a', caller.signal);
  caller.abort();
  expect(await lookup).toBeUndefined();
});

test('a relay lists its records in pages that fit a message, and a copy takes them all', async () => {
  const source = await fixture([], nobody, true);
  for (let i = 0; i < 100; i++) await source.store.offer((await signed(`node-${i}`)).envelope);
  const copy = await fixture(['source'], (_relay, method, body) => source.call('copy', method, decodeJson(body)), true);
  await copy.directory.copyFrom('source', never);
  expect(copy.store.size).toBe(100);
  expect(copy.asked.filter((line) => line.endsWith(METHODS.list)).length).toBe(4);
});

test('a relay passes news on once: to other relays and to those who asked, not back', async () => {
  const { call, asked } = await fixture(['other-relay'], () => Promise.resolve(encodeJson({})), true);
  const news = await signed('a');
  await call('asker', METHODS.get, { name: 'a' });
  const push = () => call(news.record.peerId, METHODS.push, { records: [toBase64(news.envelope)] });
  await push();
  await push();
  expect(asked.sort()).toEqual([`asker ${METHODS.push}`, `other-relay ${METHODS.push}`]);
});

test('a subscriber that cannot be reached is forgotten', async () => {
  const down: Answer = () => Promise.reject(new TunnelError('unreachable', 'gone'));
  const { call, asked } = await fixture([], down, true);
  const key = await generateKeyPair('Ed25519');
  const peerId = peerIdFromPrivateKey(key).toString();
  const lists = { lanAddresses: [], publicAddresses: [], relays: [], capabilities: [] };
  await call('asker', METHODS.get, { name: 'a' });
  for (const sequence of [1, 2]) {
    const { envelope } = await signRecord({ nodeName: 'a', peerId, sequence, ...lists }, key);
    await call(peerId, METHODS.push, { records: [toBase64(envelope)] });
    await settle();
  }
  expect(asked).toEqual([`asker ${METHODS.push}`]);
});

test('malformed pushes and questions are protocol errors', async () => {
  const { call } = await fixture([], nobody, true);
  const bad: [string, unknown][] = [
    [METHODS.push, {}],
    [METHODS.push, { records: new Array(33).fill('') }],
    [METHODS.push, { records: [5] }],
    [METHODS.push, { records: ['AAAA'] }],
    [METHODS.get, { name: 7 }],
    [METHODS.get, { name: '../x' }],
  ];
  for (const [method, body] of bad) {
    const outcome = Promise.resolve().then(() => call('x', method, body));
    await expect(outcome).rejects.toMatchObject({ code: 'protocol' });
  }
});

test('a record that nobody renews for a week is gone', async () => {
  const { store, clock } = await fixture([], nobody);
  await store.offer((await signed('a')).envelope);
  clock.advance(controlDefaults.recordTtlMs - 1);
  expect(store.get('a')).toBeDefined();
  clock.advance(2);
  expect(store.get('a')).toBeUndefined();
  expect(store.all()).toEqual([]);
});

test('an older sequence never replaces a newer one, and a renamed node leaves its old name', async () => {
  const { store } = await fixture([], nobody);
  const key = await generateKeyPair('Ed25519');
  const peerId = peerIdFromPrivateKey(key).toString();
  const lists = { lanAddresses: [], publicAddresses: [], relays: [], capabilities: [] };
  const make = (nodeName: string, sequence: number) => signRecord({ nodeName, peerId, sequence, ...lists }, key);
  await store.offer((await make('a', 5)).envelope);
  expect((await store.offer((await make('a', 4)).envelope)).acceptance).toBe('older');
  expect((await store.offer((await make('a', 5)).envelope)).acceptance).toBe('known');
  expect((await store.offer((await make('b', 6)).envelope)).acceptance).toBe('new');
  expect(store.all().map(({ record }) => record.nodeName)).toEqual(['b']);
});
