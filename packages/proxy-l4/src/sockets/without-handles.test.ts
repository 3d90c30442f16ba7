import { describeByteStream, makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it, vi } from 'vitest';
import { createLocalDialer } from '../local-dialer.ts';
import { createTcpProxy } from '../tcp-proxy.ts';
import { startTcpServer } from '../testing/servers.ts';
import { HandleStream } from './handle-stream.ts';
import { socketByteStream } from './socket-stream.ts';

// A Node that keeps its handles to itself.
vi.mock('./tcp-handles.ts', () => ({ tcpHandles: undefined }));

describeByteStream(
  'a proxied connection without TCP handles',
  async () => {
    const target = await startTcpServer();
    const dialer = createLocalDialer();
    const between = await createTcpProxy(
      { listen: { host: '127.0.0.1', port: 0 }, drainMs: 0 },
      {
        dialer,
        route: () => ({ name: 'shop/web:http', pick: () => makeEndpoint('127.0.0.1', { port: target.port }) }),
      },
    );
    const a = dialer.dial({ address: '127.0.0.1', port: between.port });
    const accepted = await target.accepted();
    return {
      a,
      b: socketByteStream(accepted),
      leftovers: () => dialer.openStreams + between.active,
      async dispose() {
        await between[Symbol.asyncDispose]();
        await target.dispose();
      },
    };
  },
  { bigBytes: 2 << 20 },
);

describe('without TCP handles', () => {
  it('dials sockets', async () => {
    const server = await startTcpServer();
    const stream = createLocalDialer().dial({ address: '127.0.0.1', port: server.port });
    expect(stream).not.toBeInstanceOf(HandleStream);
    stream.reset();
    await server.dispose();
  });
});
