import type { Socket } from 'node:net';
import { type Logger, messageOf } from '@edgemesh/core';
import {
  type ComponentLogger,
  type Connection,
  type CreateListenerOptions,
  type DialTransportOptions,
  type Logger as Libp2pLogger,
  type Listener,
  type ListenerEvents,
  type Transport,
  TypedEventEmitter,
  transportSymbol,
  type Upgrader,
} from '@libp2p/interface';
import type { Multiaddr } from '@multiformats/multiaddr';
import { TunnelError } from '../../errors.ts';
import type { SocketAddress } from '../../types.ts';
import type { ControlMetrics } from '../metrics.ts';
import { connectSocket } from './connect.ts';
import type { HandshakeLine } from './handshake-line.ts';
import { fromMultiaddr, plainIp, toMultiaddr } from './multiaddrs.ts';
import type { SharedPort } from './shared-port.ts';
import { SocketConnection } from './socket-connection.ts';

/** Message of the error when a dialled address turns out to be this node. */
export const OWN_ADDRESS = 'the address is our own';

/** At most one warning about foreign secrets in this time, in milliseconds. */
const LOUD_EVERY_MS = 30_000;

export interface SharedTcpOptions {
  readonly port: SharedPort;
  readonly localPort: number | undefined;
  readonly connectTimeoutMs: number;
  readonly silenceTimeoutMs: number;
  /** Where accepted members wait for their handshake. */
  readonly line: HandshakeLine;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
}

/** Options of a dial that our own code starts: a socket that has won the race of addresses already. */
export interface SharedTcpDialOptions extends DialTransportOptions {
  readonly socket?: Socket;
}

/** The libp2p transport of the control plane: TCP whose listener gets its sockets from the shared port. */
export function sharedTcp(options: SharedTcpOptions): (components: { logger: ComponentLogger }) => Transport {
  return (components) => new SharedTcp(options, components.logger.forComponent('edgemesh:tcp'));
}

class SharedTcp implements Transport {
  readonly [transportSymbol] = true;
  readonly [Symbol.toStringTag] = '@edgemesh/shared-tcp';
  readonly #options: SharedTcpOptions;
  readonly #log: Libp2pLogger;

  constructor(options: SharedTcpOptions, log: Libp2pLogger) {
    this.#options = options;
    this.#log = log;
  }

  async dial(address: Multiaddr, options: SharedTcpDialOptions): Promise<Connection> {
    const { connectTimeoutMs: timeoutMs, localPort, silenceTimeoutMs, metrics } = this.#options;
    const target = fromMultiaddr(address);
    if (target === undefined) throw new TunnelError('config', `not a TCP address: ${address.toString()}`);
    const socket = options.socket ?? (await connectSocket(target, { signal: options.signal, timeoutMs, localPort }));
    const raw = new SocketConnection({
      socket,
      remoteAddr: address,
      direction: 'outbound',
      log: this.#log,
      silenceTimeoutMs,
    });
    try {
      return await options.upgrader.upgradeOutbound(raw, options);
    } catch (error) {
      const failure = explainFailure(raw, error, options.signal);
      metrics.handshakeFailures.with('outbound', failure.code).add();
      raw.abort(failure);
      throw failure;
    }
  }

  createListener(options: CreateListenerOptions): Listener {
    return new SharedListener(this.#options, options.upgrader, this.#log);
  }

  listenFilter(addresses: Multiaddr[]): Multiaddr[] {
    return addresses.filter((address) => fromMultiaddr(address) !== undefined);
  }

  dialFilter(addresses: Multiaddr[]): Multiaddr[] {
    return this.listenFilter(addresses);
  }
}

/** Turns what libp2p's layers throw into what probably happened; the wrong secret has many faces. */
function explainFailure(raw: SocketConnection, error: unknown, signal: AbortSignal): TunnelError {
  if (raw.failure !== undefined) return raw.failure;
  if (error instanceof TunnelError) return error;
  const options = { retryable: true, cause: error };
  if (signal.aborted) {
    return new TunnelError(
      'timeout',
      'connected, but the handshake did not finish in time: is it an EdgeMesh port?',
      options,
    );
  }
  const message = messageOf(error);
  if (/dial self/i.test(message)) return new TunnelError('refused', OWN_ADDRESS, { cause: error });
  if (raw.timeline.close !== undefined || /reset|closed|EOF/i.test(message)) {
    const hint = 'the mesh secret probably differs, or the port is not an EdgeMesh port';
    return new TunnelError('secret', `connection closed during the pnet handshake: ${hint} (${message})`, options);
  }
  return new TunnelError('protocol', `control handshake failed: ${message}`, options);
}

class SharedListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #options: SharedTcpOptions;
  readonly #upgrader: Upgrader;
  readonly #log: Libp2pLogger;
  readonly #closing = new AbortController();
  readonly #connections = new Set<SocketConnection>();
  #bound: SocketAddress | undefined;
  #detach: (() => void) | undefined;
  #loudAt = Number.NEGATIVE_INFINITY;

  constructor(options: SharedTcpOptions, upgrader: Upgrader, log: Libp2pLogger) {
    super();
    this.#options = options;
    this.#upgrader = upgrader;
    this.#log = log;
  }

  listen(address: Multiaddr): Promise<void> {
    const bound = fromMultiaddr(address);
    if (bound === undefined)
      return Promise.reject(new TunnelError('config', `not a TCP address: ${address.toString()}`));
    this.#bound = bound;
    this.#detach = this.#options.port.onControlSocket(bound, (socket) => this.#accept(socket));
    this.safeDispatchEvent('listening');
    return Promise.resolve();
  }

  #accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy();
      return;
    }
    const raw = new SocketConnection({
      socket,
      remoteAddr: toMultiaddr({ host: plainIp(remoteAddress), port: remotePort }),
      direction: 'inbound',
      log: this.#log,
      silenceTimeoutMs: this.#options.silenceTimeoutMs,
      line: this.#options.line,
    });
    this.#connections.add(raw);
    raw.addEventListener('close', () => {
      this.#connections.delete(raw);
      raw.handshakeEnded();
    });
    const upgrade = this.#upgrader.upgradeInbound(raw, { signal: this.#closing.signal });
    upgrade
      .catch((error: unknown) => {
        this.#noteFailure(remoteAddress, raw.failure ?? new TunnelError('protocol', messageOf(error)));
        raw.abort(error instanceof Error ? error : new Error(String(error)));
      })
      .finally(() => raw.handshakeEnded());
  }

  /** A wrong secret is worth a line, as somebody waits for it to work; but not one for each of its retries. */
  #noteFailure(from: string, failure: TunnelError): void {
    const { metrics, log } = this.#options;
    metrics.handshakeFailures.with('inbound', failure.code).add();
    const fields = { from: plainIp(from), code: failure.code, error: failure.message };
    const isLoud = failure.code === 'secret' && performance.now() - this.#loudAt > LOUD_EVERY_MS;
    if (isLoud) {
      this.#loudAt = performance.now();
      log.warn('a client with another mesh secret was turned away', fields);
    } else {
      log.debug('control handshake from a client failed', fields);
    }
  }

  getAddrs(): Multiaddr[] {
    return this.#bound === undefined ? [] : [toMultiaddr(this.#bound)];
  }

  updateAnnounceAddrs(): void {
    // TCP addresses need no amendment
  }

  close(): Promise<void> {
    this.#detach?.();
    this.#closing.abort();
    for (const connection of [...this.#connections]) connection.abort(new Error('the listener is closing'));
    this.safeDispatchEvent('close');
    return Promise.resolve();
  }
}
