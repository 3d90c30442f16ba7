import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { type Logger, type Metrics, messageOf, noMetrics, silentLogger } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { createRunner, mustRun, type Runner } from '../exec.ts';
import { LINUX_DEFAULTS } from '../options.ts';
import { type DeviceCalls, loadDeviceCalls } from './device-calls.ts';

/**
 * Bytes in front of every packet, struct virtio_net_hdr (linux/virtio_net.h), little endian:
 *
 * ```
 *  0      1         2        4          6            8             10
 *  +------+---------+--------+----------+------------+-------------+--- packet (IPv4 or IPv6)
 *  |flags |gso_type |hdr_len | gso_size | csum_start | csum_offset |
 *  +------+---------+--------+----------+------------+-------------+
 * ```
 *
 * It says what the kernel has left undone (checksum, segmentation). Carry it with the packet and write both to the other
 * TUN: that kernel does the rest, and nothing is cut or summed here.
 */
export const TUN_HEADER_BYTES = 10;

/** Largest frame: header and an IP packet of 64 KiB. Read buffers and frame lengths must hold it. */
export const TUN_MAX_FRAME_BYTES = TUN_HEADER_BYTES + 65_535;

export interface TunOptions {
  /** Name of the device, at most 15 characters. Created when missing; it goes when it is closed. */
  readonly name: string;
  /** Default 1400, see LINUX_DEFAULTS.tunMtu. */
  readonly mtu?: number;
  /** Packets that wait for us in the kernel. Short: less delay under load; long: no loss in bursts. */
  readonly queueLength?: number;
  readonly runner?: Runner;
  readonly log?: Logger;
  readonly metrics?: Metrics;
}

/** A TUN device: whole IP packets behind a {@link TUN_HEADER_BYTES} header, both ways. */
export interface TunDevice extends AsyncDisposable {
  readonly name: string;
  /** Segmentation offloads that the kernel accepted; `none` costs most of the throughput. */
  readonly offload: 'tso+uso' | 'tso' | 'none';
  /**
   * Starts reading. The frame is a view of one reused buffer: valid during the call only, copy what must stay. Called once.
   */
  start(onFrame: (frame: Uint8Array) => void): void;
  /** Stops and restarts reading; meanwhile the kernel queues `queueLength` packets and drops what is beyond. */
  pause(): void;
  resume(): void;
  /** Gives header and packet to the kernel. False: it did not take them (malformed, or no memory); counted. */
  write(frame: Uint8Array): boolean;
  /** Changes the MTU, in bytes; what waits in the queue keeps its size. */
  setMtu(mtu: number): Promise<void>;
  /** Ends when the device is closed or reading fails. */
  readonly closed: Promise<Error | undefined>;
}

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6; and TUN_F_USO4, TUN_F_USO6 (Linux 6.2). */
const OFFLOADS = [
  { flags: 0x67, name: 'tso+uso' },
  { flags: 0x07, name: 'tso' },
] as const;

/**
 * Opens a TUN device with segmentation offload and brings it up.
 * @throws LinuxError `unsupported` without /dev/net/tun, `not-permitted` without CAP_NET_ADMIN, `failed` when it is in use
 */
export async function openTun(options: TunOptions): Promise<TunDevice> {
  if (!/^[\w.-]{1,15}$/.test(options.name)) throw new LinuxError('plan', `${options.name} is not a device name`);
  const calls = await loadDeviceCalls();
  const fd = openCharacterDevice();
  let offload: TunDevice['offload'] = 'none';
  try {
    const request = Buffer.alloc(40); // struct ifreq: name[16], flags u16
    request.write(options.name, 0, 'ascii');
    request.writeUInt16LE(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 16);
    calls.withBuffer(fd, TUNSETIFF, request);
    for (const { flags, name } of OFFLOADS) {
      try {
        calls.withNumber(fd, TUNSETOFFLOAD, flags);
        offload = name;
        break;
      } catch (error) {
        if (!(error instanceof LinuxError) || error.code !== 'unsupported') throw error;
      }
    }
    const mtu = String(options.mtu ?? LINUX_DEFAULTS.tunMtu);
    const queue = String(options.queueLength ?? LINUX_DEFAULTS.tunQueueLength);
    const up = ['link', 'set', 'dev', options.name, 'up', 'mtu', mtu, 'txqueuelen', queue];
    const runner = options.runner ?? createRunner();
    await mustRun(runner, 'ip', up);
    return new Tun({ ...options, runner }, fd, offload, calls);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openCharacterDevice(): number {
  try {
    return openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === 'EACCES' ? 'not-permitted' : 'unsupported';
    throw new LinuxError(code, `cannot open /dev/net/tun: ${messageOf(cause)}`, { cause });
  }
}

/** libuv's pipe handle: reads any pollable descriptor on the event loop. Undocumented; `net.Socket({ fd })` refuses a TUN. */
interface PipeHandle {
  open(fd: number): number;
}

function pipeHandle(fd: number): PipeHandle {
  const binding = (process as unknown as { binding(name: string): { Pipe: new (type: number) => PipeHandle } }).binding(
    'pipe_wrap',
  );
  const handle = new binding.Pipe(0);
  const failed = handle.open(fd);
  if (failed) throw new LinuxError('unsupported', `the event loop refuses the TUN descriptor (${failed})`);
  return handle;
}

class Tun implements TunDevice {
  readonly name: string;
  readonly offload: TunDevice['offload'];
  readonly closed: Promise<Error | undefined>;
  readonly #fd: number;
  readonly #calls: DeviceCalls;
  readonly #runner: Runner;
  readonly #socket: Socket;
  readonly #dropped;
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #open = true;
  #isReading = false;

  constructor(
    options: TunOptions & { readonly runner: Runner },
    fd: number,
    offload: TunDevice['offload'],
    calls: DeviceCalls,
  ) {
    this.#calls = calls;
    this.#runner = options.runner;
    const { log = silentLogger, metrics = noMetrics } = options;
    this.name = options.name;
    this.offload = offload;
    this.#fd = fd;
    this.#dropped = metrics
      .counter({
        name: 'edgemesh_linux_tun_write_errors_total',
        help: 'Packets that the TUN refused',
        labels: ['device'],
      })
      .with(options.name);
    // Each read(2) of a TUN gives one packet, so one buffer, reused, is all that reading needs.
    const onread = {
      buffer: Buffer.allocUnsafeSlow(TUN_MAX_FRAME_BYTES),
      callback: (bytes: number, buffer: Uint8Array) => {
        this.#onFrame?.(buffer.subarray(0, bytes));
        this.#drain(buffer, bytes);
        return true;
      },
    };
    this.#socket = new Socket({ handle: pipeHandle(fd), onread, manualStart: true } as never);
    this.#socket.pause();
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    let failure: Error | undefined;
    this.#socket.on('error', (error) => {
      failure = error;
      log.warn('reading the TUN device failed', { device: options.name, error: error.message });
    });
    this.#socket.on('close', () => {
      this.#open = false;
      resolve(failure);
    });
  }

  start(onFrame: (frame: Uint8Array) => void): void {
    this.#onFrame = onFrame;
    this.resume();
  }

  pause(): void {
    this.#isReading = false;
    this.#socket.pause();
  }

  resume(): void {
    this.#isReading = true;
    this.#socket.resume();
  }

  /**
   * Reads what else waits in the kernel: the event loop gives one packet per turn, and a turn costs as much as a packet. Not without
   * end: what we read, we have to send or drop, while the kernel can let a sender wait.
   */
  #drain(buffer: Uint8Array, first: number): void {
    const { tunTurnBytes, tunTurnPackets } = LINUX_DEFAULTS;
    let total = first;
    for (let packets = 1; packets < tunTurnPackets && total < tunTurnBytes; packets++) {
      // Whoever got the last packet may have paused or closed the device.
      if (!this.#open || !this.#isReading) return;
      const bytes = this.#calls.read(this.#fd, buffer);
      if (bytes <= 0) return;
      total += bytes;
      this.#onFrame?.(buffer.subarray(0, bytes));
    }
  }

  write(frame: Uint8Array): boolean {
    if (!this.#open) return false;
    try {
      writeSync(this.#fd, frame);
      return true;
    } catch {
      // EINVAL for what is no packet, EIO while the link is down, ENOBUFS: the packet is lost, as packets may be.
      this.#dropped.add();
      return false;
    }
  }

  async setMtu(mtu: number): Promise<void> {
    await mustRun(this.#runner, 'ip', ['link', 'set', 'dev', this.name, 'mtu', String(mtu)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The descriptor goes at once, 'close' comes later: its number may be somebody else's by then.
    this.#open = false;
    this.#socket.destroy();
    await this.closed;
  }
}
