import { randomUUID } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { createNodeIdentity, deriveMeshSecrets } from '../identity/index.ts';
import type { ControlPlaneOptions, ManagedControlPlane } from './control-options.ts';
import { createControlPlane } from './control-plane.ts';

const secrets = deriveMeshSecrets([randomUUID()]);
const stacks = [new AsyncDisposableStack()];

afterEach(async () => {
  await stacks.pop()?.disposeAsync();
  stacks.push(new AsyncDisposableStack());
});

async function plane(options: Partial<ControlPlaneOptions> & { nodeName: string }): Promise<ManagedControlPlane> {
  const identity = await createNodeIdentity();
  const listen = [{ host: '127.0.0.1', port: 0 }];
  const created = await createControlPlane({ identity, secrets, listen, mdns: false, dht: true, ...options });
  stacks.at(-1)?.use(created);
  return created;
}

const addressOf = (control: ManagedControlPlane) => `127.0.0.1:${control.listenAddresses[0]?.port}`;
const relayOf = (control: ManagedControlPlane) => [{ addresses: [addressOf(control)] }];

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
