/** The smallest useful TCP socket as a ByteStream, for tests and benchmarks. */
import type { Socket } from 'node:net';
import { type ByteSink, type ByteStream, MeshError } from '@edgemesh/core';

/** Wraps a connected or connecting socket (`allowHalfOpen`). */
export function tcpStream(socket: Socket): ByteStream {
  let sink: ByteSink | undefined;
  let error: MeshError | undefined;
  let ended = false;
  socket.setNoDelay(true);
  socket.pause();
  socket.on('error', (cause) => {
    error ??= new MeshError('refused', cause.message, { cause, retryable: socket.connecting });
  });
  return {
    attach(given) {
      sink = given;
      socket.on('data', (chunk) => given.data(chunk));
      socket.on('end', () => given.ended());
      socket.on('drain', () => given.drained());
      socket.on('close', () => given.closed(error));
      if (socket.connecting) socket.once('connect', () => given.opened?.());
      else given.opened?.();
      socket.resume();
    },
    write: (chunk) => ended || socket.destroyed || socket.write(chunk),
    end() {
      ended = true;
      socket.end();
    },
    reset(reason) {
      if (socket.destroyed) return;
      error = reason ?? new MeshError('aborted', 'stream aborted');
      if (sink === undefined) socket.destroy();
      else socket.resetAndDestroy();
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  };
}
