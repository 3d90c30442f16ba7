import { type Metrics, noMetrics } from '@edgemesh/core';
import { afterEach, expect, test } from 'vitest';
import { addressOf, createTestPlanes, relayOf } from './test-planes.ts';

const { plane, end } = createTestPlanes({ dht: true });
afterEach(end);

test('finds by the DHT who is at a relay that the own one has no records of', async () => {
  const first = await plane({ nodeName: 'relay-1', serveRelay: true });
  const second = await plane({ nodeName: 'relay-2', serveRelay: true, peers: [addressOf(first)] });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(first) });
  const b = await plane({ nodeName: 'edge-b', relays: relayOf(second) });
  const resolve = async () => (await a.resolve('edge-b', AbortSignal.timeout(3_000)))?.peerId;
  await expect.poll(resolve, { timeout: 20_000 }).toBe(b.peerId);
  const metAt = () => a.relays().filter(({ state, peerId }) => state === 'connected' && peerId === second.peerId);
  await expect.poll(metAt, { timeout: 10_000 }).toHaveLength(1); // so there is a relay in common
  expect(first.records().some(({ nodeName }) => nodeName === 'edge-b')).toBe(false);
}, 30_000);

test('connects to the relay of another node that a common relay only knows by its record', async () => {
  const first = await plane({ nodeName: 'relay-1', serveRelay: true, dht: false });
  const second = await plane({ nodeName: 'relay-2', serveRelay: true, dht: false, relays: relayOf(first) });
  const a = await plane({ nodeName: 'edge-a', relays: relayOf(first), dht: false });
  const b = await plane({ nodeName: 'edge-b', relays: relayOf(second), dht: false });
  const met = async () => {
    await a.resolve('edge-b', AbortSignal.timeout(3_000));
    return a.relays().some(({ state, peerId }) => state === 'connected' && peerId === second.peerId);
  };
  await expect.poll(met, { timeout: 20_000 }).toBe(true);
  expect(b.relays()).toHaveLength(1);
}, 30_000);

test('a server of the DHT keeps no more records than its limit', async () => {
  const gauges = new Map<string, () => number>();
  const metrics: Metrics = { ...noMetrics, observe: ({ name }, read) => void gauges.set(name, read) };
  const relay = await plane({ nodeName: 'relay', serveRelay: true, metrics, tunables: { maxDhtRecords: 6 } });
  let latest = '';
  for (let i = 0; i < 5; i++) latest = (await plane({ nodeName: `edge-${i}`, relays: relayOf(relay) })).nodeName;
  const kept = () => gauges.get('edgemesh_control_dht_records')?.();
  await expect.poll(kept, { timeout: 20_000 }).toBe(6); // each node puts two
  await expect.poll(() => relay.records().some(({ nodeName }) => nodeName === latest), { timeout: 20_000 }).toBe(true);
  expect(kept()).toBe(6);
}, 50_000);
