import type { Socket } from 'node:net';
import type { AbortOptions, Logger, MessageStreamDirection } from '@libp2p/interface';
import { AbstractMultiaddrConnection, type SendResult } from '@libp2p/utils';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { TunnelError } from '../../errors.ts';
import type { HandshakeLine } from './handshake-line.ts';

/** What libp2p hands to `sendData`: a list of chunks. */
export type ChunkList = Iterable<Uint8Array> & { readonly byteLength: number };

export interface SocketConnectionInit {
  readonly socket: Socket;
  readonly remoteAddr: Multiaddr;
  readonly direction: MessageStreamDirection;
  readonly log: Logger;
  /** The connection is aborted when nothing was received for this long. */
  readonly silenceTimeoutMs: number;
  readonly line?: HandshakeLine;
}

/** A TCP socket as libp2p's raw connection. */
export class SocketConnection extends AbstractMultiaddrConnection {
  /** Why the handshake failed, where a layer above knows it better than what libp2p throws. */
  failure: TunnelError | undefined;
  /** For accepted connections: who has proved the mesh secret waits for its turn before the costly part begins. */
  readonly #line: HandshakeLine | undefined;
  #leaveLine: (() => void) | undefined;
  readonly #socket: Socket;
  readonly #silence: NodeJS.Timeout;
  readonly #silenceTimeoutMs: number;
  #heardBytes = 0;

  constructor(init: SocketConnectionInit) {
    super({ remoteAddr: init.remoteAddr, direction: init.direction, log: init.log });
    this.#socket = init.socket;
    this.#line = init.line;
    this.#silenceTimeoutMs = init.silenceTimeoutMs;
    this.#silence = setInterval(() => this.#checkSilence(), init.silenceTimeoutMs);
    this.#silence.unref();
    this.#listen();
  }

  /** The peer is a member: calls `proceed` when the handshake may go on. */
  admit(proceed: () => void): void {
    if (this.#line === undefined) proceed();
    else this.#leaveLine = this.#line.enter(proceed);
  }

  /** The handshake is over, in whatever way: somebody else may have the place. */
  handshakeEnded(): void {
    this.#leaveLine?.();
    this.#leaveLine = undefined;
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('drain', () => this.safeDispatchEvent('drain'));
    socket.on('error', (error) => this.abort(error));
    // no half-close here: the muxer above has its own, and a half-dead control connection is of no use
    socket.once('end', () => this.onTransportClosed());
    socket.once('close', (hadError) => {
      clearInterval(this.#silence);
      if (hadError) this.abort(new Error('TCP connection failed'));
      else this.onTransportClosed();
    });
  }

  /** Silence is measured in received bytes, as pushes to a peer that has vanished would hide it. */
  #checkSilence(): void {
    if (this.#socket.bytesRead === this.#heardBytes) {
      this.abort(new Error(`nothing received for ${this.#silenceTimeoutMs} ms`));
    }
    this.#heardBytes = this.#socket.bytesRead;
  }

  override sendData(data: ChunkList): SendResult {
    let canSendMore = true;
    this.#socket.cork();
    for (const chunk of data) canSendMore = this.#socket.write(chunk);
    this.#socket.uncork();
    return { sentBytes: data.byteLength, canSendMore };
  }

  override async sendClose(options?: AbortOptions): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const give = () => socket.destroy();
    options?.signal?.addEventListener('abort', give, { once: true });
    socket.destroySoon();
    await closed;
    options?.signal?.removeEventListener('abort', give);
  }

  override sendReset(): void {
    clearInterval(this.#silence);
    // a reset after end() would mix two kinds of shutdown in libuv
    if (this.#socket.writableEnded) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  override sendPause(): void {
    this.#socket.pause();
  }

  override sendResume(): void {
    this.#socket.resume();
  }
}
