import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { createNodeIdentity, deriveMeshSecrets } from '../../identity/index.ts';
import type { ControlPlaneOptions, ManagedControlPlane } from '../control-options.ts';
import { createControlPlane } from '../control-plane.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** A free UDP port, so that tests do not meet the machine's own responders. */
async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}

async function plane(options: Partial<ControlPlaneOptions> & { nodeName: string }): Promise<ManagedControlPlane> {
  const listen = [{ host: '127.0.0.1', port: 0 }];
  const secrets = deriveMeshSecrets(['one mesh']);
  return stack.use(await createControlPlane({ identity: await createNodeIdentity(), secrets, listen, ...options }));
}

function recordOf(control: ManagedControlPlane, nodeName: string): Promise<string> {
  return new Promise((resolve) => {
    const unhook = control.onRecord((record) => {
      if (record.nodeName !== nodeName) return;
      unhook();
      resolve(record.peerId);
    });
  });
}

test('two agents on one link find each other without any relay, within two seconds', async () => {
  const mdnsPort = await freeUdpPort();
  const a = await plane({ nodeName: 'a', mdnsPort });
  const started = performance.now();
  const seen = recordOf(a, 'b');
  const b = await plane({ nodeName: 'b', mdnsPort, listen: [{ host: '127.0.0.2', port: 0 }] });
  const resolved = b.resolve('a', AbortSignal.timeout(3_000));
  expect(await seen).toBe(b.peerId);
  expect((await resolved)?.peerId).toBe(a.peerId);
  expect(performance.now() - started).toBeLessThan(2_500);
  expect(a.isOnLan(b.peerId)).toBe(true);
});

test('agents of another mesh on the same link stay strangers', async () => {
  const mdnsPort = await freeUdpPort();
  const a = await plane({ nodeName: 'a', mdnsPort });
  await plane({ nodeName: 'b', mdnsPort, secrets: deriveMeshSecrets([randomUUID()]) });
  const c = recordOf(a, 'c');
  await plane({ nodeName: 'c', mdnsPort });
  await c;
  expect(a.records().map((record) => record.nodeName)).toEqual(expect.not.arrayContaining(['b']));
});

test('a static peer address connects two agents where multicast is blocked', async () => {
  const a = await plane({ nodeName: 'a', mdns: false });
  const seen = recordOf(a, 'b');
  const [address] = a.listenAddresses;
  const b = await plane({ nodeName: 'b', mdns: false, peers: [`${address?.host}:${address?.port}`] });
  expect(await seen).toBe(b.peerId);
  expect((await b.resolve('a', AbortSignal.timeout(3_000)))?.peerId).toBe(a.peerId);
});
