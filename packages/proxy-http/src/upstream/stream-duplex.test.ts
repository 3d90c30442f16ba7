import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { ByteStream } from '@edgemesh/core';
import { describeByteStream } from '@edgemesh/testkit/conformance';
import { byteStreamToDuplex, duplexToByteStream } from './stream-duplex.ts';

/** Two ends of one connection, each as a byte stream made by `wrap`. */
async function socketPair(wrap: (socket: Socket, readyEvent: string) => ByteStream) {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const near = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const a = wrap(near, 'connect');
  const [far] = (await accepted) as [Socket];
  const b = wrap(far, 'never');
  return {
    a,
    b,
    leftovers: () => [near, far].filter((socket) => !socket.destroyed).length,
    dispose: async () => {
      near.destroy();
      far.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describeByteStream('a Node duplex as a byte stream', () => socketPair(duplexToByteStream));

describeByteStream('a byte stream as a duplex and back', () =>
  socketPair((socket, readyEvent) => {
    const duplex = byteStreamToDuplex(duplexToByteStream(socket, readyEvent), () => duplex.emit('ready'));
    return duplexToByteStream(duplex, 'ready');
  }),
);
