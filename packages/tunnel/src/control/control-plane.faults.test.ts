import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createRecordingLogger } from '@edgemesh/testkit';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNodeIdentity, deriveMeshSecrets } from '../identity/index.ts';
import type { NodeRecord, RelayState, SocketAddress } from '../types.ts';
import type { ControlPlaneOptions, ManagedControlPlane } from './control-options.ts';
import { createControlPlane } from './control-plane.ts';
import { signRecord } from './records/codec.ts';
import { connected, relayOf, relaysWhen } from './test-planes.ts';
import { writePreamble } from './transport/preamble.ts';

const text = randomUUID();
const secrets = deriveMeshSecrets([text]);
let stack: AsyncDisposableStack;
let folder: string;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-control-'));
});
afterEach(async () => {
  await stack.disposeAsync();
  await rm(folder, { recursive: true });
});

type Options = Partial<ControlPlaneOptions> & { nodeName: string };

async function plane(options: Options): Promise<ManagedControlPlane> {
  const listen = [{ host: '127.0.0.1', port: 0 }];
  const identity = options.identity ?? (await createNodeIdentity());
  return stack.use(await createControlPlane({ secrets, listen, mdns: false, ...options, identity }));
}

const addressOf = (control: ManagedControlPlane) => control.listenAddresses[0] as SocketAddress;
const failed = (relays: readonly RelayState[]) => relays.every((relay) => relay.state === 'failed');
const soon = () => AbortSignal.timeout(3_000);

test('a wrong mesh secret is named as the reason on the side that dials, and nothing is learnt', async () => {
  const log = createRecordingLogger();
  const relay = await plane({ nodeName: 'relay', serveRelay: true, log });
  const stranger = await plane({
    nodeName: 'stranger',
    secrets: deriveMeshSecrets([randomUUID()]),
    relays: relayOf(relay),
  });
  const [state] = await relaysWhen(stranger, failed);
  expect(state?.reason).toMatch(/mesh secret/);
  expect(relay.records().map((record) => record.nodeName)).toEqual(['relay']);
  expect(log.lines.filter((line) => /another mesh secret/.test(line.message))).toHaveLength(1);
  expect(JSON.stringify(log.lines)).not.toContain(text);
});

test('during a rotation a node that knows both secrets talks to old and new ones', async () => {
  const newText = randomUUID();
  const relay = await plane({ nodeName: 'relay', serveRelay: true, secrets: deriveMeshSecrets([text, newText]) });
  const older = await plane({ nodeName: 'older', relays: relayOf(relay) });
  const newer = await plane({ nodeName: 'newer', relays: relayOf(relay), secrets: deriveMeshSecrets([newText, text]) });
  await Promise.all([relaysWhen(older, connected), relaysWhen(newer, connected)]);
  expect((await newer.resolve('older', soon()))?.peerId).toBe(older.peerId);
});

test('a port that is no EdgeMesh port, a closed port and a node that does not relay each get their own reason', async () => {
  const http = createServer((socket) => {
    socket.on('error', () => socket.destroy()); // it may be reset before it has read all that came
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  stack.defer(() => void http.close());
  const plain = await plane({ nodeName: 'plain' });
  const web = (http.address() as { port: number }).port;
  const agent = await plane({
    nodeName: 'agent',
    relays: [
      { nodeName: 'web', addresses: [`127.0.0.1:${web}`] },
      { nodeName: 'closed', addresses: ['127.0.0.1:1'] },
      { nodeName: 'plain', addresses: [`127.0.0.1:${addressOf(plain).port}`] },
    ],
  });
  const reasons = new Map((await relaysWhen(agent, failed)).map((relay) => [relay.nodeName, relay.reason]));
  expect(reasons.get('web')).toMatch(/not an EdgeMesh port|do not decrypt/);
  expect(reasons.get('closed')).toMatch(/connection refused/);
  expect(reasons.get('plain')).toMatch(/does not relay/);
});

test('a relay that restarts with its key is back within two seconds, at the same address', async () => {
  const identity = await createNodeIdentity();
  const first = await plane({ nodeName: 'relay', serveRelay: true, identity });
  const agent = await plane({ nodeName: 'agent', relays: relayOf(first) });
  const other = await plane({ nodeName: 'other', relays: relayOf(first) });
  await Promise.all([relaysWhen(agent, connected), relaysWhen(other, connected)]);
  const listen = [addressOf(first)];
  const isLost = (relays: readonly RelayState[]) => !connected(relays);
  const lost = Promise.all([relaysWhen(agent, isLost), relaysWhen(other, isLost)]);
  await first[Symbol.asyncDispose]();
  await lost;
  expect(agent.relays()[0]?.reason).toMatch(/connection/);
  const started = performance.now();
  await plane({ nodeName: 'relay', serveRelay: true, identity, listen });
  await Promise.all([relaysWhen(agent, connected), relaysWhen(other, connected)]);
  expect(performance.now() - started).toBeLessThan(2_500);
  expect((await agent.resolve('other', soon()))?.peerId).toBe(other.peerId);
});

test('two nodes with one name: the second is refused by the relay, and both sides can see it', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const first = await plane({ nodeName: 'twin', relays: relayOf(relay) });
  await relaysWhen(first, connected);
  const conflict = new Promise((resolve) => relay.onPinConflict(resolve));
  const second = await plane({ nodeName: 'twin', relays: relayOf(relay) });
  const [state] = await relaysWhen(second, failed);
  expect(state?.reason).toMatch(/twin is pinned to key .*--node-name/);
  expect(await conflict).toMatchObject({ pinnedPeerId: first.peerId, claimedPeerId: second.peerId });
  expect(relay.pinnedPeer('twin')).toBe(first.peerId);
  expect(relay.forgetPin('twin')).toBe(true);
  await relaysWhen(second, connected);
  expect(relay.pinnedPeer('twin')).toBe(second.peerId);
});

test('relays are replaced at run time; those that stay keep their connections', async () => {
  const a = await plane({ nodeName: 'relay-a', serveRelay: true });
  const b = await plane({ nodeName: 'relay-b', serveRelay: true });
  const agent = await plane({ nodeName: 'agent', relays: relayOf(a) });
  await relaysWhen(agent, connected);
  agent.setRelays(relayOf(a, b));
  expect(agent.relays().find((relay) => relay.nodeName === 'relay-a')?.state).toBe('connected');
  await relaysWhen(agent, connected);
  agent.setRelays(relayOf(b));
  expect(agent.relays().map((relay) => relay.nodeName)).toEqual(['relay-b']);
  expect(() => agent.setRelays([{ addresses: ['not an address'] }])).toThrow(
    expect.objectContaining({ code: 'config' }),
  );
});

test('relays tell each other what they know, so that agents of different relays find each other', async () => {
  const a = await plane({ nodeName: 'relay-a', serveRelay: true });
  const early = await plane({ nodeName: 'early', relays: relayOf(a) });
  await relaysWhen(early, connected);
  const b = await plane({ nodeName: 'relay-b', serveRelay: true, relays: relayOf(a) });
  const late = await plane({ nodeName: 'late', relays: relayOf(b) });
  await Promise.all([relaysWhen(b, connected), relaysWhen(late, connected)]);
  await expect.poll(() => late.resolve('early', soon()).then((record) => record?.peerId)).toBe(early.peerId);
  await expect.poll(() => early.resolve('late', soon()).then((record) => record?.peerId)).toBe(late.peerId);
});

test('a changed record reaches those who looked it up before, without asking again', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const second = await plane({ nodeName: 'second', serveRelay: true });
  const a = await plane({ nodeName: 'a', relays: relayOf(relay) });
  const b = await plane({ nodeName: 'b', relays: relayOf(relay) });
  await Promise.all([relaysWhen(a, connected), relaysWhen(b, connected)]);
  await b.resolve('a', soon());
  const changed = new Promise<NodeRecord>((resolve) => {
    b.onRecord((record) => record.nodeName === 'a' && record.relays.length === 2 && resolve(record));
  });
  a.setRelays(relayOf(relay, second));
  expect((await changed).relays).toContain(second.peerId);
});

test('a node that lost its state goes on above the sequence that others hold', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const identity = await createNodeIdentity();
  const clock = {
    now: () => performance.now(),
    after: (ms: number, run: () => void) => {
      const timer = setTimeout(run, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  };
  const ahead = { ...clock, wallNow: () => Date.now() + 86_400_000 };
  const before = await plane({ nodeName: 'a', identity, relays: relayOf(relay), clock: ahead });
  await relaysWhen(before, connected);
  const held = relay.records().find((record) => record.nodeName === 'a')?.sequence as number;
  await before[Symbol.asyncDispose]();
  await plane({ nodeName: 'a', identity, relays: relayOf(relay) });
  const sequence = () => relay.records().find((record) => record.nodeName === 'a')?.sequence;
  await expect.poll(sequence).toBeGreaterThan(held);
});

test('after a restart without any relay the peers are known from disk, pins too', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const identity = await createNodeIdentity();
  const other = await plane({ nodeName: 'other', relays: relayOf(relay) });
  const agent = await plane({ nodeName: 'agent', identity, relays: relayOf(relay), stateDir: folder });
  await Promise.all([relaysWhen(agent, connected), relaysWhen(other, connected)]);
  await agent.resolve('other', soon());
  await agent[Symbol.asyncDispose]();
  await relay[Symbol.asyncDispose]();
  const again = await plane({ nodeName: 'agent', identity, stateDir: folder });
  expect((await again.resolve('other', soon()))?.peerId).toBe(other.peerId);
  expect(again.pinnedPeer('other')).toBe(other.peerId);
  expect(Object.keys(JSON.parse(await readFile(join(folder, 'pins.json'), 'utf8'))).sort()).toEqual([
    'agent',
    'other',
    'relay',
  ]);
});

test('data sockets arrive on the port that the control plane uses', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const agent = await plane({ nodeName: 'agent', relays: relayOf(relay) });
  await relaysWhen(agent, connected);
  const arrived = new Promise((resolve) => {
    relay.onDataSocket((socket, preamble) => socket.once('data', (data) => resolve([preamble.kind, data.toString()])));
  });
  const socket = connect(addressOf(relay));
  socket.on('error', () => socket.destroy());
  stack.defer(() => void socket.destroy());
  writePreamble(socket, { kind: 'direct' });
  socket.write('payload');
  expect(await arrived).toEqual(['direct', 'payload']);
  expect(agent.relays()[0]?.state).toBe('connected');
});

test('a circuit carries bytes both ways with half-close, whatever their number', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const a = await plane({ nodeName: 'a', relays: relayOf(relay) });
  const b = await plane({ nodeName: 'b', relays: relayOf(relay) });
  await Promise.all([relaysWhen(a, connected), relaysWhen(b, connected)]);
  a.onCircuit((stream) => stream.on('error', () => stream.destroy()).pipe(stream));
  const record = { ...((await b.resolve('a', soon())) as NodeRecord), lanAddresses: [], relays: [relay.peerId] };
  const open = () => b.openCircuit(record, soon());
  await expect
    .poll(() => open().then((first) => first.end().resume() !== undefined, String), { timeout: 10_000 })
    .toBe(true);
  const stream = await open();
  const sent = Buffer.alloc(3_000_000, 'circuit');
  stream.end(sent);
  const back: Buffer[] = [];
  for await (const chunk of stream) back.push(chunk as Buffer);
  expect(Buffer.concat(back).equals(sent)).toBe(true);
});

test('random bytes on the port, before and after the nonce, do no harm', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const closed = Array.from({ length: 40 }, async (_, i) => {
    const socket = connect(addressOf(relay));
    socket.on('error', () => socket.destroy());
    await once(socket, 'connect');
    const gone = once(socket.resume(), 'close');
    socket.end(randomBytes(1 + i * 7));
    await gone;
  });
  await Promise.all(closed);
  const relays = [{ addresses: [`localhost:${addressOf(relay).port}`] }];
  const agent = await plane({ nodeName: 'agent', relays });
  await relaysWhen(agent, connected);
  expect(
    relay
      .records()
      .map((record) => record.nodeName)
      .sort(),
  ).toEqual(['agent', 'relay']);
});

test('only a relay may bring the records of others, and nobody a forged one', async () => {
  const relay = await plane({ nodeName: 'relay', serveRelay: true });
  const agent = await plane({ nodeName: 'agent', relays: relayOf(relay) });
  await relaysWhen(agent, connected);
  const key = (await createNodeIdentity()).privateKey;
  const record = {
    ...(agent.records()[0] as NodeRecord),
    nodeName: 'absent',
    peerId: peerIdFromPrivateKey(key).toString(),
  };
  const push = async (envelope: Uint8Array) => {
    const body = Buffer.from(JSON.stringify({ records: [Buffer.from(envelope).toString('base64')] }));
    return agent.request(relay.peerId, 'records.push', body, soon());
  };
  const { envelope } = await signRecord(record, key);
  await expect(push(envelope)).rejects.toMatchObject({ code: 'refused' });
  const forged = Uint8Array.from(envelope);
  forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
  await expect(push(forged)).rejects.toMatchObject({ code: 'identity' });
  expect(relay.records().some(({ nodeName }) => nodeName === 'absent')).toBe(false);
});

test('wrong options are refused by name', async () => {
  await expect(plane({ nodeName: '' })).rejects.toMatchObject({ code: 'config' });
  await expect(plane({ nodeName: 'a', listen: [] })).rejects.toMatchObject({ code: 'config' });
  await expect(plane({ nodeName: 'a', relays: [{ addresses: ['?'] }] })).rejects.toMatchObject({ code: 'config' });
  await expect(plane({ nodeName: 'a', advertise: ['a.example'] })).rejects.toMatchObject({ code: 'config' });
  await expect(plane({ nodeName: 'a', listen: [{ host: 'x', port: 0 }] })).rejects.toMatchObject({ code: 'config' });
  await expect(plane({ nodeName: 'a', capabilities: ['Not Good'] })).rejects.toThrow(/caps/);
  const first = await plane({ nodeName: 'a' });
  await expect(plane({ nodeName: 'b', listen: [addressOf(first)] })).rejects.toMatchObject({ code: 'listen' });
});

test('a process that disposes its control plane exits by itself', async () => {
  const script = `
    import { createControlPlane } from '${new URL('./control-plane.ts', import.meta.url).pathname}';
    import { createNodeIdentity, deriveMeshSecrets } from '${new URL('../identity/index.ts', import.meta.url).pathname}';
    const listen = [{ host: '127.0.0.1', port: 0 }];
    const base = { secrets: deriveMeshSecrets(['x']), listen, mdnsPort: 20353 };
    const relay = await createControlPlane({ ...base, nodeName: 'r', serveRelay: true, identity: await createNodeIdentity() });
    const relays = [{ addresses: ['127.0.0.1:' + relay.listenAddresses[0].port, '127.0.0.1:1'] }];
    const agent = await createControlPlane({ ...base, nodeName: 'a', relays, identity: await createNodeIdentity() });
    await new Promise((resolve) => agent.onRelays((states) => states[0].state === 'connected' && resolve()));
    await agent[Symbol.asyncDispose]();
    await relay[Symbol.asyncDispose]();
    console.log('disposed');
  `;
  const run = promisify(execFile)(
    process.execPath,
    ['--conditions=@edgemesh/source', '--input-type=module', '-e', script],
    { cwd: import.meta.dirname, timeout: 15_000 },
  );
  expect((await run).stdout).toBe('disposed\n');
}, 20_000);
