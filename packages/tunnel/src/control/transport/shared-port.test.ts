import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { TLSSocket, connect as tlsConnect } from 'node:tls';
import { noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { createNodeIdentity } from '../../identity/index.ts';
import { controlDefaults, type SharedPortLimits } from '../../options.ts';
import type { DataPreamble, SocketAddress } from '../../types.ts';
import { createControlMetrics } from '../metrics.ts';
import { DATA_MAGIC, encodePreamble, readPreamble, writePreamble } from './preamble.ts';
import { createSharedPort, type SharedPort } from './shared-port.ts';

const ticket = new Uint8Array(32).fill(5);
let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

async function sharedPort(limits: Partial<SharedPortLimits> = {}): Promise<SharedPort> {
  return stack.use(
    await createSharedPort([{ host: '127.0.0.1', port: 0 }], {
      limits: { ...controlDefaults.port, ...limits },
      log: silentLogger,
      clock: systemClock,
      metrics: createControlMetrics(noMetrics),
    }),
  );
}

async function client(port: SharedPort): Promise<Socket> {
  const socket = connect({ ...(port.addresses[0] as SocketAddress), noDelay: true });
  socket.on('error', () => socket.destroy());
  stack.defer(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const nextData = (port: SharedPort) =>
  new Promise<{ socket: Socket; preamble: DataPreamble }>((resolve) => {
    port.onDataSocket((socket, preamble) => resolve({ socket, preamble }));
  });

const nextControl = (port: SharedPort) =>
  new Promise<Socket>((resolve) => port.onControlSocket(port.addresses[0] as SocketAddress, resolve));

async function read(socket: Socket, bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer);
    if (Buffer.concat(chunks).length >= bytes) break;
  }
  return Buffer.concat(chunks);
}

test('a data socket is handed over behind its preamble, however the bytes are cut', async () => {
  const port = await sharedPort();
  const arrived = nextData(port);
  const socket = await client(port);
  const bytes = Buffer.concat([encodePreamble({ kind: 'ticket', ticket }), Buffer.from('rest')]);
  for (const byte of bytes) {
    socket.write(Uint8Array.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { socket: accepted, preamble } = await arrived;
  expect(preamble).toEqual({ kind: 'ticket', ticket });
  expect((await read(accepted, 4)).toString()).toBe('rest');
});

test('anything else is handed to the control plane with no byte missing', async () => {
  const port = await sharedPort();
  const arrived = nextControl(port);
  const socket = await client(port);
  const hello = Buffer.concat([DATA_MAGIC.subarray(0, 7), Buffer.from('not the magic')]);
  socket.write(hello);
  const accepted = await arrived;
  expect(accepted.remotePort).toBe(socket.localPort);
  expect(await read(accepted, hello.length)).toEqual(hello);
});

test('TLS runs on a handed-over socket whose client hello came in the packet of the preamble', async () => {
  const port = await sharedPort();
  const { tls } = await createNodeIdentity();
  const arrived = nextData(port);
  const socket = await client(port);
  socket.cork();
  writePreamble(socket, { kind: 'direct' });
  const secure = tlsConnect({ socket, rejectUnauthorized: false });
  process.nextTick(() => socket.uncork());
  const { socket: accepted } = await arrived;
  const server = new TLSSocket(accepted, { isServer: true, cert: tls.certPem, key: tls.keyPem });
  server.write('over TLS');
  const [data] = (await once(secure, 'data')) as [Buffer];
  expect(data.toString()).toBe('over TLS');
});

test('a silent client and one that sends the magic byte by byte are both dropped in time', async () => {
  const port = await sharedPort({ preambleTimeoutMs: 150 });
  const silent = await client(port);
  const slow = await client(port);
  let sent = 0;
  const drip = setInterval(() => slow.write(DATA_MAGIC.subarray(sent, ++sent)), 15);
  // whoever writes into a connection that is closed meanwhile may be told by a reset
  const closed = (socket: Socket) =>
    new Promise((resolve) => socket.once('error', () => undefined).once('close', resolve));
  await Promise.all([closed(silent), closed(slow)]);
  clearInterval(drip);
  const arrived = nextData(port);
  const good = await client(port);
  writePreamble(good, { kind: 'direct' });
  expect((await arrived).preamble.kind).toBe('direct');
});

test('silent clients cannot use up the pending slots: the oldest goes, a member still gets in', async () => {
  const port = await sharedPort({ maxPendingSockets: 3 });
  const silent = [];
  for (let i = 0; i < 5; i++) silent.push(await client(port));
  await Promise.all(silent.slice(0, 2).map((socket) => once(socket, 'close')));
  const arrived = nextControl(port);
  const member = await client(port);
  member.write('member');
  await arrived;
});

test('sockets of one address beyond its limit are refused, and slots come back when others close', async () => {
  const port = await sharedPort({ maxSocketsPerIp: 1 });
  let accepted = nextControl(port);
  const first = await client(port);
  first.write('first');
  const firstAccepted = await accepted;
  const second = await client(port);
  await once(second, 'close');
  first.destroy();
  await once(firstAccepted.resume(), 'close');
  accepted = nextControl(port);
  (await client(port)).write('third');
  await accepted;
});

test('a port in use is a TunnelError that names the address', async () => {
  const port = await sharedPort();
  const taken = port.addresses[0] as SocketAddress;
  const again = createSharedPort([taken], {
    limits: controlDefaults.port,
    log: silentLogger,
    clock: systemClock,
    metrics: createControlMetrics(noMetrics),
  });
  await expect(again).rejects.toMatchObject({ code: 'listen', message: expect.stringContaining(String(taken.port)) });
});

test('first bytes of any kind get a verdict, and only the magic makes a data socket', () => {
  const start = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.nat(16).map((n) => DATA_MAGIC.slice(0, n)),
  );
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 64 }), (head, tail) => {
      const bytes = Buffer.concat([head, tail]);
      const verdict = readPreamble(bytes);
      const hasMagic = Buffer.compare(bytes.subarray(0, 16), DATA_MAGIC) === 0;
      if (verdict.type === 'data' || verdict.type === 'unknown-kind') expect(hasMagic).toBe(true);
      if (verdict.type === 'control') expect(hasMagic).toBe(false);
    }),
  );
  for (const preamble of [{ kind: 'direct' }, { kind: 'ticket', ticket }] as const) {
    const bytes = encodePreamble(preamble);
    expect(readPreamble(bytes)).toEqual({ type: 'data', preamble, consumed: bytes.length });
  }
});
