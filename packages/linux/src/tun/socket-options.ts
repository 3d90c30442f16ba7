import type { Socket } from 'node:net';
import { loadLibc } from './libc.ts';

const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;

/**
 * Lets the kernel take only this much beyond what is in flight on a TCP socket, so that what waits for a slow path waits in
 * the process, where it can be dropped or overtaken, instead of seconds deep in the socket buffer. False where it is no
 * socket with a descriptor, or the kernel refuses.
 */
export function limitUnsentBytes(socket: Socket, bytes: number): boolean {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } };
  if (handle?.fd === undefined || handle.fd < 0) return false;
  return loadLibc().setsockoptInt(handle.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes) === 0;
}
