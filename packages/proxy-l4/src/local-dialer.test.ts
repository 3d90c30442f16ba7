import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect as netConnect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { createFakeClock } from '@edgemesh/testkit';
import {
  describeByteStream,
  describeDatagrams,
  describeDialer,
  recordDatagrams,
  recordStream,
} from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { createLocalDialer } from './local-dialer.ts';
import { socketByteStream } from './sockets/socket-stream.ts';
import { startTcpServer, startUdpServer, tcpEcho } from './testing/servers.ts';

describeByteStream('a TCP socket', async () => {
  const server = await startTcpServer();
  const dialer = createLocalDialer();
  const a = dialer.dial({ address: '127.0.0.1', port: server.port });
  const accepted = await server.accepted();
  let open = 1;
  accepted.once('close', () => open--);
  return { a, b: socketByteStream(accepted), dispose: server.dispose, leftovers: () => dialer.openStreams + open };
});

describeDatagrams(
  'a pair of UDP sockets',
  async () => {
    const dialer = createLocalDialer();
    const [a, b] = await connectedPair(dialer);
    return { a, b, leftovers: () => dialer.openChannels };
  },
  { closeReachesPeer: false },
);

describeDialer('the local dialer', async () => {
  const tcp = await startTcpServer(tcpEcho);
  const udp = await startUdpServer();
  const gone = await startTcpServer();
  await gone.dispose();
  const silent = await silentTarget();
  const dialer = createLocalDialer();
  const at = (port: number) => ({ address: '127.0.0.1', port });
  return {
    dialer,
    echo: at(tcp.port),
    refused: at(gone.port),
    silent: at(silent.port),
    udpEcho: at(udp.port),
    leftovers: () => dialer.openStreams + dialer.openChannels,
    async dispose() {
      await Promise.all([tcp.dispose(), udp.dispose(), silent.dispose()]);
    },
  };
});

describe('the local dialer', () => {
  it.each([
    { address: '127.0.0.1', port: 70_000 },
    { address: 'no.such.host.invalid', port: 80 },
    { address: '255.255.255.255', port: 80 },
  ])('fails through closed for $address port $port', async (target) => {
    const dialer = createLocalDialer();
    const stream = recordStream(dialer.dial(target));
    await stream.untilClosed();
    expect(stream.error).toMatchObject({ retryable: true });
    expect(dialer.openStreams).toBe(0);
  });

  it.each([
    { address: '127.0.0.1', port: 70_000 },
    { address: 'no.such.host.invalid', port: 53 },
    { address: '255.255.255.255', port: 53 },
  ])('fails through closed for datagrams to $address port $port', async (target) => {
    const dialer = createLocalDialer();
    const channel = recordDatagrams(dialer.openDatagrams(target));
    channel.send('unheard');
    await channel.untilClosed();
    expect(channel.error).toMatchObject({ retryable: true });
    while (dialer.openChannels > 0) await new Promise(setImmediate);
  });

  it('leaves a connection alone once it is connected', async () => {
    const server = await startTcpServer(tcpEcho);
    const clock = createFakeClock();
    const dialer = createLocalDialer({ clock });
    const stream = recordStream(dialer.dial({ address: '127.0.0.1', port: server.port }));
    await stream.until((s) => s.events.includes('opened'), 'opened');
    clock.advance(3_600_000);
    expect(clock.pendingTimers).toBe(0);
    stream.end();
    await stream.untilClosed();
    expect(stream.error).toBeUndefined();
    await server.dispose();
  });

  it('says refused when nobody listens on a UDP port', async () => {
    const dialer = createLocalDialer();
    const port = await freeUdpPort();
    const channel = dialer.openDatagrams({ address: '127.0.0.1', port });
    const error = await new Promise((resolve) => {
      channel.attach({ message: () => resolve(undefined), closed: resolve });
      channel.send(Buffer.from('anybody?'));
    });
    expect(error).toMatchObject({ code: 'refused', retryable: true });
  });
});

describe('socketByteStream', () => {
  it('sends the writes of one turn together', async () => {
    const server = await startTcpServer();
    const dialer = createLocalDialer();
    const a = recordStream(dialer.dial({ address: '127.0.0.1', port: server.port }));
    const b = recordStream(socketByteStream(await server.accepted()));
    await a.until(() => a.events.includes('opened'), 'opened');
    for (let i = 0; i < 100; i++) a.write('x');
    await b.until(() => b.receivedBytes === 100, '100 bytes');
    expect(b.chunks).toHaveLength(1);
    a.reset();
    await Promise.all([a.untilClosed(), b.untilClosed()]);
    expect(b.error?.code).toBe('reset');
    await server.dispose();
  });

  it('tells a destroyed socket from one that ended', async () => {
    const server = await startTcpServer();
    const stream = recordStream(createLocalDialer().dial({ address: '127.0.0.1', port: server.port }));
    const accepted = socketByteStream(await server.accepted());
    const far = recordStream(accepted);
    await stream.until((s) => s.events.includes('opened'), 'opened');
    stream.end();
    await far.until((s) => s.ended, 'ended');
    far.end();
    await Promise.all([stream.untilClosed(), far.untilClosed()]);
    expect([stream.error, far.error]).toEqual([undefined, undefined]);
    await server.dispose();
  });
});

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

/** Two channels that talk to each other through a relay of two UDP sockets. */
async function connectedPair(dialer: ReturnType<typeof createLocalDialer>) {
  const left = createSocket('udp4');
  const right = createSocket('udp4');
  left.bind(0, '127.0.0.1');
  right.bind(0, '127.0.0.1');
  await Promise.all([once(left, 'listening'), once(right, 'listening')]);
  for (const socket of [left, right]) {
    socket.unref();
    socket.setRecvBufferSize(1 << 20);
  }
  const a = dialer.openDatagrams({ address: '127.0.0.1', port: left.address().port });
  const b = dialer.openDatagrams({ address: '127.0.0.1', port: right.address().port });
  let aPort = 0;
  let bPort = 0;
  // b introduces itself to the relay before the test starts.
  b.send(Buffer.from('hello'));
  const [, info] = (await once(right, 'message')) as [Buffer, { port: number }];
  bPort = info.port;
  left.on('message', (payload, from) => {
    aPort = from.port;
    right.send(payload, bPort, '127.0.0.1');
  });
  right.on('message', (payload) => left.send(payload, aPort, '127.0.0.1'));
  return [a, b] as const;
}

/** A listener that never accepts and whose backlog is full: the kernel drops further SYNs. */
async function silentTarget() {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const server = require('node:net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(new Int32Array(workerData), 0, 0);
    });`;
  const worker = new Worker(code, { eval: true, workerData: new SharedArrayBuffer(4) });
  const [port] = (await once(worker, 'message')) as [number];
  const sockets = Array.from({ length: 4 }, () => netConnect({ port, host: '127.0.0.1' }));
  for (const socket of sockets) socket.on('error', () => socket.destroy());
  await once(sockets[1] as Socket, 'connect');
  return {
    port,
    dispose: async () => {
      for (const socket of sockets) socket.destroy();
      await worker.terminate();
    },
  };
}
