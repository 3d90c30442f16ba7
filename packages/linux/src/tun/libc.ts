import koffi from 'koffi';

/** The handful of system calls that Node does not offer. A failing call returns -1 instead of throwing: cheap on a data path. */
export interface Libc {
  /** `ioctl` with a pointer to memory. */
  ioctlPointer(fd: number, request: number, argument: Buffer): number;
  /** `ioctl` with a number by value. */
  ioctlValue(fd: number, request: number, argument: number): number;
  read(fd: number, target: Uint8Array, bytes: number): number;
  write(fd: number, source: Uint8Array, bytes: number): number;
  setsockoptInt(fd: number, level: number, option: number, value: number): number;
  /** The error number of the last failed call. */
  errno(): number;
}

let loaded: Libc | undefined;

/** Binds the calls on first use; koffi costs 20 ms and 5 MB, so only who opens a TUN pays. */
export function loadLibc(): Libc {
  loaded ??= bind();
  return loaded;
}

function bind(): Libc {
  // The process itself: whatever C library it is linked with, glibc or musl.
  const library = koffi.load(null);
  const ioctl = library.func('int ioctl(int fd, unsigned long request, ...)');
  const read = library.func('intptr_t read(int fd, void *target, size_t bytes)');
  const write = library.func('intptr_t write(int fd, const void *source, size_t bytes)');
  const setsockopt = library.func(
    'int setsockopt(int fd, int level, int option, const void *value, unsigned int size)',
  );
  return {
    ioctlPointer: (fd, request, argument) => ioctl(fd, request, 'void *', argument) as number,
    ioctlValue: (fd, request, argument) => ioctl(fd, request, 'unsigned long', argument) as number,
    read: (fd, target, bytes) => read(fd, target, bytes) as number,
    write: (fd, source, bytes) => write(fd, source, bytes) as number,
    setsockoptInt(fd, level, option, value) {
      const memory = Buffer.alloc(4);
      memory.writeInt32LE(value);
      return setsockopt(fd, level, option, memory, 4) as number;
    },
    errno: () => koffi.errno(),
  };
}
