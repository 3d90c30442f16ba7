import type { Socket } from 'node:net';

/** One TLS record: more is never read at once. */
const READ_BYTES = 16_384;

/** How net.Socket does what its `onread` option asks for; TLS around a socket that exists already cannot be given the option. */
const NAMES = ['kBuffer', 'kBufferCb', 'kBufferGen'] as const;

interface ReadHandle {
  useUserBuffer?(buffer: Uint8Array): void;
}

/**
 * Reads a socket into one buffer again and again, and into another only after `onBytes` has said by true that it keeps pieces of what
 * it got. A fresh buffer per read, as 'data' events bring, keeps the garbage collector busy for a third of the time. False,
 * and nothing has changed, where this Node.js works in another way; 'data' events must then do.
 */
export function readIntoMemory(socket: Socket, onBytes: (chunk: Buffer) => boolean): boolean {
  const handle = (socket as unknown as { readonly _handle?: ReadHandle | null })._handle;
  const own = Object.getOwnPropertySymbols(socket);
  const [buffer, callback, generator] = NAMES.map((name) => own.find((symbol) => symbol.description === name));
  if (buffer === undefined || callback === undefined || generator === undefined) return false;
  if (typeof handle?.useUserBuffer !== 'function') return false;
  let memory = Buffer.allocUnsafeSlow(READ_BYTES);
  let isKept = false;
  const fields = socket as unknown as Record<symbol, unknown>;
  fields[buffer] = memory;
  fields[callback] = (bytes: number): boolean => {
    isKept = onBytes(memory.subarray(0, bytes));
    return true;
  };
  fields[generator] = (): Buffer | undefined => {
    if (!isKept) return undefined;
    memory = Buffer.allocUnsafeSlow(READ_BYTES);
    return memory;
  };
  handle.useUserBuffer(memory);
  return true;
}
