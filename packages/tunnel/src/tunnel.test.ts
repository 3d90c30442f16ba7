import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteStream, MeshError, silentLogger } from '@edgemesh/core';
import { createDatagramPair, createStreamPair } from '@edgemesh/testkit/conformance';
import { afterEach, describe, expect, it } from 'vitest';
import { createControlPlane } from './control/index.ts';
import { createNodeIdentity, deriveMeshSecrets } from './identity/index.ts';
import { createRelayServer } from './relay-server.ts';
import { createTunnel } from './tunnel.ts';
import type { Tunnel, TunnelOptions } from './tunnel-api.ts';
import type { InboundHandler, InboundRequest, SocketAddress } from './types.ts';

const SECRET = 'a secret for tests only';
const parts: AsyncDisposableStack[] = [];
afterEach(async () => {
  for (const stack of parts.splice(0)) await stack.disposeAsync();
});

/** An inbound side that echoes every stream and datagram, and refuses port 1. */
function echo(seen: InboundRequest[] = []): InboundHandler {
  return {
    openStream(request) {
      seen.push(request);
      if (request.port === 1) return new MeshError('forbidden', 'not an endpoint');
      const { a: near, b: far } = createStreamPair();
      far.attach({
        data: (chunk) => void far.write(chunk),
        ended: () => far.end(),
        drained: () => undefined,
        closed: () => undefined,
      });
      return near;
    },
    openDatagrams(request) {
      seen.push(request);
      const { a: near, b: far } = createDatagramPair();
      far.attach({ message: (payload) => void far.send(payload), closed: () => undefined });
      return near;
    },
  };
}

async function scope() {
  const stack = new AsyncDisposableStack();
  parts.push(stack);
  const folder = await mkdtemp(join(tmpdir(), 'tunnel-test-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const common = (name: string, control: Partial<TunnelOptions['control']> = {}): TunnelOptions => ({
    nodeName: name,
    stateDir: join(folder, name),
    secrets: [SECRET],
    control: { listen: [{ host: '127.0.0.1', port: 0 }], mdns: false, ...control },
  });
  return {
    folder,
    relay: async (more: Partial<TunnelOptions> = {}) =>
      stack.use(await createRelayServer({ ...common('relay'), ...more }, { log: silentLogger })),
    /** A relay of circuit-relay-v2 and nothing else. */
    plainRelay: async (): Promise<SocketAddress> => {
      const { control, nodeName } = common('relay', { serveRelay: true });
      const [identity, secrets] = [await createNodeIdentity(), deriveMeshSecrets([SECRET])];
      const relay = stack.use(await createControlPlane({ ...control, nodeName, identity, secrets }));
      return relay.listenAddresses[0] as SocketAddress;
    },
    /** An agent that only relays can reach: it says no address of its own. */
    hidden: async (name: string, relay: SocketAddress, inbound: InboundHandler, more: Partial<TunnelOptions> = {}) =>
      stack.use(
        await createTunnel(
          {
            ...common(name, {
              relays: [{ addresses: [`${relay.host}:${relay.port}`] }],
              extraFilteredInterfaces: ['lo'],
            }),
            ...more,
          },
          { inbound, log: silentLogger },
        ),
      ),
    open: async (name: string, control: Partial<TunnelOptions['control']>, inbound: InboundHandler) =>
      stack.use(await createTunnel(common(name, control), { inbound, log: silentLogger })),
  };
}

/** Writes text, half-closes, and collects what comes back. */
function exchange(stream: ByteStream, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let back = '';
    stream.attach({
      data: (chunk) => {
        back += Buffer.from(chunk).toString();
      },
      ended: () => undefined,
      drained: () => undefined,
      closed: (error) => (error === undefined ? resolve(back) : reject(error)),
    });
    stream.write(Buffer.from(text));
    stream.end();
  });
}

const quiet = (tunnel: Tunnel) =>
  expect.poll(() => tunnel.peers().reduce((sum, peer) => sum + peer.streams, 0)).toBe(0);

describe('a tunnel', () => {
  it('reaches a node by name through a relay that it has never heard of before, and leaves nothing open', async () => {
    const mesh = await scope();
    const relay = await mesh.relay();
    const [address] = relay.listenAddresses as [SocketAddress];
    const seen: InboundRequest[] = [];
    const a = await mesh.hidden('a', address, echo());
    const b = await mesh.hidden('b', address, echo(seen));
    expect(await exchange(a.dial({ nodeName: 'b', address: '10.0.0.1', port: 80 }), 'hello')).toBe('hello');
    expect(seen[0]).toMatchObject({ nodeName: 'a', peerId: a.peerId, kind: 'tcp', address: '10.0.0.1', port: 80 });
    expect(a.peers()).toMatchObject([{ node: 'b', peerId: b.peerId, path: 'relayed', state: 'active' }]);
    await quiet(a);
    await quiet(b);
    expect(relay.relayStatus()).toMatchObject({ circuits: 1, pending: 0 });
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    await expect.poll(() => relay.relayStatus()?.circuits, { timeout: 5_000 }).toBe(0);
  });

  it('takes a libp2p circuit where the relay cannot splice', async () => {
    const mesh = await scope();
    const address = await mesh.plainRelay();
    const a = await mesh.hidden('a', address, echo(), { holePunch: false });
    const b = await mesh.hidden('b', address, echo(), { holePunch: false });
    const text = 'x'.repeat(500_000);
    expect(await exchange(a.dial({ nodeName: 'b', address: '10.0.0.1', port: 80 }), text)).toBe(text);
    expect(a.peers()).toMatchObject([{ node: 'b', path: 'circuit', state: 'active' }]);
    expect(b.peers()).toMatchObject([{ node: 'a', path: 'circuit', state: 'active' }]);
    await quiet(a);
  });

  it('has no circuit of any kind where the relay grants none', async () => {
    const mesh = await scope();
    const relay = await mesh.relay({ relay: { maxCircuits: 0 } });
    const [address] = relay.listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo(), { holePunch: false });
    await mesh.hidden('b', address, echo(), { holePunch: false });
    const stream = a.dial({ nodeName: 'b', address: '10.0.0.1', port: 80 }, { timeoutMs: 2_000 });
    await expect(exchange(stream, 'hello')).rejects.toThrow(MeshError);
    expect(relay.relayStatus()).toMatchObject({ circuits: 0, libp2pCircuits: 0, pending: 0, bytesRelayed: 0 });
  });

  it('is told by a full relay that it is full, and gets in when there is room', async () => {
    const mesh = await scope();
    const relay = await mesh.relay({ relay: { maxReservations: 1 } });
    const [address] = relay.listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo());
    await expect.poll(() => a.relays()[0]?.state).toBe('connected');
    const b = await mesh.hidden('b', address, echo());
    await expect.poll(() => b.relays()[0]?.reason).toMatch(/the relay is full: maxReservations \(1\)/);
    await a[Symbol.asyncDispose]();
    await expect.poll(() => b.relays()[0]?.state, { timeout: 10_000 }).toBe('connected');
  });

  it('takes twenty nodes from one address', async () => {
    const mesh = await scope();
    const relay = await mesh.relay();
    const [address] = relay.listenAddresses as [SocketAddress];
    const target = await mesh.hidden('target', address, echo(), { holePunch: false });
    const nodes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => mesh.hidden(`node-${i}`, address, echo(), { holePunch: false })),
    );
    const answers = await Promise.all(
      nodes.map((node) => exchange(node.dial({ nodeName: 'target', address: '10.0.0.1', port: 80 }), node.nodeName)),
    );
    expect(answers).toEqual(nodes.map((node) => node.nodeName));
    expect(target.peers()).toHaveLength(20);
    expect(relay.relayStatus()).toMatchObject({ circuits: 20 });
  }, 20_000);

  it('prefers a public address over the relay', async () => {
    const mesh = await scope();
    const relay = await mesh.relay();
    const [address] = relay.listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo());
    const relays = [{ addresses: [`127.0.0.1:${address.port}`] }];
    const cloud = await mesh.open(
      'cloud',
      { relays, extraFilteredInterfaces: ['lo'], advertise: ['127.0.0.1'] },
      echo(),
    );
    expect(await exchange(a.dial({ nodeName: 'cloud', address: 'x', port: 9 }), 'x')).toBe('x');
    await expect.poll(() => a.pathTo('cloud')).toBe('direct');
    expect(await exchange(cloud.dial({ nodeName: 'a', address: 'x', port: 9 }), 'y')).toBe('y');
  });

  it('carries datagrams with their borders', async () => {
    const mesh = await scope();
    const [address] = (await mesh.relay()).listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo());
    await mesh.hidden('b', address, echo());
    const channel = a.openDatagrams({ nodeName: 'b', address: '10.0.0.1', port: 53 });
    const sizes = [0, 1, 1_400, 65_507];
    const back: number[] = [];
    await new Promise<void>((resolve) => {
      channel.attach({
        message: (payload) => {
          back.push(payload.length);
          if (back.length === sizes.length) resolve();
        },
        closed: () => undefined,
      });
      for (const size of sizes) channel.send(new Uint8Array(size));
    });
    expect(back).toEqual(sizes);
    channel.close();
    await quiet(a);
  });

  it('passes on why the far node refuses a target', async () => {
    const mesh = await scope();
    const [address] = (await mesh.relay()).listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo());
    await mesh.hidden('b', address, echo());
    const refused = exchange(a.dial({ nodeName: 'b', address: '10.0.0.1', port: 1 }), 'x');
    await expect(refused).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('not an endpoint'),
    });
  });

  it('says that a node is unknown, and what to check', async () => {
    const mesh = await scope();
    const [address] = (await mesh.relay()).listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo(), { paths: { resolveTimeoutMs: 300 } });
    const lost = exchange(a.dial({ nodeName: 'ghost', address: '10.0.0.1', port: 80 }), 'x');
    await expect(lost).rejects.toMatchObject({
      code: 'unknown-node',
      retryable: true,
      message: expect.stringContaining('ghost'),
    });
  });

  it('fails streams to itself instead of looping', async () => {
    const mesh = await scope();
    const a = await mesh.open('a', {}, echo());
    await expect(exchange(a.dial({ nodeName: 'a', address: 'x', port: 1 }), '')).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  it('comes back by itself after the relay was restarted', async () => {
    const mesh = await scope();
    const first = await mesh.relay();
    const [address] = first.listenAddresses as [SocketAddress];
    const a = await mesh.hidden('a', address, echo());
    await mesh.hidden('b', address, echo());
    await exchange(a.dial({ nodeName: 'b', address: 'x', port: 9 }), 'x');
    await first[Symbol.asyncDispose]();
    const again = await createRelayServer(
      {
        nodeName: 'relay',
        stateDir: join(mesh.folder, 'relay'),
        secrets: [SECRET],
        control: { listen: [address], mdns: false },
      },
      {},
    );
    parts.at(-1)?.use(again);
    await expect
      .poll(() => exchange(a.dial({ nodeName: 'b', address: 'x', port: 9 }), 'back').catch(() => 'not yet'), {
        timeout: 12_000,
      })
      .toBe('back');
  });

  it('lets nobody in who has another secret', async () => {
    const mesh = await scope();
    const [address] = (await mesh.relay()).listenAddresses as [SocketAddress];
    await mesh.hidden('b', address, echo());
    const stranger = await mesh.hidden('stranger', address, echo(), { secrets: ['another'] });
    await expect.poll(() => stranger.relays()[0]?.reason, { timeout: 10_000 }).toMatch(/secret/);
    expect(stranger.relays()[0]?.state).not.toBe('connected');
  });
});
