import { Socket, type SocketConstructorOpts } from 'node:net';

/** The part of libuv's pipe handle that is used here. */
interface PipeHandle {
  /** Takes over the descriptor; 0 or undefined, or a negative error number. */
  open(fd: number): number | undefined;
}
type PipeConstructor = new (type: number) => PipeHandle;

/** Reads a descriptor on the event loop. */
export interface FdReader {
  /** Stops reading and closes the descriptor. Idempotent. */
  close(): void;
}

export interface FdReaderOptions {
  readonly fd: number;
  /** Memory for the next read; asked before each. */
  readonly buffer: () => Uint8Array;
  /** `bytes` are in the buffer that was given last. */
  readonly onRead: (bytes: number) => void;
  readonly onError: (error: Error) => void;
}

/**
 * Reads a character device on the event loop, into memory that the caller provides. Node opens such descriptors neither as a
 * socket nor as a terminal, but libuv's pipe handle takes whatever epoll takes. That handle is reached through
 * `process.binding`, which is undocumented: undefined where this Node does not have it, and the caller has to fall back.
 */
export function openPipeReader(options: FdReaderOptions): FdReader | undefined {
  const Pipe = pipeConstructor();
  if (Pipe === undefined) return undefined;
  const handle = new Pipe(0);
  try {
    if ((handle.open(options.fd) ?? 0) !== 0) return undefined;
  } catch {
    return undefined; // not a descriptor that this libuv takes
  }
  const onread = {
    buffer: options.buffer,
    callback: (bytes: number) => {
      options.onRead(bytes);
      return true;
    },
  };
  // `handle` is what Node itself passes for accepted sockets; the types do not know it.
  const accepted: object = { handle, readable: true, writable: false, onread };
  const socket = new Socket(accepted as SocketConstructorOpts);
  socket.on('error', options.onError);
  socket.resume();
  return { close: () => void socket.destroy() };
}

function pipeConstructor(): PipeConstructor | undefined {
  const { binding } = process as unknown as { binding?: (name: string) => { Pipe?: PipeConstructor } };
  try {
    return binding?.('pipe_wrap').Pipe;
  } catch {
    return undefined; // removed, or forbidden by a permission model
  }
}
