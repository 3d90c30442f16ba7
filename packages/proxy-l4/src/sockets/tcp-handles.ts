/** A TCP connection, or a listener, as node:net sees it: what libuv calls a handle. Numbers that say how it went are 0 or negative errno. */
export interface TcpHandle {
  onread: ((this: TcpHandle) => void) | undefined;
  /** Of a listener. */
  onconnection?: (this: TcpHandle, status: number, connection: TcpHandle | undefined) => void;
  /** Whoever owns the connection; ours. */
  owner?: unknown;
  useUserBuffer(memory: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writev(request: WriteRequest, chunks: readonly Uint8Array[], allAreBuffers: true): number;
  shutdown(request: Request): number;
  connect(request: Request, address: string, port: number): number;
  connect6(request: Request, address: string, port: number): number;
  bind(address: string, port: number): number;
  bind6(address: string, port: number, flags: number): number;
  getpeername(into: { address?: string; port?: number }): number;
  setNoDelay(on: boolean): number;
  setKeepAlive(on: boolean, seconds: number): number;
  /** Closes with a RST. */
  reset(): number;
  close(): void;
}

/** What libuv works on; `oncomplete` tells that it is done. */
export interface Request {
  oncomplete?: (this: this, status: number) => void;
  /** Whoever asked; ours. */
  owner?: unknown;
}

/** A write. It must hold what is being written until it is done. */
export interface WriteRequest extends Request {
  retained?: unknown;
  /** Ours: told when the bytes are not needed any more. */
  release?: (() => void) | undefined;
}

/** The parts that node:net is made of. */
export interface TcpHandles {
  createSocket(): TcpHandle;
  createConnect(): Request;
  createWrite(): WriteRequest;
  createShutdown(): Request;
  /** The last read: its bytes, or a negative errno. */
  readLength(): number;
  /** Whether the last write has to wait for the kernel. */
  writeWaits(): boolean;
}

/** Status of a read at the end of the stream (libuv's UV_EOF, the same on all systems). */
export const END_OF_STREAM = -4095;

interface TcpBinding {
  readonly TCP: new (kind: number) => TcpHandle;
  readonly TCPConnectWrap: new () => Request;
  readonly constants: { readonly SOCKET: number };
}

interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly ShutdownWrap: new () => Request;
  readonly streamBaseState: ArrayLike<number>;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

/**
 * A `net.Socket` costs more to make and to end than all system calls of a short connection, and its writable side as much as the
 * write itself. Under it are the handles of libuv, which Node keeps for itself but lets be used (`process.binding`, DEP0111).
 *
 * @returns undefined where this Node does not give them, or not as we know them: then sockets are `net.Socket`s
 */
function findHandles(): TcpHandles | undefined {
  const { binding } = process as { binding?: (name: string) => unknown };
  if (typeof binding !== 'function') return undefined;
  try {
    const tcp = binding.call(process, 'tcp_wrap') as TcpBinding;
    const stream = binding.call(process, 'stream_wrap') as StreamBinding;
    return looksRight(tcp, stream) ? handlesOf(tcp, stream) : undefined;
  } catch {
    return undefined; // Node's permission model forbids it
  }
}

function looksRight(tcp: Partial<TcpBinding>, stream: Partial<StreamBinding>): boolean {
  const classes = [tcp.TCP, tcp.TCPConnectWrap, stream.WriteWrap, stream.ShutdownWrap];
  const numbers = [tcp.constants?.SOCKET, stream.kReadBytesOrError, stream.kLastWriteWasAsync];
  if (!classes.every((made) => typeof made === 'function')) return false;
  if (!numbers.every((index) => typeof index === 'number') || stream.streamBaseState === undefined) return false;
  const methods: (keyof TcpHandle)[] = ['useUserBuffer', 'readStart', 'readStop', 'writeBuffer', 'writev', 'shutdown'];
  const more: (keyof TcpHandle)[] = [
    'connect',
    'connect6',
    'bind',
    'bind6',
    'setNoDelay',
    'setKeepAlive',
    'reset',
    'close',
  ];
  const { prototype } = tcp.TCP as { prototype: TcpHandle };
  return [...methods, ...more].every((name) => typeof prototype[name] === 'function');
}

function handlesOf({ TCP, TCPConnectWrap, constants }: TcpBinding, stream: StreamBinding): TcpHandles {
  const { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = stream;
  return {
    createSocket: () => new TCP(constants.SOCKET),
    createConnect: () => new TCPConnectWrap(),
    createWrite: () => new WriteWrap(),
    createShutdown: () => new ShutdownWrap(),
    readLength: () => streamBaseState[kReadBytesOrError] as number,
    writeWaits: () => streamBaseState[kLastWriteWasAsync] !== 0,
  };
}

/** Resolved once. */
export const tcpHandles: TcpHandles | undefined = findHandles();
