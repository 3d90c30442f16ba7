import { describeByteStream } from '@edgemesh/testkit/conformance';
import { describe, expect, it, vi } from 'vitest';
import { createLocalDialer } from '../local-dialer.ts';
import { proxiedPair } from '../testing/proxied-pair.ts';
import { startTcpServer } from '../testing/servers.ts';
import { HandleStream } from './handle-stream.ts';

// A Node that keeps its handles to itself.
vi.mock('./tcp-handles.ts', () => ({ tcpHandles: undefined }));

describeByteStream('a proxied connection without TCP handles', proxiedPair, { bigBytes: 2 << 20 });

describe('without TCP handles', () => {
  it('dials sockets', async () => {
    const server = await startTcpServer();
    const stream = createLocalDialer().dial({ address: '127.0.0.1', port: server.port });
    expect(stream).not.toBeInstanceOf(HandleStream);
    stream.reset();
    await server.dispose();
  });
});
