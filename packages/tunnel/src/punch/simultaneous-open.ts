import { connect, type Socket } from 'node:net';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';

/**
 * A refused or reset SYN means that ours came first: the other side's NAT had no mapping yet. Where that NAT is not ours to
 * wake, the same ports work as soon as the peer's SYN has left. Pause before that, in milliseconds.
 */
const RETRY_MS = 60;
const RETRYABLE = new Set(['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH']);

/** One four-tuple of a punch: from a local address and port whose mapping the peer knows to the peer's mapping. */
export interface OpenPair {
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
}

export interface OpenOptions {
  readonly signal: AbortSignal;
  /** Refusals after which a pair is left alone. */
  readonly maxRefusals: number;
  /** Which pair is taken: the first that connects (who speaks first), or the first that the peer speaks on. */
  readonly take: 'connected' | 'spoken';
}

export interface Opened {
  readonly socket: Socket;
  readonly peer: SocketAddress;
}

/**
 * One end of a TCP simultaneous open, on one or several pairs: both ends connect at the same time; the kernel's SYN
 * retransmissions bridge what is left of the difference. No listener is involved, and both `connect` events fire. Rejects
 * with TunnelError `refused` when every pair was refused, `unreachable` when the signal aborts first.
 */
export function openSimultaneously(pairs: readonly OpenPair[], options: OpenOptions): Promise<Opened> {
  return new Promise((resolve, reject) => {
    const { signal } = options;
    const attempts: Attempt[] = [];
    let left = pairs.length;
    let last = 'no answer';
    const finish = (opened: Opened | undefined, refused = false) => {
      signal.removeEventListener('abort', give);
      for (const attempt of attempts) attempt.stop(opened?.socket);
      if (opened !== undefined) return resolve(opened);
      const { peer } = pairs[0] ?? { peer: { host: '?', port: 0 } };
      const message = `hole punching to ${peer.host}:${peer.port} failed: ${last}`;
      reject(new TunnelError(refused ? 'refused' : 'unreachable', message, { retryable: true }));
    };
    const give = () => finish(undefined);
    if (signal.aborted || left === 0) return give();
    signal.addEventListener('abort', give, { once: true });
    const onFailed = (error: Error) => {
      last = messageOf(error);
      if (--left === 0) finish(undefined, true);
    };
    for (const pair of pairs) attempts.push(new Attempt(pair, options, finish, onFailed));
  });
}

class Attempt {
  readonly #pair: OpenPair;
  readonly #options: OpenOptions;
  readonly #onTaken: (opened: Opened) => void;
  readonly #onFailed: (error: Error) => void;
  #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #refusals = 0;

  constructor(
    pair: OpenPair,
    options: OpenOptions,
    onTaken: (opened: Opened) => void,
    onFailed: (error: Error) => void,
  ) {
    this.#pair = pair;
    this.#options = options;
    this.#onTaken = onTaken;
    this.#onFailed = onFailed;
    this.#socket = this.#connect();
  }

  #connect(): Socket {
    const { peer, local } = this.#pair;
    const from = { localAddress: local.host, localPort: local.port };
    const socket = connect({ host: peer.host, port: peer.port, ...from, noDelay: true, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      socket.on('error', () => socket.destroy()); // until its new owner listens
      const taken = () => this.#onTaken({ socket, peer });
      if (this.#options.take === 'connected') taken();
      else socket.once('readable', () => socket.readableLength > 0 && taken());
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.destroy();
      if (!RETRYABLE.has(error.code ?? '') || ++this.#refusals > this.#options.maxRefusals) this.#onFailed(error);
      else
        this.#timer = setTimeout(() => {
          this.#socket = this.#connect();
        }, RETRY_MS);
    });
    return socket;
  }

  /** Ends the attempt; the socket that was taken stays. */
  stop(taken: Socket | undefined): void {
    clearTimeout(this.#timer);
    if (this.#socket !== taken) this.#socket.destroy();
  }
}
