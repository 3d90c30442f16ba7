import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { pickLocalPort } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';
import { mapPorts, pairsOf } from './mappings.ts';
import { decodeHolePunch, encodeHolePunch } from './messages.ts';
import { natKindOf } from './nat-kind.ts';
import { answerObserve, observeMapping, parseObserved } from './observe.ts';
import { openQuietly } from './quiet-open.ts';
import { openSimultaneously } from './simultaneous-open.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

describe('HolePunch messages', () => {
  it('are what the protobuf of DCUtR says', () => {
    const bytes = encodeHolePunch({ type: 'CONNECT', observed: [Uint8Array.of(4, 1, 2, 3, 4)] });
    expect([...bytes]).toEqual([0x08, 100, 0x12, 5, 4, 1, 2, 3, 4]);
    expect([...encodeHolePunch({ type: 'SYNC', observed: [] })]).toEqual([0x08, 0xac, 0x02]);
  });

  it('come back as they were', () => {
    const message = fc.record(
      {
        type: fc.constantFrom('CONNECT' as const, 'SYNC' as const),
        observed: fc.array(fc.uint8Array({ maxLength: 256 }), { maxLength: 16 }),
      },
      { requiredKeys: ['type', 'observed'] },
    );
    fc.assert(
      fc.property(message, (m) => {
        expect(decodeHolePunch(encodeHolePunch(m))).toEqual(m);
      }),
    );
  });

  it('skip fields that they do not know', () => {
    const known = encodeHolePunch({ type: 'SYNC', observed: [] });
    const unknown = [0x18, 7, 0x22, 2, 9, 9, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4];
    expect(decodeHolePunch(Uint8Array.from([...unknown, ...known]))).toEqual({ type: 'SYNC', observed: [] });
  });

  it('never fail but with a protocol error, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        try {
          decodeHolePunch(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(TunnelError);
          expect((error as TunnelError).code).toBe('protocol');
        }
      }),
    );
  });
});

describe('the kind of a NAT', () => {
  const local = { host: '10.0.0.5', port: 4_000 };
  it.each([
    ['none', [{ host: '10.0.0.5', port: 4_000 }]],
    ['port-preserving', [{ host: '5.1.1.1', port: 4_000 }]],
    ['unknown', [{ host: '5.1.1.1', port: 999 }]],
    ['endpoint-independent', [{ host: '5.1.1.1', port: 999 }, { host: '5.1.1.1', port: 999 }]], // biome-ignore format: a table
    ['symmetric', [{ host: '5.1.1.1', port: 999 }, { host: '5.1.1.1', port: 998 }]], // biome-ignore format: a table
    [undefined, []],
  ] as const)('is %s', (kind, observed) => {
    expect(natKindOf({ local, observed })).toBe(kind);
  });
});

async function serve(onSocket: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    onSocket(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

describe('the look from outside', () => {
  const soon = () => AbortSignal.timeout(5_000);

  it('shows the local port, and its connection stays until it is disposed of', async () => {
    let closed = false;
    const relay = await serve((socket) => {
      answerObserve(socket, 5_000);
      socket.on('close', () => {
        closed = true;
      });
    });
    const localPort = await pickLocalPort();
    const mapping = await observeMapping(relay, localPort, soon());
    expect(mapping).toMatchObject({
      local: { host: '127.0.0.1', port: localPort },
      observed: { host: '127.0.0.1', port: localPort },
    });
    expect(closed).toBe(false);
    mapping[Symbol.dispose]();
    await expect.poll(() => closed).toBe(true);
  });

  it('fails when the relay says something else, hangs up, or says nothing', async () => {
    const talker = await serve((socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n'.repeat(5)));
    await expect(observeMapping(talker, await pickLocalPort(), soon())).rejects.toThrow(/something else/);
    const closer = await serve((socket) => void socket.end());
    await expect(observeMapping(closer, await pickLocalPort(), soon())).rejects.toThrow(/too old/);
    const mute = await serve(() => undefined);
    await expect(observeMapping(mute, await pickLocalPort(), AbortSignal.timeout(30))).rejects.toThrow(/timeout/);
  });

  it('reads addresses of both families and nothing else', () => {
    expect(parseObserved('1.2.3.4:5')).toEqual({ host: '1.2.3.4', port: 5 });
    expect(parseObserved('[2001:db8::1]:65535')).toEqual({ host: '2001:db8::1', port: 65_535 });
    for (const bad of [
      '',
      '1.2.3.4',
      '1.2.3.4:0',
      '1.2.3.4:65536',
      '2001:db8::1:5',
      'a.b:5',
      '[1.2.3.4:5',
      '999.1.1.1:5',
    ])
      expect(parseObserved(bad)).toBeUndefined();
  });
});

describe('a simultaneous open', () => {
  const host = '127.0.0.1';

  it('tries again from the same port while it is refused, as the door may open any moment', async () => {
    const [local, port] = [{ host, port: await pickLocalPort() }, await pickLocalPort()];
    const options = {
      signal: AbortSignal.timeout(5_000),
      maxRefusals: Number.POSITIVE_INFINITY,
      take: 'connected',
    } as const;
    const opening = openSimultaneously([{ local, peer: { host, port } }], options);
    const server = createServer((socket) => void socket.end(`${socket.remotePort}`));
    closers.push(() => server.close());
    setTimeout(() => server.listen(port, host), 100);
    const { socket } = await opening;
    expect((await once(socket, 'data'))[0].toString()).toBe(`${local.port}`);
    socket.destroy();
  });

  it('is refused when all pairs have been, and leaves no socket', async () => {
    const peer = { host, port: await pickLocalPort() };
    const pairs = [
      { local: { host, port: await pickLocalPort() }, peer },
      { local: { host, port: await pickLocalPort() }, peer },
    ];
    const attempt = openSimultaneously(pairs, {
      signal: AbortSignal.timeout(5_000),
      maxRefusals: 1,
      take: 'connected',
    });
    await expect(attempt).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining(`:${peer.port}`) });
  });

  it('gives up with the signal', async () => {
    const local = { host: '0.0.0.0', port: await pickLocalPort() };
    const pair = { local, peer: { host: '192.0.2.1', port: 9 } };
    const open = (signal: AbortSignal) => openSimultaneously([pair], { signal, maxRefusals: 9, take: 'connected' });
    await expect(open(AbortSignal.timeout(30))).rejects.toMatchObject({ code: 'unreachable' });
    await expect(open(AbortSignal.abort())).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('takes only a pair on which the peer speaks', async () => {
    const quiet = await serve(() => undefined);
    const speaker = await serve((socket) => void socket.write('me'));
    const pairs = [quiet, speaker].map(async (peer) => ({ local: { host, port: await pickLocalPort() }, peer }));
    const { socket, peer } = await openSimultaneously(await Promise.all(pairs), {
      ...{ signal: AbortSignal.timeout(5_000), maxRefusals: 0, take: 'spoken' },
    });
    expect(peer).toEqual(speaker);
    socket.destroy();
  });
});

describe('a quiet opening', () => {
  const local = { host: '127.0.0.1', port: 1 };
  const peer = { host: '127.0.0.1', port: 2 };
  const six = { host: '2001:db8::1', port: 3 };
  const pairs = [
    { local, peer },
    { local: six, peer: six },
    { local, peer },
  ];

  it('reaches one router further with each pair of an IP version, and takes the pair on which the peer comes', async () => {
    const dialled: (readonly [SocketAddress, number])[] = [];
    const signals: AbortSignal[] = [];
    const opened = await openQuietly(
      pairs,
      (_, to, { hops, signal }) => {
        dialled.push([to, hops]);
        signals.push(signal);
        return hops === 2 ? Promise.resolve(new Socket()) : Promise.race([]);
      },
      new AbortController().signal,
    );
    expect(dialled).toEqual([
      [peer, 1],
      [six, 1],
      [peer, 2],
    ]);
    expect(opened.peer).toEqual(peer);
    expect(signals.every((signal) => signal.aborted)).toBe(true); // the others are given up
    opened.socket.destroy();
  });

  it('says why when the peer comes in nowhere', async () => {
    const dial = () => Promise.reject(new Error('errno 99'));
    const opening = openQuietly(pairs, dial, new AbortController().signal);
    await expect(opening).rejects.toMatchObject({ code: 'unreachable', message: expect.stringContaining('errno 99') });
  });
});

describe('ways between mappings and addresses', () => {
  it('stay within one IP version', () => {
    const mappings = [
      { host: '10.0.0.1', port: 1 },
      { host: '2001:db8::1', port: 2 },
    ].map((local) => ({
      ...{ local, observed: local, [Symbol.dispose]: () => undefined },
    }));
    const peers = [{ host: '2001:db8::2', port: 3 }];
    expect(pairsOf(mappings, peers)).toEqual([{ local: mappings[1]?.local, peer: peers[0] }]);
  });

  it('are not there for a node without relay and without IPv6', async () => {
    const { signal } = new AbortController();
    const mapped = mapPorts({ counts: { 4: 1, 6: 1 }, relays: [], ipv6: undefined, signal });
    await expect(mapped).rejects.toThrow(/no relay/);
    using six = await mapPorts({ counts: { 4: 1, 6: 2 }, relays: [], ipv6: '2001:db8::1', signal });
    expect(six.mappings.map(({ local, observed }) => [local.host, observed])).toEqual(
      six.mappings.map(({ local }) => ['2001:db8::1', local]),
    );
    expect(six.mappings).toHaveLength(2);
  });
});
