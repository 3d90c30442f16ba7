import { connect, type Socket } from 'node:net';
import { canonicalIp, messageOf } from '@edgemesh/core';
import { writePreamble } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';

/** Longest answer of an observer: an IPv6 address in brackets, a port, a newline. */
const MAX_ANSWER_BYTES = 64;

/** How a socket from one local port looks from outside. */
export interface Mapping extends Disposable {
  readonly local: SocketAddress;
  /** Address and port behind which a NAT hides us, or our own where there is none. */
  readonly observed: SocketAddress;
}

/** Answers an `observe` socket: one line, then the caller closes it (or a timer does). */
export function answerObserve(socket: Socket, holdMs: number): void {
  const host = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());
  socket.setTimeout(holdMs, () => socket.destroy());
  socket.resume();
  socket.write(`${host.includes(':') ? `[${host}]` : host}:${socket.remotePort}\n`);
}

/**
 * Connects to a relay from a local port and asks how that looks from outside. The connection stays open until the mapping is
 * disposed of, so that the NAT does not forget it. Rejects with TunnelError.
 *
 * @param relay by IPv4, or by a name that has such an address
 * @param localPort named, not left to the kernel: only an explicit bind has SO_REUSEADDR, which the punch needs to bind it again
 */
export function observeMapping(relay: SocketAddress, localPort: number, signal: AbortSignal): Promise<Mapping> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return void reject(failed(messageOf(signal.reason)));
    const socket = connect({ host: relay.host, port: relay.port, family: 4, localPort, noDelay: true });
    const abort = () => socket.destroy(failed(messageOf(signal.reason)));
    signal.addEventListener('abort', abort, { once: true });
    let answer = '';
    socket.once('connect', () => writePreamble(socket, { kind: 'observe' }));
    socket.on('error', (error) => reject(failed(messageOf(error))));
    socket.on('close', () => {
      signal.removeEventListener('abort', abort);
      reject(failed('the relay closed the connection: it may be too old to observe'));
    });
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      const end = answer.indexOf('\n');
      const observed = end < 0 ? undefined : parseObserved(answer.slice(0, end));
      if (observed !== undefined && socket.localPort !== undefined) {
        const local = { host: socket.localAddress ?? '', port: socket.localPort };
        resolve({ local, observed, [Symbol.dispose]: () => void socket.destroy() });
      } else if (end >= 0 || answer.length > MAX_ANSWER_BYTES) {
        socket.destroy(failed('the relay answered something else than an address'));
      }
    });
  });
}

function failed(why: string): TunnelError {
  return new TunnelError('unreachable', `cannot learn our own mapping: ${why}`, { retryable: true });
}

/** `1.2.3.4:5` or `[::1]:5`. */
export function parseObserved(text: string): SocketAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const host = match && canonicalIp((match[1] ?? match[2]) as string);
  const port = Number(match?.[3]);
  return host && port > 0 && port < 65_536 ? { host, port } : undefined;
}
