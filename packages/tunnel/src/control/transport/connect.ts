import { connect, type Socket } from 'node:net';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { SocketAddress } from '../../types.ts';

export interface ConnectOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /**
   * Fixed local port of outbound control connections, so that the NAT mapping that a relay observes is the one that a
   * punched connection uses. When the four-tuple is taken, any port serves.
   */
  readonly localPort: number | undefined;
}

/** A connected socket and the address that answered. */
export interface Connected {
  readonly socket: Socket;
  readonly address: SocketAddress;
}

/** Opens one TCP connection. Rejects with TunnelError `unreachable`, `timeout` or `closed`. */
export async function connectSocket(address: SocketAddress, options: ConnectOptions): Promise<Socket> {
  try {
    return await attempt(address, options, options.localPort);
  } catch (error) {
    if (options.localPort === undefined || !isPortTaken(error)) throw error;
    return attempt(address, options, undefined);
  }
}

/** Dials all addresses at once; the first that answers wins and the others are dropped. Rejects when none answers. */
export async function connectFirst(addresses: readonly SocketAddress[], options: ConnectOptions): Promise<Connected> {
  if (addresses.length === 0) throw new TunnelError('unreachable', 'no address is known', { retryable: true });
  const losers = new AbortController();
  const signal = AbortSignal.any([options.signal, losers.signal]);
  const tries = addresses.map(async (address) => {
    const socket = await connectSocket(address, { ...options, signal });
    if (signal.aborted) {
      socket.destroy();
      throw new TunnelError('closed', 'another address was faster');
    }
    losers.abort();
    return { socket, address };
  });
  try {
    return await Promise.any(tries);
  } catch (error) {
    const reasons = error instanceof AggregateError ? error.errors.map(messageOf) : [messageOf(error)];
    throw new TunnelError('unreachable', reasons.join('; '), { retryable: true, cause: error });
  }
}

function attempt(address: SocketAddress, options: ConnectOptions, localPort: number | undefined): Promise<Socket> {
  const where = formatAddress(address);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address.host,
      port: address.port,
      noDelay: true,
      keepAlive: true,
      ...{ localPort },
    });
    const fail = (error: TunnelError) => {
      settle();
      socket.destroy();
      reject(error);
    };
    const onAbort = () => fail(new TunnelError('closed', `${where}: given up`));
    const onError = (cause: Error) =>
      fail(new TunnelError('unreachable', `${where}: ${explain(cause)}`, { retryable: true, cause }));
    const timer = setTimeout(() => {
      fail(new TunnelError('timeout', `${where}: no answer within ${options.timeoutMs} ms`, { retryable: true }));
    }, options.timeoutMs);
    const settle = () => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      // whoever gets the socket adds a handler of its own; a late error of a dropped one must not end the process
      socket.on('error', () => socket.destroy());
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      settle();
      resolve(socket);
    });
    if (options.signal.aborted) onAbort();
    else options.signal.addEventListener('abort', onAbort, { once: true });
  });
}

function isPortTaken(error: unknown): boolean {
  const code = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined)?.code : undefined;
  return code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL';
}

function explain(error: NodeJS.ErrnoException): string {
  if (error.code === 'ECONNREFUSED') return 'connection refused (nothing listens there)';
  if (error.code === 'EHOSTUNREACH' || error.code === 'ENETUNREACH') return 'no route to host';
  return error.message;
}

/** `host:port`, IPv6 in brackets. */
export function formatAddress(address: SocketAddress): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
