import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connectFirst, formatAddress } from './connect.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen() {
  const server = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return { server, address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } };
}
/** A port that refuses: it was free a moment ago. */
async function closed() {
  const { server, address } = await listen();
  server.close();
  await once(server, 'close');
  return address;
}
const soon = () => AbortSignal.timeout(5_000);

describe('dialling several addresses at once', () => {
  it('takes the first that answers, whatever the others do', async () => {
    const { address } = await listen();
    const silent = { host: '192.0.2.1', port: 9 };
    const connected = await connectFirst([await closed(), silent, address], soon());
    expect(connected.address).toEqual(address);
    connected.socket.destroy();
  });

  it('says why every address failed', async () => {
    const [one, two] = [await closed(), await closed()];
    const attempt = connectFirst([one, two], soon());
    await expect(attempt).rejects.toMatchObject({ code: 'unreachable', retryable: true });
    await expect(attempt).rejects.toThrow(formatAddress(one));
    await expect(attempt).rejects.toThrow(formatAddress(two));
  });

  it('gives up with the signal', async () => {
    const { address } = await listen();
    const abort = new AbortController();
    const attempt = connectFirst([address], abort.signal);
    abort.abort(new Error('changed my mind'));
    await expect(attempt).rejects.toThrow('gave up: changed my mind');
    await expect(connectFirst([address], AbortSignal.abort('no'))).rejects.toThrow(/gave up/);
    await expect(connectFirst([], soon())).rejects.toThrow('no address to dial');
  });

  it('dials eight addresses at most', async () => {
    const { address } = await listen();
    const refusing = await Promise.all(Array.from({ length: 8 }, closed));
    await expect(connectFirst([...refusing, address], soon())).rejects.toMatchObject({ code: 'unreachable' });
  });
});
