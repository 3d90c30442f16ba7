import { closeSync, constants, openSync, read as readAsync } from 'node:fs';
import { messageOf } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { type Libc, loadLibc } from './libc.ts';
import { type FdReader, openPipeReader } from './pipe-handle.ts';

/** `struct virtio_net_hdr` in front of every packet. */
export const VIRTIO_HEADER_BYTES = 10;
/** Header and the largest packet that segmentation offload hands over (64 KiB). */
export const MAX_TUN_READ_BYTES = 65_555;

const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const OFFLOAD_CHECKSUM_TSO = 0x07; // TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
const OFFLOAD_USO = 0x60; // TUN_F_USO4 | TUN_F_USO6, Linux 6.2
const IFNAMSIZ = 16;

/** Memory that packets are cut from: sixteen of the largest, hundreds of small ones. */
const SLAB_BYTES = 1_048_576;
/** Packets read per wake-up before the event loop gets its turn. */
const MAX_DRAIN = 32;

export interface TunOptions {
  /** Name of the link, 1 to 15 characters. */
  readonly name: string;
  /**
   * A packet behind its virtio header; the receiver owns the memory. Called many times per event-loop turn.
   */
  readonly onPacket: (packet: Uint8Array) => void;
  /** The device is gone, deleted by somebody else for example. */
  readonly onError: (error: LinuxError) => void;
  /** For tests: take the fallback path for reads. */
  readonly reader?: 'event-loop' | 'thread-pool';
}

/** A layer 3 network device whose packets come to this process. It disappears with it. */
export interface TunDevice extends Disposable {
  readonly name: string;
  /** The kernel takes and gives UDP segmentation offload (Linux 6.2). */
  readonly udpSegmentation: boolean;
  /** How packets are read; `thread-pool` is half as fast. */
  readonly reader: 'event-loop' | 'thread-pool';
  /** Gives the kernel one packet behind its virtio header. False: it was refused (malformed) or dropped. */
  write(packet: Uint8Array): boolean;
}

/**
 * Opens a TUN device with virtio-net headers and segmentation offload: the kernel hands over packets of up to 64 KB and
 * neither cuts nor checksums them. The link is down and has no address yet. Needs CAP_NET_ADMIN and /dev/net/tun.
 */
export function openTun(options: TunOptions): TunDevice {
  if (!/^[^\s/:]{1,15}$/.test(options.name)) {
    throw new LinuxError('plan', `${JSON.stringify(options.name)} is not a link name (1 to 15 characters)`);
  }
  const libc = bindLibc();
  const fd = openDevice();
  try {
    attach(libc, fd, options.name);
    const udpSegmentation = enableOffload(libc, fd);
    return new KernelTun(options, libc, fd, udpSegmentation);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function bindLibc(): Libc {
  try {
    return loadLibc();
  } catch (cause) {
    throw new LinuxError('unsupported', `the system call library does not load here: ${messageOf(cause)}`, { cause });
  }
}

function openDevice(): number {
  try {
    return openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM') {
      throw new LinuxError('not-permitted', 'cannot open /dev/net/tun: not permitted', { cause });
    }
    throw new LinuxError(
      'unsupported',
      `cannot open /dev/net/tun (${code}): load the tun module or pass the device in`,
      {
        cause,
      },
    );
  }
}

function attach(libc: Libc, fd: number, name: string): void {
  const request = Buffer.alloc(40);
  request.write(name, 0, IFNAMSIZ - 1, 'latin1');
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ);
  if (libc.ioctlPointer(fd, TUNSETIFF, request) === 0) return;
  const errno = libc.errno();
  if (errno === 1) throw new LinuxError('not-permitted', `cannot create link ${name}: CAP_NET_ADMIN is missing`);
  if (errno === 16) throw new LinuxError('failed', `link ${name} is in use by another process`);
  throw new LinuxError('failed', `cannot create TUN link ${name}: error ${errno}`);
}

/** True with UDP segmentation, which older kernels refuse as a whole. */
function enableOffload(libc: Libc, fd: number): boolean {
  if (libc.ioctlValue(fd, TUNSETOFFLOAD, OFFLOAD_CHECKSUM_TSO | OFFLOAD_USO) === 0) return true;
  if (libc.ioctlValue(fd, TUNSETOFFLOAD, OFFLOAD_CHECKSUM_TSO) === 0) return false;
  throw new LinuxError('unsupported', `the kernel refuses segmentation offload on TUN: error ${libc.errno()}`);
}

class KernelTun implements TunDevice {
  readonly name: string;
  readonly udpSegmentation: boolean;
  readonly reader: 'event-loop' | 'thread-pool';
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #options: TunOptions;
  readonly #pipe: FdReader | undefined;
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #at = 0;
  #closed = false;

  constructor(options: TunOptions, libc: Libc, fd: number, udpSegmentation: boolean) {
    this.name = options.name;
    this.udpSegmentation = udpSegmentation;
    this.#options = options;
    this.#libc = libc;
    this.#fd = fd;
    this.#pipe =
      options.reader === 'thread-pool'
        ? undefined
        : openPipeReader({
            fd,
            buffer: () => this.#room(),
            onRead: (bytes) => this.#onRead(bytes),
            onError: (error) => this.#fail(error),
          });
    this.reader = this.#pipe === undefined ? 'thread-pool' : 'event-loop';
    if (this.#pipe === undefined) this.#readNext();
  }

  write(packet: Uint8Array): boolean {
    if (this.#closed) return false;
    return this.#libc.write(this.#fd, packet, packet.length) === packet.length;
  }

  /** Where the next packet goes. */
  #room(): Buffer {
    if (SLAB_BYTES - this.#at < MAX_TUN_READ_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#at = 0;
    }
    return this.#slab.subarray(this.#at, this.#at + MAX_TUN_READ_BYTES);
  }

  #take(bytes: number): void {
    const packet = this.#slab.subarray(this.#at, this.#at + bytes);
    // Eight-byte steps keep the headers of the next packet aligned.
    this.#at += (bytes + 7) & ~7;
    this.#options.onPacket(packet);
  }

  /** One packet came through the event loop: take those behind it too, without another trip through epoll. */
  #onRead(bytes: number): void {
    this.#take(bytes);
    for (let i = 0; i < MAX_DRAIN && !this.#closed; i++) {
      const more = this.#libc.read(this.#fd, this.#room(), MAX_TUN_READ_BYTES);
      if (more <= 0) return;
      this.#take(more);
    }
  }

  /** The fallback: one read at a time, several at once would come back in any order. */
  #readNext(): void {
    readAsync(this.#fd, this.#room(), 0, MAX_TUN_READ_BYTES, null, (error, bytes) => {
      if (this.#closed) {
        closeSync(this.#fd);
        return;
      }
      if (error !== null && (error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        this.#fail(error);
        return;
      }
      if (error === null && bytes > 0) {
        this.#onRead(bytes);
        setImmediate(() => this.#readNext());
      } else setTimeout(() => this.#readNext(), 1);
    });
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#options.onError(
      new LinuxError('failed', `reading from ${this.name} failed: ${error.message}`, { cause: error }),
    );
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    // The thread pool closes it after its last read: a descriptor closed under it might be somebody else's by then.
    this.#pipe?.close();
  }
}
