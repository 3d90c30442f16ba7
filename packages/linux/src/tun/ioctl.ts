import { LinuxError } from '../errors.ts';

/** ioctl(2) on a descriptor. Returns nothing; failures throw LinuxError. */
export interface Ioctl {
  /** The argument is a structure, read and written by the kernel. */
  withBuffer(fd: number, request: number, buffer: Uint8Array): void;
  /** The argument is a number. */
  withNumber(fd: number, request: number, value: number): void;
}

const EPERM = 1;
const EBUSY = 16;
const EINVAL = 22;

/** Loads ioctl through koffi, on first use only: nodes without the pod network do not pay for it. */
export async function loadIoctl(): Promise<Ioctl> {
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw new LinuxError('missing-tool', 'koffi cannot be loaded: there is no prebuilt binary for this platform', {
      cause,
    });
  });
  const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, ...)');
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
  };
}
