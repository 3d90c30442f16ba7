import { createSocket, type Socket } from 'node:dgram';
import type { Clock, Random } from '@edgemesh/core';
import { numericLookup } from '../server/numeric-lookup.ts';
import { type Done, failure, readReply, type UpstreamFailure } from './outcome.ts';

/** One connected UDP socket with its own ephemeral port, shared by several queries with random ids. */
export interface UdpChannel {
  /** False when the socket failed or has served its share; pending queries still finish. */
  readonly usable: boolean;
  readonly pending: number;
  /** Sends a query (the id is set here); `done` is called at most once. Returns the function that forgets it. */
  send(query: Buffer, question: Buffer, done: Done): () => void;
  /** No new queries; closes when the last one has gone. */
  retire(): void;
  close(): void;
}

export interface UdpChannelOptions {
  readonly address: string;
  readonly port: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly maxQueries: number;
  readonly lifetimeMs: number;
  /** A datagram came that answers no query of ours. */
  readonly onStray: () => void;
}

interface Pending {
  readonly question: Buffer;
  readonly done: Done;
}

const REASONS: Readonly<Record<string, UpstreamFailure>> = {
  ECONNREFUSED: 'refused',
  ENETUNREACH: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
};

/** Opens the socket. Being connected, it takes datagrams of the upstream only and learns at once of a closed port. */
export function createUdpChannel(options: UdpChannelOptions): UdpChannel {
  const pending = new Map<number, Pending>();
  const socket: Socket = createSocket({
    type: options.address.includes(':') ? 'udp6' : 'udp4',
    lookup: numericLookup,
  });
  let queued: Buffer[] | undefined = [];
  let sent = 0;
  let state: 'open' | 'retired' | 'closed' = 'open';

  const close = () => {
    if (state === 'closed') return;
    state = 'closed';
    lifetime.cancel();
    socket.close();
    pending.clear();
  };
  const fail = (error: NodeJS.ErrnoException) => {
    const lost = [...pending.values()];
    close();
    for (const { done } of lost) done(failure(REASONS[error.code ?? ''] ?? 'socket'));
  };
  const closeWhenIdle = () => {
    if (state === 'retired' && pending.size === 0) close();
  };
  const retire = () => {
    if (state !== 'open') return;
    state = 'retired';
    closeWhenIdle();
  };
  const lifetime = options.clock.after(options.lifetimeMs, retire);

  socket.on('error', fail);
  socket.on('message', (message) => {
    const id = message.length < 2 ? -1 : message.readUInt16BE(0);
    const waiting = pending.get(id);
    const reply = waiting && readReply(message, waiting.question);
    if (waiting === undefined || reply === undefined) {
      options.onStray();
      return;
    }
    pending.delete(id);
    waiting.done(reply);
    closeWhenIdle();
  });
  socket.once('connect', () => {
    for (const query of queued ?? []) socket.send(query);
    queued = undefined;
  });
  socket.connect(options.port, options.address);
  socket.unref();

  return {
    get usable() {
      return state === 'open';
    },
    get pending() {
      return pending.size;
    },
    send(query, question, done) {
      const id = freeId(pending, options.random);
      query.writeUInt16BE(id, 0);
      pending.set(id, { question, done });
      if (++sent >= options.maxQueries) state = 'retired';
      if (queued === undefined) socket.send(query);
      else queued.push(query);
      return () => {
        pending.delete(id);
        closeWhenIdle();
      };
    },
    retire,
    close,
  };
}

/** A random id that no pending query of the map has. */
export function freeId(pending: ReadonlyMap<number, unknown>, random: Random): number {
  let id = Math.floor(random() * 65_536);
  while (pending.has(id)) id = (id + 1) & 0xffff;
  return id;
}
