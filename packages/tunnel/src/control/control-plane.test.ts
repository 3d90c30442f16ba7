import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { createNodeIdentity } from '../identity/index.ts';
import type { NodeRecord, SocketAddress } from '../types.ts';
import { connected, createTestPlanes, relayOf, relaysWhen } from './test-planes.ts';

const { plane, end } = createTestPlanes();
afterEach(end);

test('an agent connects to a relay that it knows by address only, and another agent resolves it by name', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  const b = await plane({ nodeName: 'edge-b', relays: relayOf(relay) });
  await Promise.all([relaysWhen(a, connected), relaysWhen(b, connected)]);
  expect(a.relays()[0]).toMatchObject({ nodeName: 'relay', peerId: relay.peerId, state: 'connected' });
  expect(a.relays()[0]?.rttMs).toBeLessThan(1_000);
  const record = (await b.resolve('edge-a', AbortSignal.timeout(3_000))) as NodeRecord;
  expect(record).toMatchObject({ nodeName: 'edge-a', peerId: a.peerId, lanAddresses: a.listenAddresses });
  expect(b.pinnedPeer('edge-a')).toBe(a.peerId);
});

test('a name that nobody knows resolves to undefined, quickly and remembered', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  await relaysWhen(a, connected);
  const started = performance.now();
  expect(await a.resolve('nobody', AbortSignal.timeout(3_000))).toBeUndefined();
  expect(performance.now() - started).toBeLessThan(1_000);
});

test('a lookup right after the start waits for the first relay instead of failing', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  await relaysWhen(a, connected);
  const b = await plane({ nodeName: 'edge-b', relays: relayOf(relay) });
  expect(b.relays()[0]?.state).toBe('connecting');
  expect((await b.resolve('edge-a', AbortSignal.timeout(3_000)))?.peerId).toBe(a.peerId);
});

test('requests and pushes travel over a direct connection and over a circuit', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  const b = await plane({ nodeName: 'edge-b', relays: relayOf(relay) });
  await Promise.all([relaysWhen(a, connected), relaysWhen(b, connected)]);
  a.handle('echo', (peerId, body) => Promise.resolve(Buffer.concat([Buffer.from(`${peerId === b.peerId} `), body])));
  const record = (await b.resolve('edge-a', AbortSignal.timeout(3_000))) as NodeRecord;
  const unreachable = { ...record, lanAddresses: [], relays: [relay.peerId] };
  await expect.poll(() => b.connectPeer(unreachable, AbortSignal.timeout(5_000)).then(() => 'ok', String)).toBe('ok');
  const overCircuit = await b.request(a.peerId, 'echo', Buffer.from('hi'), AbortSignal.timeout(3_000));
  expect(Buffer.from(overCircuit).toString()).toBe('true hi');
  await expect(b.request(a.peerId, 'nothing', Buffer.from(''), AbortSignal.timeout(3_000))).rejects.toThrow(
    'not served',
  );
});

test('DHT and autonat are options that start and stop with the plane', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true, dht: true, autonat: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay), dht: true, autonat: true });
  await relaysWhen(a, connected);
  await a[Symbol.asyncDispose]();
  await a[Symbol.asyncDispose]();
});

test('a burst of requests to one peer waits in line instead of failing', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  await relaysWhen(a, connected);
  relay.handle('slow', async (_peer, body) => body);
  const ask = (i: number) => a.request(relay.peerId, 'slow', Uint8Array.of(i), AbortSignal.timeout(5_000));
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i)));
  expect(answers.map((answer) => answer[0])).toEqual(Array.from({ length: 200 }, (_, i) => i));
});

test('members get in one by one where only one handshake may run, past strangers that hold theirs open', async () => {
  const tunables = { maxInboundHandshakes: 1 };
  const relay = await plane({ nodeName: 'relay', serveRelay: true, tunables });
  const { host, port } = relay.listenAddresses[0] as SocketAddress;
  const strangers = Array.from({ length: 3 }, () => connect(port, host));
  for (const socket of strangers) socket.write(randomBytes(24)); // a nonce, and then nothing
  await Promise.all(strangers.map((socket) => once(socket, 'data')));
  const members = await Promise.all(
    Array.from({ length: 4 }, (_, i) => plane({ nodeName: `member-${i}`, relays: relayOf(relay) })),
  );
  await Promise.all(members.map((member) => relaysWhen(member, connected)));
  expect(relay.records()).toHaveLength(5);
  for (const socket of strangers) socket.destroy();
});

test('request limits hold: size, unknown peer, cancellation', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(relay) });
  await relaysWhen(a, connected);
  relay.handle('stuck', () => new Promise(() => undefined));
  const soon = AbortSignal.timeout(5_000);
  const big = a.request(relay.peerId, 'stuck', new Uint8Array(64 * 1024 + 1), soon);
  await expect(big).rejects.toMatchObject({ code: 'limit' });
  const stranger = a.request((await createNodeIdentity()).peerId, 'stuck', new Uint8Array(0), soon);
  await expect(stranger).rejects.toMatchObject({ code: 'unreachable' });
  const cancelled = a.request(relay.peerId, 'stuck', new Uint8Array(0), AbortSignal.timeout(50));
  await expect(cancelled).rejects.toMatchObject({ code: 'closed' });
});
