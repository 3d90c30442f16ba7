import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { carrierPair, identities, secureOptions, socketPair } from '../../bench/rig.ts';
import { TunnelError } from '../errors.ts';
import { createNodeIdentity, deriveMeshSecrets, type NodeIdentity } from '../identity/index.ts';
import type { CarrierLink } from './link.ts';
import { type SecureOptions, secureCarrier } from './secure.ts';
import { encodeFrame, encodeHello, FRAME } from './wire.ts';

/** Both ends of a handshake, settled; the first is the client. */
async function handshake(client: Partial<SecureOptions>, server: Partial<SecureOptions>, sockets?: [Duplex, Duplex]) {
  const [one, two] = await identities();
  const pair = sockets ?? (await socketPair());
  const results = await Promise.allSettled([
    secureCarrier(pair[0], secureOptions(client.identity ?? one, 'client', client)),
    secureCarrier(pair[1], secureOptions(server.identity ?? two, 'server', server)),
  ]);
  return { results, pair };
}

const reasonOf = (result: PromiseSettledResult<unknown>): TunnelError =>
  (result.status === 'rejected' ? result.reason : undefined) as TunnelError;

/** Reads what a carrier delivers. */
function read(link: CarrierLink) {
  const chunks: Buffer[] = [];
  const lost = Promise.withResolvers<TunnelError>();
  link.bind({
    onBytes: (chunk) => void chunks.push(Buffer.from(chunk)),
    onWritable: () => undefined,
    onLost: lost.resolve,
  });
  return { bytes: () => Buffer.concat(chunks), lost: lost.promise };
}

async function until(test: () => boolean): Promise<void> {
  for (let i = 0; i < 50_000 && !test(); i++) await turn();
  expect(test()).toBe(true);
}

/** Two connected duplexes that are no sockets: what a circuit gives. */
function duplexPair(): [Duplex, Duplex] {
  const make = (): Duplex & { far?: Duplex } =>
    new Duplex({
      read() {
        // Pushed by the far end.
      },
      write(chunk: Buffer, _encoding, callback) {
        (this as Duplex & { far: Duplex }).far.push(Buffer.from(chunk));
        setImmediate(callback);
      },
      final(callback) {
        (this as Duplex & { far: Duplex }).far.push(null);
        callback();
      },
      destroy(error, callback) {
        setImmediate(() => (this as Duplex & { far: Duplex }).far.destroy());
        callback(error);
      },
    });
  const a = make();
  const b = make();
  a.far = b;
  b.far = a;
  return [a, b];
}

describe('secureCarrier', () => {
  it('tells both ends who the other is', async () => {
    const [one, two] = await identities();
    const { client, server } = await carrierPair(one, two, 'relayed');
    expect(client).toMatchObject({
      peerId: two.peerId,
      nodeName: two.peerId.slice(-6),
      path: 'relayed',
      initiator: true,
    });
    expect(server).toMatchObject({ peerId: one.peerId, nodeName: one.peerId.slice(-6), initiator: false });
    for (const end of [client, server]) (end as CarrierLink).destroy();
  });

  it('works over a duplex that is no socket, both ways, with much data', async () => {
    const { results } = await handshake({}, {}, duplexPair());
    const [a, b] = results.map((result) => (result as PromiseFulfilledResult<CarrierLink>).value) as [
      CarrierLink,
      CarrierLink,
    ];
    const [atA, atB] = [read(a), read(b)];
    a.write(Buffer.alloc(500_000, 1));
    b.write(Buffer.alloc(300_000, 2));
    await until(() => atB.bytes().length === 500_000 && atA.bytes().length === 300_000);
    a.close('closed', 'done');
    expect(await atB.lost).toBeInstanceOf(TunnelError);
  });

  it('takes bytes that somebody has read before and put back', async () => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const client = secureCarrier(sockets[0], secureOptions(one, 'client'));
    // The start of the TLS handshake has arrived and is given back, as the reader of a preamble does.
    await once(sockets[1], 'readable');
    sockets[1].unshift(sockets[1].read() as Buffer);
    const server = await secureCarrier(sockets[1], secureOptions(two, 'server'));
    expect((await client).peerId).toBe(two.peerId);
    for (const end of [await client, server]) (end as CarrierLink).destroy();
  });

  it('keeps frames that come right behind HELLO', async () => {
    const [one, two] = await identities();
    const { client, server } = await carrierPair(one, two);
    (client as CarrierLink).write(Buffer.from('at once'));
    for (let i = 0; i < 50; i++) await turn();
    const reader = read(server as CarrierLink);
    await until(() => reader.bytes().toString() === 'at once');
    for (const end of [client, server]) (end as CarrierLink).destroy();
  });

  it('lets a client that knows its peer send before the peer has answered', async () => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const expected = { expectedPeerId: two.peerId, expectedNodeName: two.peerId.slice(-6) };
    const server = secureCarrier(sockets[1], secureOptions(two, 'server'));
    const client = (await secureCarrier(sockets[0], secureOptions(one, 'client', expected))) as CarrierLink;
    expect(client.nodeName).toBe(two.peerId.slice(-6));
    client.write(Buffer.from('early'));
    const atServer = read((await server) as CarrierLink);
    const atClient = read(client);
    await until(() => atServer.bytes().toString() === 'early');
    ((await server) as CarrierLink).write(Buffer.from('late'));
    await until(() => atClient.bytes().toString() === 'late');
    for (const end of [client, await server]) (end as CarrierLink).destroy();
  });

  it('takes an early carrier back when the peer turns out not to hold the secret', async () => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const expected = { expectedPeerId: two.peerId, expectedNodeName: two.peerId.slice(-6) };
    const other = deriveMeshSecrets(['another secret']);
    const server = secureCarrier(sockets[1], secureOptions(two, 'server', { secrets: other }));
    server.catch(() => undefined);
    const client = (await secureCarrier(sockets[0], secureOptions(one, 'client', expected))) as CarrierLink;
    const atClient = read(client);
    expect(await atClient.lost).toMatchObject({ code: 'secret' });
    expect(atClient.bytes()).toHaveLength(0);
    await expect(server).rejects.toMatchObject({ code: 'secret' });
  });

  it('refuses a peer without our secret, and both ends learn why', async () => {
    const { results, pair } = await handshake({}, { secrets: deriveMeshSecrets(['another secret']) });
    expect(results.map(reasonOf).map((error) => error.code)).toEqual(['secret', 'secret']);
    expect(reasonOf(results[0] as never).message).toMatch(/mesh secret/);
    await until(() => pair.every((socket) => socket.destroyed));
  });

  it('lets nodes in different stages of a rotation in', async () => {
    const { results } = await handshake(
      { secrets: deriveMeshSecrets(['new', 'old']) },
      { secrets: deriveMeshSecrets(['old']) },
    );
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled']);
    for (const result of results) if (result.status === 'fulfilled') (result.value as CarrierLink).destroy();
  });

  it.each(['client', 'server'] as const)('refuses another key than the one that the %s expects', async (side) => {
    const wrong = (await createNodeIdentity()).peerId;
    const { results } = await handshake(
      side === 'client' ? { expectedPeerId: wrong } : {},
      side === 'server' ? { expectedPeerId: wrong } : {},
    );
    const [own, far] = side === 'client' ? results : results.toReversed();
    expect(reasonOf(own as never)).toMatchObject({ code: 'identity' });
    // The other end hears of it, or sees the connection close, whichever comes first.
    expect(reasonOf(far as never)).toBeInstanceOf(TunnelError);
    expect(reasonOf(far as never).message).toMatch(/expected node key|closed/);
  });

  it('refuses a node name that is pinned to another key', async () => {
    const pins = (nodeName: string) => new TunnelError('identity', `${nodeName} is pinned`);
    const { results } = await handshake({}, { pins });
    expect(reasonOf(results[1] as never)).toMatchObject({ code: 'identity' });
  });

  it('refuses a peer that speaks no version in common', async () => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const server = secureCarrier(sockets[1], secureOptions(two, 'server'));
    const client = tlsConnect({
      socket: sockets[0],
      cert: one.tls.certPem,
      key: one.tls.keyPem,
      rejectUnauthorized: false,
      ALPNProtocols: ['edgemesh/1'],
    });
    await once(client, 'secureConnect');
    client.write(
      encodeFrame(FRAME.hello, 0, encodeHello({ versionMin: 7, versionMax: 9, nodeName: 'future', proofs: [] })),
    );
    await expect(server).rejects.toMatchObject({ code: 'version' });
    await expect(server).rejects.toThrow(/7 to 9/);
    client.destroy();
  });

  it.each([
    ['a certificate that is no node certificate', { cert: false, alpn: ['edgemesh/1'] }, 'identity'],
    ['another protocol', { cert: true, alpn: [] as string[] }, 'version'],
  ])('refuses %s', async (_name, { cert, alpn }, code) => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const server = secureCarrier(sockets[1], secureOptions(two, 'server'));
    server.catch(() => undefined);
    const keys = cert ? { cert: one.tls.certPem, key: one.tls.keyPem } : {};
    const client = tlsConnect({ socket: sockets[0], ...keys, rejectUnauthorized: false, ALPNProtocols: alpn });
    client.on('error', () => undefined);
    await expect(server).rejects.toMatchObject({ code });
    client.destroy();
  });

  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['nothing and a close', undefined],
  ])('fails in order when the far end sends %s instead of TLS', async (_name, bytes) => {
    const [, two] = await identities();
    const sockets = await socketPair();
    const server = secureCarrier(sockets[1], secureOptions(two, 'server'));
    server.catch(() => undefined);
    sockets[0].on('error', () => undefined);
    if (bytes) sockets[0].write(bytes);
    else sockets[0].destroy();
    await expect(server).rejects.toMatchObject({ code: 'unreachable', retryable: true });
    sockets[0].destroy();
  });

  it('gives a silent peer up after the time limit', async () => {
    const [, two] = await identities();
    const sockets = await socketPair();
    const server = secureCarrier(sockets[1], secureOptions(two, 'server', { timeoutMs: 30 }));
    await expect(server).rejects.toMatchObject({ code: 'timeout' });
    await until(() => sockets[1].destroyed);
    sockets[0].destroy();
  });

  it('stops at once when it is given up', async () => {
    const [, two] = await identities();
    const sockets = await socketPair();
    const abort = new AbortController();
    const server = secureCarrier(sockets[1], secureOptions(two, 'server', { signal: abort.signal }));
    abort.abort();
    await expect(server).rejects.toMatchObject({ code: 'closed' });
    await until(() => sockets[1].destroyed);
    sockets[0].destroy();
  });

  it('agrees on TLS 1.3 with AES-128-GCM', async () => {
    const [one, two] = await identities();
    const sockets = await socketPair();
    const server: Promise<unknown> = secureCarrier(sockets[1], secureOptions(two, 'server'));
    server.catch(() => undefined);
    const client = await plainTls(sockets[0], one);
    expect([client.getProtocol(), client.getCipher().name]).toEqual(['TLSv1.3', 'TLS_AES_128_GCM_SHA256']);
    client.destroy();
    await expect(server).rejects.toThrow();
  });
});

async function plainTls(socket: Socket, identity: NodeIdentity): Promise<TLSSocket> {
  const client = tlsConnect({
    socket,
    cert: identity.tls.certPem,
    key: identity.tls.keyPem,
    rejectUnauthorized: false,
    ALPNProtocols: ['edgemesh/1'],
  });
  await once(client, 'secureConnect');
  return client;
}
