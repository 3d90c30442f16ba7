import type { Socket } from 'node:net';
import { type ByteSink, type ByteStream, giveBorrowed, MeshError, readInto, writeThrough } from '@edgemesh/core';
import { socketError } from '../errors.ts';
import { RECEIVED } from './memory.ts';

/** Whether `opened` is still to come. */
export type SocketState = 'dialing' | 'connected';

/** A {@link ByteStream} over a TCP socket; see {@link socketByteStream}. */
class SocketStream implements ByteStream {
  private readonly socket: Socket;
  private sink: ByteSink | undefined;
  private wasOpen: boolean;
  private corked = false;
  private paused = false;
  private ending = false;
  private done = false;
  private error: MeshError | undefined;

  constructor(socket: Socket, state: SocketState) {
    this.socket = socket;
    this.wasOpen = state === 'connected';
    socket.setNoDelay(true);
    socket.on('error', (cause) => {
      this.error ??= socketError(cause, this.wasOpen);
    });
    socket.on('close', () => this.finish(this.error ?? this.unexplainedClose()));
  }

  attach(sink: ByteSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    if (this.done) {
      process.nextTick(() => sink.closed(this.error));
      return;
    }
    const { socket } = this;
    if (!this.wasOpen) {
      socket.on('connect', () => {
        this.wasOpen = true;
        if (!this.done) sink.opened?.();
      });
    }
    const borrow = (length: number) => {
      if (!this.done) giveBorrowed(sink, RECEIVED.subarray(0, length));
    };
    if (!readInto(socket, RECEIVED, borrow)) {
      socket.on('data', (chunk: Uint8Array) => {
        if (!this.done) sink.data(chunk);
      });
    }
    socket.on('end', () => {
      if (!this.done) sink.ended();
    });
    socket.on('drain', () => {
      if (!this.done) sink.drained();
    });
    // Somebody may have read and paused the socket before (a handshake).
    if (!this.paused) socket.resume();
  }

  write(chunk: Uint8Array): boolean {
    return this.beginWrite(chunk) ? this.socket.write(chunk) : true;
  }

  writeCopy(chunk: Uint8Array): boolean {
    return this.beginWrite(chunk) ? writeThrough(this.socket, chunk) : true;
  }

  end(): void {
    if (this.done || this.ending) return;
    this.ending = true;
    this.uncork();
    const { socket } = this;
    // Both ways are over and all is with the kernel: closing says so as well as shutdown, and once. TLS has its own farewell.
    if (socket.readableEnded && socket.writableLength === 0 && !('encrypted' in socket)) socket.destroy();
    else socket.end();
  }

  reset(error?: MeshError): void {
    if (this.done) return;
    this.error = error ?? new MeshError('aborted', 'connection aborted');
    abort(this.socket);
    this.finish(this.error);
  }

  pause(): void {
    this.paused = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.paused || this.done) return;
    this.paused = false;
    this.socket.resume();
  }

  uncork(): void {
    if (!this.corked) return;
    this.corked = false;
    this.socket.uncork();
  }

  /** False when the chunk is not to be sent. What is written in one turn leaves in one system call, hence the cork. */
  private beginWrite(chunk: Uint8Array): boolean {
    if (this.done || this.ending || chunk.length === 0) return false;
    if (this.corked) return true;
    this.corked = true;
    this.socket.cork();
    process.nextTick(uncork, this);
    return true;
  }

  private finish(error: MeshError | undefined): void {
    if (this.done) return;
    this.done = true;
    this.error = error;
    this.sink?.closed(error);
  }

  /** A socket that closes by itself has ended both ways; else somebody has destroyed it. */
  private unexplainedClose(): MeshError | undefined {
    const { socket } = this;
    if (socket.readableEnded && (this.ending || socket.writableFinished)) return undefined;
    return new MeshError('reset', 'connection closed before its end', { retryable: !this.wasOpen });
  }
}

function uncork(stream: SocketStream): void {
  stream.uncork();
}

/** Closes at once: with a RST where there is a connection, so that the far side learns that this is no orderly end. */
export function abort(socket: Socket): void {
  if (socket.destroyed) return;
  // TLS has no reset of its own.
  if ('encrypted' in socket) {
    socket.destroy();
    return;
  }
  // resetAndDestroy of a connecting socket waits for the connection. The kernel may have finished it already, which the next
  // poll will show; if it has not, closing is enough: the kernel answers a late SYN-ACK with a RST by itself.
  if (socket.connecting) setImmediate(() => setImmediate(() => socket.destroy()));
  socket.resetAndDestroy();
}

/**
 * Makes a {@link ByteStream} of a TCP socket, connected or connecting. The socket must have been made with `allowHalfOpen`
 * and belongs to the stream from now on. Writes of one turn of the event loop leave together; reset sends a RST.
 */
export function socketByteStream(
  socket: Socket,
  state: SocketState = socket.connecting ? 'dialing' : 'connected',
): ByteStream {
  return new SocketStream(socket, state);
}
