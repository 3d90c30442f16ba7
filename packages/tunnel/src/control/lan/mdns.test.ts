import { createSocket, type Socket } from 'node:dgram';
import { noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { afterEach, expect, test } from 'vitest';
import { createControlMetrics } from '../metrics.ts';
import { createMdns, type Mdns, type MdnsInterface } from './mdns.ts';
import { decodeMdns, encodeAnnouncement, encodeQuery, type Sighting, serviceName } from './mdns-message.ts';

const GROUP = '224.0.0.251';
const lanTag = 'ab'.repeat(16);
const service = serviceName(lanTag);
const self = '12D3KooWJeWBUN5dcQULT1t7zRWmjEVzcTfEF2mt6kQCAgxRZDXo';
const other = '12D3KooWPA6ax6t3jqTyGq73Zm1RmwppYqxaXzrtarfcTWGp5Wzx';
const announce = { host: '127.0.0.1', port: 20_006 };
const loopback: MdnsInterface = { name: 'lo', host: '127.0.0.1', cidr: '127.0.0.0/8', announce };

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** A socket in the group on a port of its own, that keeps what it hears. */
async function listener(): Promise<{ socket: Socket; port: number; heard: Buffer[] }> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  await new Promise<void>((resolve) => socket.bind(0, '0.0.0.0', resolve));
  socket.addMembership(GROUP, '127.0.0.1');
  socket.setMulticastInterface('127.0.0.1');
  const heard: Buffer[] = [];
  socket.on('message', (message) => heard.push(message));
  stack.defer(() => void socket.close());
  return { socket, port: socket.address().port, heard };
}

function mdns(
  port: number,
  options: { interfaces?: () => MdnsInterface[]; onSighting?: (s: Sighting) => void } = {},
): Mdns {
  return stack.use(
    createMdns({
      lanTag,
      peerId: self,
      port,
      interfaces: options.interfaces ?? (() => [loopback]),
      onSighting: options.onSighting ?? (() => undefined),
      clock: systemClock,
      random: Math.random,
      log: silentLogger,
      metrics: createControlMetrics(noMetrics),
      intervalMs: 60_000,
      interfaceIntervalMs: 50,
    }),
  );
}

const announcements = (heard: readonly Buffer[]) =>
  heard.map((message) => decodeMdns(message, service)).filter((message) => message?.type === 'answer');

test('a storm of queries is answered about once a second', async () => {
  const { socket, port, heard } = await listener();
  mdns(port);
  await expect.poll(() => announcements(heard).length).toBe(1);
  for (let i = 0; i < 200; i++) socket.send(encodeQuery(service), port, GROUP);
  await expect.poll(() => heard.length).toBeGreaterThan(50);
  await expect.poll(() => announcements(heard).length, { timeout: 3_000 }).toBeGreaterThanOrEqual(2);
  expect(announcements(heard).length).toBeLessThanOrEqual(4);
});

test('an announced address is believed only when the announcement comes from it', async () => {
  const { socket, port } = await listener();
  const seen: string[] = [];
  mdns(port, { onSighting: ({ address }) => seen.push(address.host) });
  const say = (host: string, peerId = other) => {
    socket.send(encodeAnnouncement(service, { peerId, instance: 'x', address: { host, port: 1 } }), port, GROUP);
  };
  say('192.0.2.9');
  say('127.0.0.1', self);
  say('127.0.0.7');
  await expect.poll(() => seen).toEqual(['127.0.0.7']);
});

test('rubbish on the port is passed over', async () => {
  const { socket, port } = await listener();
  const seen: string[] = [];
  mdns(port, { onSighting: ({ peerId }) => seen.push(peerId) });
  for (let length = 0; length < 64; length++) socket.send(Buffer.alloc(length, 0xc0), port, GROUP);
  socket.send(Buffer.alloc(9_001), port, GROUP);
  socket.send(encodeAnnouncement(service, { peerId: other, instance: 'x', address: announce }), port, GROUP);
  await expect.poll(() => seen).toEqual([other]);
});

test('a link that appears later is joined, and one that goes is left', async () => {
  const { port, heard } = await listener();
  let links: MdnsInterface[] = [];
  mdns(port, { interfaces: () => links });
  links = [loopback];
  await expect.poll(() => announcements(heard).length).toBeGreaterThan(0);
  links = [];
});

test('a link whose address does not exist is tried again and harms nobody', async () => {
  const { port, heard } = await listener();
  const ghost = { name: 'ghost', host: '192.0.2.77', cidr: '192.0.2.0/24', announce };
  mdns(port, { interfaces: () => [ghost, loopback] });
  await expect.poll(() => announcements(heard).length).toBeGreaterThan(0);
});

test('leaving is announced', async () => {
  const { port, heard } = await listener();
  const leaving = mdns(port);
  await expect.poll(() => announcements(heard).length).toBe(1);
  await leaving[Symbol.asyncDispose]();
  const isGoodbye = (message: Buffer) => {
    const decoded = decodeMdns(message, service);
    return decoded?.type === 'answer' && decoded.sightings.some((sighting) => sighting.leaving);
  };
  await expect.poll(() => heard.some(isGoodbye)).toBe(true);
});
