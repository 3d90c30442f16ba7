import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '@edgemesh/core';
import { type Logger, messageOf, type Timer } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { SharedPortLimits } from '../../options.ts';
import type { DataPreamble, SocketAddress } from '../../types.ts';
import type { ControlMetrics } from '../metrics.ts';
import { readPreamble } from './preamble.ts';

/** Connections that the kernel keeps until we accept them (Linux caps it at net.core.somaxconn): a herd comes at once. */
const BACKLOG = 4_096;

/** The listening TCP port that control and data plane share. */
export interface SharedPort extends AsyncDisposable {
  /** What is bound, with real port numbers. */
  readonly addresses: readonly SocketAddress[];
  /** Receives control sockets of the given bound address; the bytes read so far are back in the socket. One per address. */
  onControlSocket(address: SocketAddress, listener: (socket: Socket) => void): () => void;
  /** Receives data sockets; the preamble is consumed. */
  onDataSocket(listener: (socket: Socket, preamble: DataPreamble) => void): void;
}

export interface SharedPortDeps {
  readonly limits: SharedPortLimits;
  readonly log: Logger;
  readonly clock: Clock;
  readonly metrics: ControlMetrics;
}

/** Binds all addresses (port 0 = any, the same one for all) and starts accepting. Rejects with TunnelError `listen`. */
export async function createSharedPort(listen: readonly SocketAddress[], deps: SharedPortDeps): Promise<SharedPort> {
  const acceptor = new Acceptor(deps);
  let port = 0;
  try {
    for (const address of listen) {
      const bound = await acceptor.listen({ host: address.host, port: address.port === 0 ? port : address.port });
      if (address.port === 0) port = bound.port;
    }
  } catch (error) {
    await acceptor[Symbol.asyncDispose]();
    throw error;
  }
  return acceptor;
}

/** A socket whose first bytes have not told yet what it is. */
interface Pending {
  readonly socket: Socket;
  readonly timer: Timer;
  readonly forget: () => void;
}

class Acceptor implements SharedPort {
  readonly addresses: SocketAddress[] = [];
  readonly #deps: SharedPortDeps;
  readonly #servers: Server[] = [];
  readonly #control = new Map<string, (socket: Socket) => void>();
  /** In order of arrival: the oldest goes when there are too many. */
  readonly #pending = new Set<Pending>();
  readonly #openPerIp = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  #data: ((socket: Socket, preamble: DataPreamble) => void) | undefined;

  constructor(deps: SharedPortDeps) {
    this.#deps = deps;
  }

  async listen(address: SocketAddress): Promise<SocketAddress> {
    const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const where = `${address.host} port ${address.port}`;
        reject(new TunnelError('listen', `cannot listen on ${where}: ${messageOf(cause)}`, { cause }));
      });
      const { host, port } = address;
      server.listen({ host, port, ipv6Only: host === '::', backlog: BACKLOG }, resolve);
    });
    const bound = { host: address.host, port: (server.address() as AddressInfo).port };
    server.on('error', (error) => this.#deps.log.warn('listener failed', { ...bound, error: messageOf(error) }));
    server.on('connection', (socket) => this.#accept(socket, bound));
    this.#servers.push(server);
    this.addresses.push(bound);
    return bound;
  }

  onControlSocket(address: SocketAddress, listener: (socket: Socket) => void): () => void {
    const key = keyOf(address);
    this.#control.set(key, listener);
    return () => {
      if (this.#control.get(key) === listener) this.#control.delete(key);
    };
  }

  onDataSocket(listener: (socket: Socket, preamble: DataPreamble) => void): void {
    this.#data = listener;
  }

  #accept(socket: Socket, bound: SocketAddress): void {
    const ip = socket.remoteAddress;
    // until somebody takes the socket over, its errors end in its 'close'
    socket.on('error', (error) => this.#deps.log.debug('accepted socket failed', { error: messageOf(error) }));
    if (ip === undefined || !this.#countIp(socket, ip)) {
      this.#deps.metrics.accepted.with('refused').add();
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    this.#sniff(socket, bound);
  }

  #countIp(socket: Socket, ip: string): boolean {
    const open = this.#openPerIp.get(ip) ?? 0;
    if (open >= this.#deps.limits.maxSocketsPerIp) return false;
    this.#openPerIp.set(ip, open + 1);
    socket.once('close', () => {
      const left = (this.#openPerIp.get(ip) ?? 1) - 1;
      if (left === 0) this.#openPerIp.delete(ip);
      else this.#openPerIp.set(ip, left);
    });
    return true;
  }

  /** Collects first bytes until they tell the plane. One timer for all of them: sending slowly does not buy time. */
  #sniff(socket: Socket, bound: SocketAddress): void {
    let head: Uint8Array = new Uint8Array(0);
    const onReadable = () => {
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return;
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const verdict = readPreamble(head);
      if (verdict.type === 'incomplete') return;
      entry.forget();
      if (verdict.type === 'control') this.#toControl(socket, bound, head);
      else if (verdict.type === 'data') this.#toData(socket, verdict.preamble, head.subarray(verdict.consumed));
      else this.#drop(socket, 'unknown-kind');
    };
    const onEnd = () => this.#drop(socket, 'closed-early');
    const timer = this.#deps.clock.after(this.#deps.limits.preambleTimeoutMs, () => {
      entry.forget();
      this.#drop(socket, 'silent');
    });
    const forget = () => {
      timer.cancel();
      socket.off('readable', onReadable);
      socket.off('end', onEnd);
      socket.off('close', forget);
      this.#pending.delete(entry);
    };
    const entry: Pending = { socket, timer, forget };
    this.#pending.add(entry);
    socket.on('readable', onReadable);
    socket.on('end', onEnd);
    socket.on('close', forget);
    this.#limitPending();
  }

  #limitPending(): void {
    if (this.#pending.size <= this.#deps.limits.maxPendingSockets) return;
    for (const oldest of this.#pending) {
      oldest.forget();
      this.#drop(oldest.socket, 'overflow');
      return;
    }
  }

  #toControl(socket: Socket, bound: SocketAddress, head: Uint8Array): void {
    const listener = this.#control.get(keyOf(bound));
    if (listener === undefined) {
      this.#drop(socket, 'no-listener');
      return;
    }
    this.#deps.metrics.accepted.with('control').add();
    socket.unshift(head);
    listener(socket);
  }

  #toData(socket: Socket, preamble: DataPreamble, rest: Uint8Array): void {
    if (this.#data === undefined) {
      this.#drop(socket, 'no-listener');
      return;
    }
    this.#deps.metrics.accepted.with('data').add();
    if (rest.length > 0) socket.unshift(rest);
    this.#data(socket, preamble);
  }

  #drop(socket: Socket, why: string): void {
    this.#deps.metrics.accepted.with(why).add();
    socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)));
    for (const entry of [...this.#pending]) entry.forget();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closing);
  }
}

function keyOf(address: SocketAddress): string {
  return `${address.host} ${address.port}`;
}
