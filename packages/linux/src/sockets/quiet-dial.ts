import { Socket } from 'node:net';
import { LinuxError } from '../errors.ts';
import { AF_INET, encodeSocketAddress, familyOf, type HostAndPort } from './socket-address.ts';

export interface QuietDialOptions {
  /** Routers on the way that do not forward the SYN any more: the first to hear of it and drop it. */
  readonly hops: number;
  readonly signal: AbortSignal;
}

/**
 * A TCP connect whose SYN dies on the way: NATs and firewalls before that take it for a connection of ours, and whoever is
 * beyond hears nothing. It succeeds when the peer connects to us from the address that we dial. Rejects with LinuxError.
 */
export type DialQuietly = (local: HostAndPort, peer: HostAndPort, options: QuietDialOptions) => Promise<Socket>;

const SOCK_STREAM = 1;
/** SOCK_NONBLOCK and SOCK_CLOEXEC, as on x86, ARM and RISC-V. */
const SOCK_FLAGS = 0o4000 | 0o2000000;
const EINPROGRESS = 115;
const REUSE_ADDRESS = { level: 1, name: 2 };
/** Time to live of what is sent, and the lowest one that is received, per family (ip(7), ipv6(7)). */
const HOP_OPTIONS = {
  ipv4: { limit: { level: 0, name: 2 }, lowest: { level: 0, name: 21 } },
  ipv6: { limit: { level: 41, name: 16 }, lowest: { level: 41, name: 73 } },
} as const;
/** The SYN that an ICMP "time exceeded" quotes has this left; a socket with a higher lowest one ignores the message. */
const EXPIRED_HOPS = 1;
/** How often it is looked whether the peer has come, in milliseconds. */
const LOOK_MS = 10;

type SocketOption = typeof REUSE_ADDRESS;

/** The calls of libc, each failing with LinuxError. */
interface SocketCalls {
  open(family: number): number;
  set(fd: number, option: SocketOption, value: number): void;
  bind(fd: number, address: Uint8Array): void;
  connect(fd: number, address: Uint8Array): void;
  isConnected(fd: number): boolean;
  close(fd: number): void;
}

/**
 * Loads what a quiet dial needs, on first use only. No privilege is needed: it is connect(2) with a small IP_TTL, which Node
 * cannot set on TCP sockets. Rejects with LinuxError `missing-tool` where koffi has no binary.
 */
export async function loadQuietDial(): Promise<DialQuietly> {
  const calls = await loadSocketCalls();
  return async (local, peer, options) => {
    const fd = sendSyn(calls, local, peer, options.hops);
    try {
      await untilConnected(calls, fd, options.signal);
    } catch (error) {
      calls.close(fd); // in SYN_SENT nothing is sent any more
      throw error;
    }
    return new Socket({ fd, allowHalfOpen: true });
  };
}

function sendSyn(calls: SocketCalls, local: HostAndPort, peer: HostAndPort, hops: number): number {
  const family = familyOf(peer.host);
  const { limit, lowest } = family === AF_INET ? HOP_OPTIONS.ipv4 : HOP_OPTIONS.ipv6;
  const [own, far] = [encodeSocketAddress(local), encodeSocketAddress(peer)];
  const fd = calls.open(family);
  try {
    calls.set(fd, REUSE_ADDRESS, 1);
    calls.set(fd, lowest, EXPIRED_HOPS + 1);
    calls.set(fd, limit, hops);
    calls.bind(fd, own);
    calls.connect(fd, far);
    calls.set(fd, limit, -1); // the answer to the peer's SYN must arrive
    return fd;
  } catch (error) {
    calls.close(fd);
    throw error;
  }
}

function untilConnected(calls: SocketCalls, fd: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      if (signal.aborted) reject(new LinuxError('aborted', 'the peer did not come', { cause: signal.reason }));
      else if (calls.isConnected(fd)) resolve();
      else return;
      clearInterval(timer);
    }, LOOK_MS);
  });
}

async function loadSocketCalls(): Promise<SocketCalls> {
  const { default: koffi } = await import('koffi').catch((cause: unknown) => {
    throw new LinuxError('missing-tool', 'koffi cannot be loaded: there is no prebuilt binary for this platform', {
      cause,
    });
  });
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const int *value, uint32_t length)');
  const bind = libc.func('int bind(int fd, const void *address, uint32_t length)');
  const connect = libc.func('int connect(int fd, const void *address, uint32_t length)');
  const getpeername = libc.func('int getpeername(int fd, void *address, uint32_t *length)');
  const close = libc.func('int close(int fd)');
  const check = (what: string, result: number) => {
    if (result >= 0) return result;
    throw new LinuxError('failed', `${what} failed with errno ${koffi.errno()}`);
  };
  return {
    open: (family) => check('socket', socket(family, SOCK_STREAM | SOCK_FLAGS, 0) as number),
    set: (fd, { level, name }, value) =>
      void check(`setsockopt ${level}/${name}`, setsockopt(fd, level, name, [value], 4) as number),
    bind: (fd, address) => void check('bind', bind(fd, address, address.length) as number),
    connect(fd, address) {
      const result = connect(fd, address, address.length) as number;
      if (result < 0 && koffi.errno() !== EINPROGRESS) check('connect', result);
    },
    // ENOTCONN before
    isConnected: (fd) => getpeername(fd, Buffer.alloc(28), [28]) === 0,
    close: (fd) => void close(fd),
  };
}
