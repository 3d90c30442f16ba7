import { LinuxError } from '../errors.ts';

/** System calls that Node lacks. Failures of ioctl(2) throw LinuxError. */
export interface DeviceCalls {
  /** The argument is a structure, read and written by the kernel. */
  withBuffer(fd: number, request: number, buffer: Uint8Array): void;
  /** The argument is a number. */
  withNumber(fd: number, request: number, value: number): void;
  /** read(2); -1 when nothing is there, for which `fs.readSync` makes an exception that costs more than reading a packet. */
  read(fd: number, buffer: Uint8Array): number;
}

const EPERM = 1;
const EBUSY = 16;
const EINVAL = 22;

/** Loads the calls through koffi, on first use only: nodes without the pod network do not pay for it. */
export async function loadDeviceCalls(): Promise<DeviceCalls> {
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw new LinuxError('missing-tool', 'koffi cannot be loaded: there is no prebuilt binary for this platform', {
      cause,
    });
  });
  const libc = koffi.load(null);
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, ...)');
  const read = libc.func('intptr_t read(int fd, void *buffer, size_t length)');
  const check = (request: number, result: number) => {
    if (result >= 0) return;
    const errno = koffi.errno();
    const name = `ioctl 0x${request.toString(16)}`;
    if (errno === EPERM) throw new LinuxError('not-permitted', `${name}: no CAP_NET_ADMIN`);
    if (errno === EBUSY) throw new LinuxError('failed', `${name}: the device is in use by another process`);
    if (errno === EINVAL) throw new LinuxError('unsupported', `${name}: the kernel does not know this setting`);
    throw new LinuxError('failed', `${name} failed with errno ${errno}`);
  };
  return {
    withBuffer: (fd, request, buffer) => check(request, ioctl(fd, request, 'void *', buffer) as number),
    withNumber: (fd, request, value) => check(request, ioctl(fd, request, 'unsigned long', value) as number),
    read: (fd, buffer) => read(fd, buffer, buffer.length) as number,
  };
}
