import type { Socket } from 'node:net';

/** RFC 9113 3.4: no HTTP/1 request begins like this. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/**
 * Looks at the first bytes of a plain connection. Calls `found` once, synchronously with the arrival of the bytes: with the
 * protocol and the bytes, which nobody else has seen, or with undefined when the connection ended first.
 */
export function peekProtocol(
  socket: Socket,
  found: (protocol: 'http1' | 'h2' | undefined, first: Buffer) => void,
): void {
  let first: Buffer = Buffer.alloc(0);
  const done = (protocol: 'http1' | 'h2' | undefined) => {
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.off('close', onClose);
    socket.off('error', onError);
    found(protocol, first);
  };
  const onClose = () => done(undefined);
  const onError = () => socket.destroy();
  const onEnd = () => socket.destroy();
  const onData = (chunk: Buffer) => {
    first = first.length === 0 ? chunk : Buffer.concat([first, chunk]);
    const compared = Math.min(first.length, PREFACE.length);
    const same = first.compare(PREFACE, 0, compared, 0, compared) === 0;
    // A part of the preface: wait for the rest.
    if (!same || compared === PREFACE.length) done(same ? 'h2' : 'http1');
  };
  socket.on('data', onData);
  socket.once('end', onEnd);
  socket.once('close', onClose);
  socket.on('error', onError);
}
