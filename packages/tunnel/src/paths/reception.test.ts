import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { silentLogger } from '@edgemesh/core';
import { expect, it } from 'vitest';
import { createNodeIdentity, deriveMeshSecrets } from '../identity/index.ts';
import { MAX_INBOUND_HANDSHAKES, Reception } from './reception.ts';

it('turns strangers away beyond a number of handshakes, and takes peers again when those have ended', async () => {
  const closing = new AbortController();
  const reception = new Reception({
    control: { nodeName: 'here', checkPin: () => undefined },
    identity: await createNodeIdentity(),
    secrets: deriveMeshSecrets(['secret']),
    relayService: undefined,
    timeoutMs: 60_000,
    signal: closing.signal,
    log: silentLogger,
    takeTicket: () => false,
    onCarrier: () => undefined,
  });
  const accepted: Socket[] = [];
  const server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => undefined);
    reception.acceptData(socket, { kind: 'direct' });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const dial = () => connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined);
  const silent = Array.from({ length: MAX_INBOUND_HANDSHAKES }, dial);
  await expect.poll(() => accepted.length).toBe(MAX_INBOUND_HANDSHAKES);
  const late = dial().resume();
  await once(late, 'close');
  for (const socket of silent) socket.destroy();
  await expect.poll(() => accepted.every((socket) => socket.destroyed)).toBe(true);
  const next = dial();
  await expect.poll(() => accepted.length).toBe(MAX_INBOUND_HANDSHAKES + 2);
  expect(accepted.at(-1)?.destroyed).toBe(false);
  next.destroy();
  closing.abort();
  server.close();
});
