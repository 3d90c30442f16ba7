import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import type { Libp2p, Stream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { afterEach, expect, test } from 'vitest';
import { createControlMetrics } from '../control/metrics.ts';
import { HandshakeLine } from '../control/transport/handshake-line.ts';
import { pskProtector } from '../control/transport/psk-protector.ts';
import { createSharedPort } from '../control/transport/shared-port.ts';
import { sharedTcp } from '../control/transport/tcp.ts';
import { deriveMeshSecrets } from '../identity/index.ts';
import { controlDefaults, type RelayLimits } from '../options.ts';
import { createRelayServer } from '../relay-server.ts';

const SECRET = 'a secret for tests only';
const ECHO = '/echo/1';
const stacks: AsyncDisposableStack[] = [];
afterEach(async () => {
  for (const stack of stacks.splice(0)) await stack.disposeAsync();
});

/** A relay of ours, and clients that know nothing of it but circuit-relay-v2. */
async function scope(relayLimits: Partial<RelayLimits>) {
  const stack = new AsyncDisposableStack();
  stacks.push(stack);
  const stateDir = await mkdtemp(join(tmpdir(), 'relay-test-'));
  stack.defer(() => rm(stateDir, { recursive: true, force: true }));
  const control = { listen: [{ host: '127.0.0.1', port: 0 }], mdns: false };
  const options = { nodeName: 'relay', stateDir, secrets: [SECRET], relay: relayLimits, control };
  const relay = stack.use(await createRelayServer(options, {}));
  const address = `/ip4/127.0.0.1/tcp/${relay.listenAddresses[0]?.port}/p2p/${relay.peerId}`;
  const start = async (listen: string[]): Promise<Libp2p> => {
    const metrics = createControlMetrics(noMetrics);
    const deps = { limits: controlDefaults.port, log: silentLogger, clock: systemClock, metrics };
    const port = stack.use(await createSharedPort([{ host: '127.0.0.1', port: 0 }], deps));
    const { pnetKey } = deriveMeshSecrets([SECRET]).current;
    const times = { localPort: undefined, connectTimeoutMs: 5_000, silenceTimeoutMs: 20_000 };
    const node = await createLibp2p({
      addresses: { listen },
      transports: [sharedTcp({ ...deps, ...times, port, line: new HandshakeLine(8) }), circuitRelayTransport()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionProtector: pskProtector({ current: pnetKey, accepted: [pnetKey] }),
      connectionGater: { denyDialMultiaddr: () => false },
      services: { identify: identify() },
    });
    stack.defer(() => node.stop());
    return node;
  };
  /** Somebody who echoes and is reached through the relay only. */
  const callee = async () => {
    const node = await start([`${address}/p2p-circuit`]);
    const echo = (stream: Stream) => {
      stream.addEventListener('message', ({ data }) => void stream.send(data));
      stream.addEventListener('remoteCloseWrite', () => void stream.close());
    };
    await node.handle(ECHO, echo, { runOnLimitedConnection: true });
    return node;
  };
  const circuitTo = (node: Libp2p) => multiaddr(`${address}/p2p-circuit/p2p/${node.peerId}`);
  return { relay, start, caller: () => start([]), callee, circuitTo, address };
}

async function echoed(stream: Stream, sent: Uint8Array): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const done = new Promise((resolve) => stream.addEventListener('end', resolve));
  stream.addEventListener('message', ({ data }) => chunks.push(data.subarray()));
  stream.send(sent);
  await stream.close();
  await done;
  return Buffer.concat(chunks);
}

const open = (node: Libp2p, to: ReturnType<typeof multiaddr>) =>
  node.dialProtocol(to, ECHO, { runOnLimitedConnection: true, signal: AbortSignal.timeout(10_000) });

test('standard clients reach each other through the relay, which counts their circuits and bytes', async () => {
  const { relay, caller, callee, circuitTo } = await scope({});
  const [a, b] = await Promise.all([caller(), callee()]);
  const sent = randomBytes(3_000_000);
  const back = await echoed(await open(a, circuitTo(b)), sent);
  expect(back.equals(sent)).toBe(true);
  expect(relay.relayStatus()).toMatchObject({ circuits: 0, libp2pCircuits: 1, pending: 0 });
  await a.hangUp(b.peerId);
  await expect.poll(() => relay.relayStatus()).toMatchObject({ libp2pCircuits: 0, pending: 0 });
  expect(relay.relayStatus()?.bytesRelayed).toBeGreaterThan(2 * sent.length);
});

test('circuits beyond the limit of a peer and of the relay are refused as the protocol says, and granted again later', async () => {
  const { relay, caller, callee, circuitTo } = await scope({ maxCircuits: 3, maxCircuitsPerPeer: 2 });
  const [a, c, b1, b2, b3, b4] = await Promise.all([caller(), caller(), callee(), callee(), callee(), callee()]);
  await open(a, circuitTo(b1));
  await open(a, circuitTo(b2));
  await expect(open(a, circuitTo(b3))).rejects.toThrow(/RESOURCE_LIMIT_EXCEEDED/);
  await open(c, circuitTo(b3));
  await expect(open(c, circuitTo(b4))).rejects.toThrow(/RESOURCE_LIMIT_EXCEEDED/);
  expect(relay.relayStatus()).toMatchObject({ libp2pCircuits: 3, pending: 0 });
  await a.hangUp(b1.peerId);
  await expect.poll(() => relay.relayStatus()?.libp2pCircuits).toBe(2);
  await open(c, circuitTo(b4));
});

test('a circuit to somebody without a reservation takes no place', async () => {
  const { relay, caller, circuitTo } = await scope({});
  const [a, b] = await Promise.all([caller(), caller()]);
  await expect(open(a, circuitTo(b))).rejects.toThrow(/NO_RESERVATION/);
  expect(relay.relayStatus()).toMatchObject({ libp2pCircuits: 0, pending: 0 });
});

test('reservations beyond the limit are refused, and a place is free when its owner leaves', async () => {
  const { start, callee, address } = await scope({ maxReservations: 1 });
  const first = await callee();
  const listening = start([`${address}/p2p-circuit`]);
  await expect(listening).rejects.toThrow();
  await first.stop();
  const again = () =>
    callee().then(
      () => true,
      () => false,
    );
  await expect.poll(again, { timeout: 10_000 }).toBe(true);
}, 20_000);

test.each(['maxBytesPerSecondPerPeer', 'maxBytesPerSecond'])('standard clients are held to %s', async (limit) => {
  const { caller, callee, circuitTo } = await scope({ [limit]: 2_000_000 });
  const [a, b] = await Promise.all([caller(), callee()]);
  const stream = await open(a, circuitTo(b));
  const sent = randomBytes(2_000_000);
  const started = performance.now();
  expect((await echoed(stream, sent)).equals(sent)).toBe(true);
  const seconds = (performance.now() - started) / 1_000;
  expect(seconds).toBeGreaterThan(0.7); // without a limit this takes 0.3 s; a window is let through at once
});

test('a circuit without a byte for too long is cut', async () => {
  const { relay, caller, callee, circuitTo } = await scope({ circuitIdleMs: 300 });
  const [a, b] = await Promise.all([caller(), callee()]);
  const stream = await open(a, circuitTo(b));
  await new Promise((resolve) => stream.addEventListener('close', resolve));
  await expect.poll(() => relay.relayStatus()).toMatchObject({ libp2pCircuits: 0, pending: 0 });
});
