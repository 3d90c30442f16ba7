import type { Socket } from 'node:net';
import type { Clock } from '@edgemesh/core';
import { type ClientHello, parseClientHello } from '@edgemesh/proxy-http';

/** What came of waiting for a ClientHello. `gone`: the client has closed. */
export type Peeked =
  | { readonly kind: 'hello'; readonly hello: ClientHello }
  | { readonly kind: 'not-tls' | 'timeout' | 'gone' };

/**
 * Reads the ClientHello of a fresh connection and puts it back, so that whoever takes the socket reads it from its first byte.
 * Calls `done` once, while the socket is paused.
 */
export function peekHello(
  socket: Socket,
  options: { readonly maxBytes: number; readonly timeoutMs: number; readonly clock: Clock },
  done: (peeked: Peeked) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  const finish = (peeked: Peeked) => {
    timer.cancel();
    socket.off('data', onData);
    socket.off('end', onGone);
    socket.off('close', onGone);
    if (!socket.destroyed) {
      socket.pause();
      if (bytes.length > 0) socket.unshift(bytes);
    }
    done(peeked);
  };
  const onGone = () => finish({ kind: 'gone' });
  const onData = (chunk: Buffer) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const hello = parseClientHello(bytes);
    if (hello === 'more') {
      if (bytes.length > options.maxBytes) finish({ kind: 'not-tls' });
    } else finish(hello === 'invalid' ? { kind: 'not-tls' } : { kind: 'hello', hello });
  };
  const timer = options.clock.after(options.timeoutMs, () => finish({ kind: 'timeout' }));
  socket.on('data', onData);
  socket.once('end', onGone);
  socket.once('close', onGone);
}
