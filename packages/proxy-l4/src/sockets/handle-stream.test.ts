import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { type ByteStream, noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { describeByteStream, recordStream } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { createConnectionBudget } from '../connection-budget.ts';
import { createLocalDialer } from '../local-dialer.ts';
import { createProxyMetrics } from '../metrics.ts';
import { createTcpListener } from '../tcp-listener.ts';
import { startTcpServer } from '../testing/servers.ts';
import { HandleStream } from './handle-stream.ts';
import { tcpHandles } from './tcp-handles.ts';

const AT = { address: '127.0.0.1' } as const;

/** A listener that hands out its connections as streams. */
async function listen(maxConnections = 8) {
  const streams: ByteStream[] = [];
  let wake: (() => void) | undefined;
  const listener = await createTcpListener(
    { listen: { host: '127.0.0.1', port: 0 }, drainMs: 0 },
    {
      budget: createConnectionBudget({ maxConnections }),
      metrics: createProxyMetrics(noMetrics),
      log: silentLogger,
      clock: systemClock,
      handle(connection) {
        const stream = connection.stream();
        streams.push(stream);
        wake?.();
        return (error) => stream.reset(error);
      },
    },
  );
  return {
    listener,
    async accepted(): Promise<ByteStream> {
      while (streams.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return streams.shift() as ByteStream;
    },
  };
}

/** Descriptors of this process. */
const descriptors = () => readdirSync('/proc/self/fd').length;

async function until(test: () => boolean): Promise<void> {
  while (!test()) await new Promise(setImmediate);
}

describeByteStream('a TCP handle', async () => {
  const { listener, accepted } = await listen();
  const dialer = createLocalDialer();
  const a = dialer.dial({ ...AT, port: listener.port });
  return {
    a,
    b: await accepted(),
    leftovers: () => dialer.openStreams + listener.active,
    dispose: async () => await listener[Symbol.asyncDispose](),
  };
});

describe('TCP handles', () => {
  it('are given by this Node', () => {
    // Without them everything works on sockets, at half the new connections per second: this Node has changed inside.
    expect(tcpHandles).toBeDefined();
  });

  it('are what streams are made of', async () => {
    const { listener, accepted } = await listen();
    const near = createLocalDialer().dial({ ...AT, port: listener.port });
    expect(near).toBeInstanceOf(HandleStream);
    expect(await accepted()).toBeInstanceOf(HandleStream);
    near.reset();
    await listener[Symbol.asyncDispose]();
  });

  it.each(['at once', 'while it waits for the peer', 'after its end is with the kernel'] as const)(
    'leave no descriptor behind after a reset %s',
    async (when) => {
      const server = await startTcpServer();
      const before = descriptors();
      for (let i = 0; i < 20; i++) {
        const stream = recordStream(createLocalDialer().dial({ ...AT, port: server.port }));
        if (when !== 'at once') await stream.until((s) => s.events.includes('opened'), 'opened');
        if (when !== 'at once') stream.end();
        if (when === 'after its end is with the kernel') await new Promise((resolve) => setTimeout(resolve, 2));
        stream.reset();
        await stream.untilClosed();
      }
      for (const socket of server.sockets) socket.destroy();
      await until(() => descriptors() <= before);
      await server.dispose();
    },
  );

  it('tell a peer that resets from one that ends', async () => {
    const server = await startTcpServer();
    const stream = recordStream(createLocalDialer().dial({ ...AT, port: server.port }));
    const peer = await server.accepted();
    await stream.until((s) => s.events.includes('opened'), 'opened');
    peer.resetAndDestroy();
    await stream.untilClosed();
    expect(stream.error).toMatchObject({ code: 'reset', retryable: false });
    expect(stream.ended).toBe(false);
    await server.dispose();
  });

  it('send a RST to a peer that is reset, before it connects as well', async () => {
    const server = await startTcpServer();
    const stream = recordStream(createLocalDialer().dial({ ...AT, port: server.port }));
    stream.reset();
    // The kernel had connected already: the peer must not take it for a client that came, said nothing and left in order.
    const peer = (await server.accepted()) as Socket;
    peer.resume();
    const [error] = (await once(peer, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
    await server.dispose();
  });

  it('say who refused, and that another endpoint may do', async () => {
    const gone = await startTcpServer();
    await gone.dispose();
    const stream = recordStream(createLocalDialer().dial({ ...AT, port: gone.port }));
    await stream.untilClosed();
    expect(stream.error).toMatchObject({ code: 'refused', retryable: true });
    expect(stream.error?.message).toBe(`connect ECONNREFUSED 127.0.0.1 port ${gone.port}`);
  });

  it('fail like any dial where the local address is not on this machine', async () => {
    const dialer = createLocalDialer({ localAddress: '192.0.2.1' });
    const stream = recordStream(dialer.dial({ ...AT, port: 80 }));
    await stream.untilClosed();
    expect(stream.error).toMatchObject({ code: 'unreachable', retryable: true });
    expect(dialer.openStreams).toBe(0);
  });

  it('turn away what exceeds the budget without making a socket of it', async () => {
    const { listener, accepted } = await listen(1);
    const dialer = createLocalDialer();
    const first = recordStream(dialer.dial({ ...AT, port: listener.port }));
    recordStream(await accepted());
    const before = descriptors();
    const second = recordStream(dialer.dial({ ...AT, port: listener.port }));
    await second.untilClosed();
    expect(second.error?.code).toBe('reset');
    await until(() => descriptors() <= before);
    first.reset();
    await until(() => listener.active === 0);
    await listener[Symbol.asyncDispose]();
  });
});
