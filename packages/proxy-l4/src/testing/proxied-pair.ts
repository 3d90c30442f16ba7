import type { ByteStreamSetup } from '@edgemesh/testkit/conformance';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { createLocalDialer } from '../local-dialer.ts';
import { socketByteStream } from '../sockets/socket-stream.ts';
import { createTcpProxy } from '../tcp-proxy.ts';
import { startTcpServer } from './servers.ts';

/** A dialled stream, a TCP proxy, and the socket at the far end of what it forwards. */
export async function proxiedPair(): Promise<ByteStreamSetup> {
  const target = await startTcpServer();
  const dialer = createLocalDialer();
  const endpoint = makeEndpoint('127.0.0.1', { port: target.port });
  const between = await createTcpProxy(
    { listen: { host: '127.0.0.1', port: 0 }, drainMs: 0 },
    { dialer, route: () => ({ name: 'shop/web:http', pick: (_, tried) => (tried?.size ? undefined : endpoint) }) },
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
}
