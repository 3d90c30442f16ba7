import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { relayDefaults } from '../options.ts';
import type { ControlRpc } from '../types.ts';
import { CircuitBook } from './circuit-book.ts';
import { decodeFields, encodeMessage, parseTicket, RELAY_CONNECT } from './messages.ts';
import { createRelayService } from './service.ts';
import { TicketLedger } from './tickets.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A relay whose control plane is a table: members are told of circuits by a function. */
async function startRelay(limits: Partial<typeof relayDefaults> = {}) {
  type Handler = Parameters<ControlRpc['handle']>[1];
  const handlers = new Map<string, Handler>();
  const members = new Map<string, (body: Uint8Array) => void>();
  const control: ControlRpc = {
    handle: (method, handler) => void handlers.set(method, handler),
    request: async (peerId, _method, body) => {
      const member = members.get(peerId);
      if (member === undefined) throw new Error('not connected');
      member(body);
      return new Uint8Array();
    },
  };
  const all = { ...relayDefaults, ...limits };
  const book = new CircuitBook(all, { metrics: noMetrics, clock: systemClock });
  const relay = createRelayService({ control, book, limits: all, log: silentLogger, clock: systemClock });
  // The test's own stand-in for the shared port: the first 32 bytes are the ticket.
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.once('readable', () => {
      const ticket = socket.read(32) as Buffer | null;
      if (ticket !== null) relay.accept(socket, { kind: 'ticket', ticket });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    relay[Symbol.dispose]();
    server.close();
  });
  const dial = (ticket: Uint8Array): Socket => {
    const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => undefined);
    socket.write(ticket);
    closers.push(() => socket.destroy());
    return socket;
  };
  const call = async (caller: string, callee: string) => {
    const handler = handlers.get(RELAY_CONNECT) as Handler;
    const reply = await handler(caller, encodeMessage({ peerId: callee }), new AbortController().signal);
    return parseTicket(decodeFields(reply, 'ticket').ticket);
  };
  /** A circuit between two members, both sockets connected. */
  const circuit = async (caller = 'a', callee = 'b') => {
    const told = new Promise<Uint8Array>((resolve) =>
      members.set(callee, (body) => resolve(parseTicket(decodeFields(body, 'from', 'ticket').ticket))),
    );
    const before = relay.status().circuits;
    const near = dial(await call(caller, callee));
    const far = dial(await told);
    await expect.poll(() => relay.status().circuits).toBe(before + 1);
    return { near, far };
  };
  return { relay, members, call, dial, circuit };
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('a relay', () => {
  it('splices the two sockets of a circuit, both directions, with half-close', async () => {
    const { relay, circuit } = await startRelay();
    const { near, far } = await circuit();
    const up = randomBytes(5_000_000);
    const down = randomBytes(3_000_000);
    near.end(up);
    expect(sha(await readAll(far))).toBe(sha(up));
    far.end(down); // after the other direction has ended
    expect(sha(await readAll(near))).toBe(sha(down));
    await expect
      .poll(() => relay.status())
      .toMatchObject({ circuits: 0, pending: 0, bytesRelayed: up.length + down.length });
  });

  it('ends the other socket when one is reset', async () => {
    const { circuit, relay } = await startRelay();
    const { near, far } = await circuit();
    near.write('x');
    await once(far, 'data');
    near.resetAndDestroy();
    await new Promise((resolve) => far.once('close', resolve));
    await expect.poll(() => relay.status().circuits).toBe(0);
  });

  it('says at once that the callee is not connected, and keeps nothing', async () => {
    const { call, relay } = await startRelay();
    await expect(call('a', 'nobody')).rejects.toMatchObject({ code: 'unreachable', retryable: true });
    expect(relay.status()).toMatchObject({ circuits: 0, pending: 0 });
  });

  it('refuses circuits beyond the limits of a peer and of the relay, by name, and grants them again later', async () => {
    const { circuit, call, members, relay } = await startRelay({ maxCircuits: 3, maxCircuitsPerPeer: 2 });
    members.set('c', () => undefined);
    const first = await circuit('a', 'b');
    const second = await circuit('a', 'b');
    await expect(call('a', 'c')).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining('per-peer') });
    await circuit('d', 'e');
    await expect(call('f', 'c')).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining('total') });
    for (const { near, far } of [first, second]) {
      near.destroy();
      far.destroy();
    }
    await expect.poll(() => relay.status()).toMatchObject({ circuits: 1, pending: 0 });
    await call('a', 'c');
  });

  it('voids tickets that nobody presents, also when one side came', async () => {
    const { call, dial, members, relay } = await startRelay({ ticketTtlMs: 50 });
    members.set('b', () => undefined);
    const lonely = dial(await call('a', 'b'));
    lonely.resume();
    await once(lonely, 'end');
    expect(relay.status()).toMatchObject({ circuits: 0, pending: 0 });
  });

  it('drops a socket with an unknown or used ticket', async () => {
    const { dial, call, members } = await startRelay();
    members.set('b', () => undefined);
    const unknown = dial(randomBytes(32)).resume();
    await once(unknown, 'end');
    const ticket = await call('a', 'b');
    dial(ticket);
    const second = dial(ticket).resume();
    await once(second, 'end');
  });

  it.each(['maxBytesPerSecondPerPeer', 'maxBytesPerSecond'])('holds to %s', async (limit) => {
    const { circuit } = await startRelay({ [limit]: 20_000_000 });
    const { near, far } = await circuit();
    const started = performance.now();
    near.end(randomBytes(30_000_000));
    const { length } = await readAll(far);
    const seconds = (performance.now() - started) / 1_000;
    expect(length).toBe(30_000_000);
    expect(seconds).toBeGreaterThan(0.7); // what one tick lets through is paid back; without a limit this takes 0.1 s
    expect(seconds).toBeLessThan(4);
  });
});

describe('the book of circuits', () => {
  const book = (limits: Partial<typeof relayDefaults>, clock = createFakeClock()) =>
    new CircuitBook({ ...relayDefaults, ...limits }, { metrics: noMetrics, clock });
  const flow = () => {
    const state = { sent: 0, isHeld: false };
    const hold = (on: boolean) => {
      state.isHeld = on;
    };
    return { state, hold, bytes: () => state.sent };
  };

  it('counts circuits of either kind against both peers until they end, once', () => {
    const limited = book({ maxCircuitsPerPeer: 1, maxCircuits: 2 });
    const first = limited.open('libp2p', 'a', 'b');
    if (typeof first === 'string') throw new Error(first);
    expect(limited.open('spliced', 'c', 'b')).toBe('circuits-per-peer');
    expect(typeof limited.open('spliced', 'c', 'd')).toBe('object');
    expect(limited.open('libp2p', 'e', 'f')).toBe('circuits-total');
    expect(limited.status()).toMatchObject({ circuits: 0, libp2pCircuits: 0, pending: 2 });
    first.start([flow(), flow()]);
    expect(limited.status()).toMatchObject({ libp2pCircuits: 1, pending: 1 });
    first.end();
    first.end();
    expect(limited.status()).toMatchObject({ libp2pCircuits: 0, pending: 1 });
    expect(typeof limited.open('spliced', 'c', 'b')).toBe('string'); // c has its one
    expect(typeof limited.open('spliced', 'e', 'b')).toBe('object');
  });

  it('remembers what a peer owes when its circuit has ended', () => {
    const clock = createFakeClock();
    const limited = book({ maxBytesPerSecondPerPeer: 1_000 }, clock);
    const circuit = () => {
      const place = limited.open('libp2p', 'a', 'b');
      if (typeof place === 'string') throw new Error(place);
      const sender = flow();
      place.start([sender, flow()]);
      return { place, sender };
    };
    const short = circuit();
    short.sender.state.sent = 1_100; // a burst of 100, and a second's worth
    short.place.end();
    clock.advance(20);
    const next = circuit();
    expect(next.sender.state.isHeld).toBe(true);
    clock.advance(1_000);
    expect(next.sender.state.isHeld).toBe(false);
  });
});

describe('the ticket ledger', () => {
  it('knows no ticket of a circuit that was released', () => {
    const ledger = new TicketLedger(relayDefaults.ticketTtlMs);
    const { circuit, tickets } = ledger.announce('a', 'b', 0);
    ledger.release(circuit);
    ledger.release(circuit);
    expect(ledger.size).toBe(0);
    expect(ledger.redeem(tickets[0], 0)).toBe('unknown-ticket');
  });

  it('voids a ticket at its time', () => {
    const ledger = new TicketLedger(relayDefaults.ticketTtlMs);
    const { tickets } = ledger.announce('a', 'b', 0);
    expect(ledger.redeem(tickets[1], relayDefaults.ticketTtlMs)).toBe('unknown-ticket');
  });
});
