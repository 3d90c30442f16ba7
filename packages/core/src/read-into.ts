/** The parts of a `net.Socket` or `tls.TLSSocket` that {@link readInto} looks at. */
export interface ReadableSocket {
  readonly destroyed: boolean;
  readonly readableLength: number;
}

/** Where Node keeps what its `onread` option was given. */
interface OnReadKeys {
  readonly buffer: symbol;
  readonly callback: symbol;
}

interface NodeSocket extends ReadableSocket {
  readonly _handle?: { useUserBuffer?(memory: Uint8Array): void } | null;
  [key: symbol]: unknown;
}

let known: OnReadKeys | undefined;

function keysOf(socket: NodeSocket): OnReadKeys | undefined {
  if (known !== undefined) return known;
  const symbols = Object.getOwnPropertySymbols(socket);
  const find = (name: string) => symbols.find(({ description }) => description === name);
  const buffer = find('kBuffer');
  const callback = find('kBufferCb');
  if (buffer !== undefined && callback !== undefined) known = { buffer, callback };
  return known;
}

/**
 * Lets a socket read into `memory` from now on, again and again, instead of into fresh memory for every read, which costs a busy
 * node a third of its processor time in garbage collection. `onBytes` must be done with the bytes when it returns, so any
 * number of sockets may share the memory. `end`, `pause` and `resume` work as always, but no `data` comes any more.
 *
 * This is the documented `onread` option of `net.Socket`, which Node does not offer for accepted sockets and for TLS over an
 * existing one; hence the look behind the curtain.
 *
 * @returns false, and nothing changes, where this Node keeps things elsewhere or the socket has bytes waiting: listen for `data`
 */
export function readInto(socket: ReadableSocket, memory: Uint8Array, onBytes: (length: number) => void): boolean {
  const node = socket as NodeSocket;
  const keys = keysOf(node);
  if (keys === undefined || node.destroyed || node.readableLength > 0) return false;
  const { _handle: handle } = node;
  // Without a handle (a name is being resolved) Node itself passes the memory on when there is one.
  if (handle && typeof handle.useUserBuffer !== 'function') return false;
  if (node[keys.buffer] !== null || node[keys.callback] !== null) return false;
  node[keys.buffer] = memory;
  node[keys.callback] = onBytes;
  handle?.useUserBuffer?.(memory);
  return true;
}
