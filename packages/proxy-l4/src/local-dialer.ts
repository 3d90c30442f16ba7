import { Socket, type TcpNetConnectOpts } from 'node:net';
import { type Clock, Deadlines, type Dialer, MeshError, systemClock } from '@edgemesh/core';
import { IdleWatch } from './idle-watch.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { socketByteStream } from './socket-stream.ts';
import { openUdpChannel } from './udp-channel.ts';

/** Timeouts and source address of local dials. */
export interface LocalDialerOptions {
  /** Milliseconds to connect, where the dial names none. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** Milliseconds before the first keep-alive probe. Default 60,000; 0 is off. */
  readonly keepAliveMs?: number;
  /** Local address to connect from. Default: the kernel's choice. */
  readonly localAddress?: string;
  readonly clock?: Clock;
}

/** A dialer for everything the kernel can route, and what it holds open. */
export interface LocalDialer extends Dialer {
  readonly openStreams: number;
  readonly openChannels: number;
}

/** Makes a {@link Dialer} that ignores node names and lets the kernel find the way. Holds nothing but its open sockets. */
export function createLocalDialer(options: LocalDialerOptions = {}): LocalDialer {
  const clock = options.clock ?? systemClock;
  const deadlines = new Deadlines(clock);
  const keepAliveMs = options.keepAliveMs ?? PROXY_DEFAULTS.keepAliveMs;
  const watch = new IdleWatch({ idleMs: 0, halfClosedIdleMs: 0, keepAliveMs }, clock);
  let openStreams = 0;
  let openChannels = 0;
  return {
    get openStreams() {
      return openStreams;
    },
    get openChannels() {
      return openChannels;
    },
    dial(target, dialOptions) {
      const socket = new Socket({
        allowHalfOpen: true,
        noDelay: true,
        writableHighWaterMark: PROXY_DEFAULTS.socketBufferedBytes,
      } as ConstructorParameters<typeof Socket>[0]);
      openStreams++;
      const connecting = connect(socket, {
        host: target.address,
        port: target.port,
        ...(options.localAddress !== undefined && { localAddress: options.localAddress }),
      });
      const stream = socketByteStream(socket, 'dialing');
      const timeoutMs = dialOptions?.timeoutMs ?? options.connectTimeoutMs ?? PROXY_DEFAULTS.connectTimeoutMs;
      const timer = deadlines.after(timeoutMs, () => {
        const where = `${target.address} port ${target.port}`;
        stream.reset(new MeshError('timeout', `no connection to ${where} in ${timeoutMs} ms`, { retryable: true }));
      });
      if (connecting) socket.on('connect', () => timer.cancel());
      const watched = watch.add(socket);
      socket.on('close', () => {
        openStreams--;
        watch.remove(watched);
        timer.cancel();
      });
      return stream;
    },
    openDatagrams(target) {
      openChannels++;
      return openUdpChannel(target.address, target.port, () => openChannels--);
    },
  };
}

/** Starts to connect. What node:net refuses by throwing (a port out of range) fails like any other dial. */
function connect(socket: Socket, options: TcpNetConnectOpts): boolean {
  try {
    socket.connect(options);
    return true;
  } catch (cause) {
    socket.destroy(cause as Error);
    return false;
  }
}
