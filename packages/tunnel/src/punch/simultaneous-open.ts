import { connect, type Socket } from 'node:net';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';

/** A refused or reset SYN means that ours came first: the other side's NAT had no mapping yet. Try again this soon, in milliseconds. */
const RETRY_MS = 60;
const RETRYABLE = new Set(['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH']);

/**
 * One end of a TCP simultaneous open: connects from a local port whose mapping the peer knows to the peer's mapping. Both
 * ends do this at the same time; the kernel's SYN retransmissions bridge what is left of the difference. No listener is
 * involved, and both `connect` events fire. Rejects with TunnelError when the signal aborts first.
 */
export function openSimultaneously(localPort: number, peer: SocketAddress, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    let socket: Socket | undefined;
    let last = 'no answer';
    const finish = (result: Socket | undefined) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', give);
      if (result !== undefined) return resolve(result);
      socket?.destroy();
      reject(
        new TunnelError('unreachable', `hole punching to ${peer.host}:${peer.port} failed: ${last}`, {
          retryable: true,
        }),
      );
    };
    const give = () => finish(undefined);
    const attempt = () => {
      const current = connect({ host: peer.host, port: peer.port, localPort, noDelay: true });
      socket = current;
      current.once('connect', () => {
        current.removeAllListeners('error');
        current.on('error', () => current.destroy()); // until its new owner listens
        finish(current);
      });
      current.once('error', (error: NodeJS.ErrnoException) => {
        last = messageOf(error);
        current.destroy();
        if (RETRYABLE.has(error.code ?? '') && !signal.aborted) timer = setTimeout(attempt, RETRY_MS);
        else finish(undefined);
      });
    };
    if (signal.aborted) return finish(undefined);
    signal.addEventListener('abort', give, { once: true });
    attempt();
  });
}
