/** The members that `scale.ts` sets on a relay: whole control planes, and pairs with raw circuits between them. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger, systemClock } from '@edgemesh/core';
import { createControlPlane, type ManagedControlPlane, writePreamble } from '../src/control/index.ts';
import { createNodeIdentity, deriveMeshSecrets } from '../src/identity/index.ts';
import { createRelayClient } from '../src/relay/client.ts';

export const SECRET = 'a secret for benchmarks only';
/** Members of one process that connect at the same time. */
const AT_ONCE = 8;
const HOUR_MS = 3_600_000;

async function memberOf(name: string, port: number): Promise<ManagedControlPlane> {
  const plane = await createControlPlane({
    identity: await createNodeIdentity(),
    secrets: deriveMeshSecrets([SECRET]),
    nodeName: name,
    listen: [{ host: '127.0.0.1', port: 0 }],
    relays: [{ addresses: [`127.0.0.1:${port}`] }],
    mdns: false,
    extraFilteredInterfaces: ['lo'],
    outboundPort: 0,
    log: silentLogger,
    // what costs the relay nothing is left out, so that one machine can play thousands of members
    tunables: { networkIntervalMs: HOUR_MS, addressIntervalMs: HOUR_MS },
  });
  while (plane.relays()[0]?.state !== 'connected') await delay(20);
  return plane;
}

/** Whole control planes: each greets, reserves, pings, as an agent does. */
export async function runMembers(port: number, first: number, count: number): Promise<void> {
  let next = 0;
  const connectSome = async () => {
    while (next < count) await memberOf(`member-${first + next++}`, port);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, connectSome));
  process.send?.({ connected: count });
}

/** Two members and as many raw circuits between them as are asked for; a kilobyte goes through each, both ways. */
export async function runCircuits(port: number): Promise<void> {
  const far: Socket[] = [];
  const callee = await memberOf('callee', port);
  const caller = await memberOf('caller', port);
  const deps = { writePreamble, connectTimeoutMs: 10_000, clock: systemClock };
  createRelayClient({
    ...deps,
    control: callee,
    onIncoming: (_, { socket }) => {
      far.push(socket as Socket);
      socket.on('data', (chunk) => socket.write(chunk));
    },
  });
  const client = createRelayClient({ ...deps, control: caller, onIncoming: () => undefined });
  const near: Socket[] = [];
  process.on('message', async ({ open }: { open: number }) => {
    while (near.length < open) {
      const batch = Array.from({ length: 20 }, async () => {
        const { socket } = await client.connect({ peerId: callee.peerId, relays: [] }, AbortSignal.timeout(10_000));
        socket.write(Buffer.alloc(1_024));
        await once(socket, 'data');
        near.push(socket as Socket);
      });
      await Promise.all(batch);
    }
    process.send?.({ opened: near.length });
  });
  process.send?.({ ready: 1 });
}
