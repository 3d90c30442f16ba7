import { connect, type Socket } from 'node:net';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';

export interface Connected {
  readonly socket: Socket;
  readonly address: SocketAddress;
}

/** Most addresses of one peer that are dialled at once: a record may name many, and each costs a SYN. */
const MAX_PARALLEL = 8;

/** `host:port`, IPv6 in brackets. */
export function formatAddress({ host, port }: SocketAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Dials all addresses at once and resolves with the first socket that connects; the others are destroyed. Rejects with
 * `unreachable` and every reason when none does, or when the signal aborts.
 */
export function connectFirst(addresses: readonly SocketAddress[], signal: AbortSignal): Promise<Connected> {
  const targets = addresses.slice(0, MAX_PARALLEL);
  return new Promise((resolve, reject) => {
    const sockets = new Set<Socket>();
    const reasons: string[] = [];
    const settle = (winner?: Connected) => {
      signal.removeEventListener('abort', onAbort);
      for (const socket of sockets) if (socket !== winner?.socket) socket.destroy();
      if (winner !== undefined) resolve(winner);
      else reject(new TunnelError('unreachable', reasons.join('; ') || 'no address to dial', { retryable: true }));
    };
    const onAbort = () => {
      reasons.push(`gave up: ${messageOf(signal.reason)}`);
      settle();
    };
    if (signal.aborted || targets.length === 0) return onAbortOrEmpty();
    signal.addEventListener('abort', onAbort, { once: true });
    for (const address of targets) {
      const socket = connect({ host: address.host, port: address.port, noDelay: true, allowHalfOpen: true });
      sockets.add(socket);
      socket.once('connect', () => {
        socket.removeAllListeners('error');
        socket.on('error', () => socket.destroy()); // until its new owner listens
        settle({ socket, address });
      });
      socket.once('error', (error) => {
        sockets.delete(socket);
        reasons.push(`${formatAddress(address)}: ${messageOf(error)}`);
        if (sockets.size === 0) settle();
      });
    }
    function onAbortOrEmpty() {
      if (signal.aborted) reasons.push(`gave up: ${messageOf(signal.reason)}`);
      settle();
    }
  });
}
