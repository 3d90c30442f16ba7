import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { type ByteStream, type Datagrams, MeshError } from '@edgemesh/core';
import {
  createDatagramPair,
  createStreamPair,
  describeByteStream,
  describeDatagrams,
  recordDatagrams,
  recordStream,
} from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { carrierPair, identities, makeTable, refuseAll } from '../../bench/rig.ts';
import type { InboundHandler } from '../types.ts';

/** Two tables with one carrier; streams that `a` dials appear at the far end of an in-memory pair at `b`. */
async function connected(inbound?: Partial<InboundHandler>) {
  const [one, two] = await identities();
  const streams: ByteStream[] = [];
  const channels: Datagrams[] = [];
  const handler: InboundHandler = {
    openStream: () => {
      const pair = createStreamPair();
      streams.push(pair.b);
      return pair.a;
    },
    openDatagrams: () => {
      const pair = createDatagramPair();
      channels.push(pair.b);
      return pair.a;
    },
    ...inbound,
  };
  const a = makeTable(one, refuseAll);
  const b = makeTable(two, handler);
  const carrier = await carrierPair(one, two);
  const sessionA = a.attach(carrier.client);
  const sessionB = b.attach(carrier.server);
  const leftovers = () => sessionA.stats().streams + sessionB.stats().streams;
  const dispose = async () => {
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
  };
  return { a, b, sessionA, sessionB, streams, channels, leftovers, dispose };
}

const target = { address: '10.0.0.1', port: 80 };

async function until(test: () => boolean): Promise<void> {
  for (let i = 0; i < 20_000 && !test(); i++) await turn();
  expect(test()).toBe(true);
}

describeByteStream('a stream of a session', async () => {
  const rig = await connected();
  const a = rig.sessionA.dial(target);
  await until(() => rig.streams.length === 1);
  return { a, b: rig.streams[0] as ByteStream, leftovers: rig.leftovers, dispose: rig.dispose };
});

describeDatagrams('a datagram channel of a session', async () => {
  const rig = await connected();
  const a = rig.sessionA.openDatagrams(target);
  await until(() => rig.channels.length === 1);
  return { a, b: rig.channels[0] as Datagrams, leftovers: rig.leftovers, dispose: rig.dispose };
});

describe('session', () => {
  it('tells the handler who asks for what', async () => {
    let seen: unknown;
    const rig = await connected({
      openStream: (request) => {
        seen = request;
        return new MeshError('forbidden', 'not here');
      },
    });
    const stream = recordStream(rig.sessionA.dial(target, { clientAddress: '192.168.1.9' }));
    await stream.untilClosed();
    expect(stream.error).toMatchObject({ code: 'forbidden', message: 'not here', retryable: true });
    const [one] = await identities();
    const nodeName = one.peerId.slice(-6);
    expect(seen).toEqual({ peerId: one.peerId, nodeName, kind: 'tcp', ...target, clientAddress: '192.168.1.9' });
    await rig.dispose();
  });

  it('refuses a channel with the reason of the handler', async () => {
    const rig = await connected({ openDatagrams: () => new MeshError('limit', 'too many flows') });
    const channel = recordDatagrams(rig.sessionA.openDatagrams(target));
    await channel.untilClosed();
    expect(channel.error).toMatchObject({ code: 'limit', message: 'too many flows' });
    await until(() => rig.leftovers() === 0);
    await rig.dispose();
  });

  it('resets all streams when the far node stops', async () => {
    const rig = await connected();
    const stream = recordStream(rig.sessionA.dial(target));
    await until(() => rig.streams.length === 1);
    await rig.b[Symbol.asyncDispose]();
    await stream.untilClosed();
    expect(stream.error?.code).toBe('session-lost');
    expect(stream.error?.message).toContain('stopping');
    expect(rig.a.sessions()).toEqual([]);
    await rig.dispose();
  });

  it('carries megabytes both ways unharmed while its TLS carriers are cut and replaced', async () => {
    const rig = await connected();
    const [one, two] = await identities();
    const stream = recordStream(rig.sessionA.dial(target));
    await until(() => rig.streams.length === 1);
    const far = recordStream(rig.streams[0] as ByteStream);
    const up = Array.from({ length: 300 }, (_, i) => randomBytes(1 + ((i * 7919) % 100_000)));
    const down = Array.from({ length: 300 }, (_, i) => randomBytes(1 + ((i * 104_729) % 100_000)));
    const hash = (chunks: readonly Uint8Array[]) => createHash('sha256').update(Buffer.concat(chunks)).digest('hex');
    const hashes = [hash(up), hash(down)];
    let carriers = 0;
    const replace = async () => {
      // In turn: a cut by both ends, a cut by one, and a change to a preferred one under way.
      for (; !(stream.closed && far.closed); carriers++) {
        const pair = await carrierPair(carriers % 2 === 0 ? one : two, carriers % 2 === 0 ? two : one, 'lan');
        const [atA, atB] = carriers % 2 === 0 ? [pair.client, pair.server] : [pair.server, pair.client];
        rig.a.attach(atA, { preferred: true });
        rig.b.attach(atB);
        await sleep(3);
        // From then on they stay, so that a slow machine gets done.
        if (carriers > 20) continue;
        if (carriers % 3 === 0) for (const socket of pair.sockets) socket.destroy();
        else if (carriers % 3 === 1) pair.sockets[0].destroy();
      }
    };
    const pumps = [stream.pump(up).then(() => stream.end()), far.pump(down).then(() => far.end())];
    await Promise.all([...pumps, replace()]);
    await Promise.all([stream.untilClosed(), far.untilClosed()]);
    expect([stream.error, far.error]).toEqual([undefined, undefined]);
    expect([hash(far.chunks), hash(stream.chunks)]).toEqual(hashes);
    expect(carriers).toBeGreaterThan(3);
    expect(rig.leftovers()).toBe(0);
    await rig.dispose();
  });
});
