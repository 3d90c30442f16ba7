import { connect, type Socket } from 'node:net';
import type { Clock, Random, Timer } from '@edgemesh/core';
import { createDeframer, frame } from '../wire/framing.ts';
import { type Done, failure, readReply, type UpstreamFailure } from './outcome.ts';
import { freeId } from './udp-channel.ts';

/** Queries to one upstream over TCP: one connection, pipelined, opened on demand, closed when idle (RFC 7766). */
export interface TcpChannel {
  /** Sends a query (the id is set here); `done` is called at most once. Returns the function that forgets it. */
  send(query: Buffer, question: Buffer, done: Done): () => void;
  close(): void;
}

export interface TcpChannelOptions {
  readonly address: string;
  readonly port: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly idleMs: number;
}

interface Connection {
  readonly socket: Socket;
  readonly pending: Map<number, { readonly question: Buffer; readonly done: Done }>;
  idle: Timer | undefined;
}

/** Nothing is opened before the first query. */
export function createTcpChannel(options: TcpChannelOptions): TcpChannel {
  let current: Connection | undefined;

  const drop = (connection: Connection, reason: UpstreamFailure) => {
    if (current === connection) current = undefined;
    connection.idle?.cancel();
    connection.socket.destroy();
    const lost = [...connection.pending.values()];
    connection.pending.clear();
    for (const { done } of lost) done(failure(reason));
  };
  const settle = (connection: Connection) => {
    connection.idle?.cancel();
    connection.idle = undefined;
    if (connection.pending.size > 0) return;
    connection.idle = options.clock.after(options.idleMs, () => drop(connection, 'closed'));
  };
  const receive = (connection: Connection, message: Buffer) => {
    const id = message.length < 2 ? -1 : message.readUInt16BE(0);
    const waiting = connection.pending.get(id);
    const reply = waiting && readReply(message, waiting.question);
    if (waiting === undefined || reply === undefined) return;
    connection.pending.delete(id);
    waiting.done(reply);
  };
  const open = (): Connection => {
    const socket = connect({ host: options.address, port: options.port, noDelay: true });
    const connection: Connection = { socket, pending: new Map(), idle: undefined };
    const deframer = createDeframer();
    socket.unref();
    socket.on('error', (error: NodeJS.ErrnoException) =>
      drop(connection, error.code === 'ECONNREFUSED' ? 'refused' : 'unreachable'),
    );
    socket.on('close', () => drop(connection, 'closed'));
    socket.on('data', (chunk) => {
      deframer.push(chunk);
      for (let message = deframer.next(); message !== undefined; message = deframer.next())
        receive(connection, message);
      settle(connection);
    });
    return connection;
  };

  return {
    send(query, question, done) {
      current ??= open();
      const connection = current;
      const id = freeId(connection.pending, options.random);
      query.writeUInt16BE(id, 0);
      connection.pending.set(id, { question, done });
      connection.idle?.cancel();
      connection.socket.write(frame(query));
      return () => {
        if (connection.pending.delete(id)) settle(connection);
      };
    },
    close() {
      if (current !== undefined) drop(current, 'closed');
    },
  };
}
