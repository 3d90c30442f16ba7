import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { loadQuietDial } from './quiet-dial.ts';
import { encodeSocketAddress } from './socket-address.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

describe('socket addresses', () => {
  it('have the layout of the kernel', () => {
    const four = encodeSocketAddress({ host: '10.1.2.3', port: 258 });
    expect([...four.subarray(2)]).toEqual([1, 2, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    const six = encodeSocketAddress({ host: '::1', port: 80 });
    expect([six.length, six[2], six[3], six[23], six[27]]).toEqual([28, 0, 80, 1, 0]);
    expect(() => encodeSocketAddress({ host: 'example.org', port: 80 })).toThrow(/not an IP/);
  });
});

describe('a quiet dial', () => {
  async function listen() {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.end(`${socket.remotePort}`);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }

  it('comes from the port that it is told and gives a socket of Node', async () => {
    const [peer, free] = [await listen(), await listen()];
    const local = { host: '127.0.0.1', port: free.port };
    for (const close of closers.splice(1)) close();
    const dial = await loadQuietDial();
    const socket = await dial(local, peer, { hops: 3, signal: AbortSignal.timeout(5_000) });
    expect((await once(socket, 'data'))[0].toString()).toBe(`${local.port}`);
    socket.destroy();
  });

  it('ends with the signal where nobody comes, and at once where the port is not ours', async () => {
    const dial = await loadQuietDial();
    const signal = AbortSignal.timeout(30);
    const nobody = dial({ host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port: 9 }, { hops: 1, signal });
    await expect(nobody).rejects.toMatchObject({ code: 'aborted' });
    const foreign = dial({ host: '192.0.2.1', port: 0 }, { host: '127.0.0.1', port: 9 }, { hops: 1, signal });
    await expect(foreign).rejects.toMatchObject({ code: 'failed' });
  });
});
