import { isIP, Socket, type TcpNetConnectOpts } from 'node:net';
import {
  type ByteStream,
  type Clock,
  Deadlines,
  type Dialer,
  MeshError,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { IdleWatch, type Watched, type WatchedSocket } from './idle-watch.ts';
import { PROXY_DEFAULTS } from './options.ts';
import { HandleStream, type StreamLife } from './sockets/handle-stream.ts';
import { socketByteStream } from './sockets/socket-stream.ts';
import { type TcpHandles, tcpHandles } from './sockets/tcp-handles.ts';
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
      openStreams++;
      const { address, port } = target;
      const life = new DialLife(watch, () => openStreams--);
      const stream =
        tcpHandles !== undefined && isIP(address) !== 0 && port > 0 && port < 65_536
          ? dialHandle(tcpHandles, { address, port }, options.localAddress, life)
          : dialSocket({ address, port }, options.localAddress, life);
      const timeoutMs = dialOptions?.timeoutMs ?? options.connectTimeoutMs ?? PROXY_DEFAULTS.connectTimeoutMs;
      life.deadline = deadlines.after(timeoutMs, () => {
        const where = `${address} port ${port}`;
        stream.reset(new MeshError('timeout', `no connection to ${where} in ${timeoutMs} ms`, { retryable: true }));
      });
      return stream;
    },
    openDatagrams(target) {
      openChannels++;
      return openUdpChannel(target.address, target.port, () => openChannels--);
    },
  };
}

/** What a dialled stream holds besides its descriptor. */
class DialLife implements StreamLife {
  deadline: Timer | undefined;
  private readonly watch: IdleWatch;
  private readonly onClosed: () => void;
  private watched: Watched | undefined;

  constructor(watch: IdleWatch, onClosed: () => void) {
    this.watch = watch;
    this.onClosed = onClosed;
  }

  began(socket: WatchedSocket): void {
    this.watched = this.watch.add(socket);
  }

  opened(): void {
    this.deadline?.cancel();
  }

  closed(): void {
    this.deadline?.cancel();
    if (this.watched !== undefined) this.watch.remove(this.watched);
    this.onClosed();
  }
}

interface Target {
  readonly address: string;
  readonly port: number;
}

function dialHandle(handles: TcpHandles, target: Target, localAddress: string | undefined, life: DialLife): ByteStream {
  const stream = new HandleStream(handles.createSocket(), handles, life);
  life.began(stream);
  stream.connect(target, localAddress);
  return stream;
}

/** For names, for ports that do not exist, and for a Node without handles. */
function dialSocket({ address, port }: Target, localAddress: string | undefined, life: DialLife): ByteStream {
  const options = { allowHalfOpen: true, noDelay: true, writableHighWaterMark: PROXY_DEFAULTS.socketBufferedBytes };
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  life.began(socket);
  socket.on('connect', () => life.opened());
  socket.on('close', () => life.closed());
  connect(socket, { host: address, port, ...(localAddress !== undefined && { localAddress }) });
  return socketByteStream(socket, 'dialing');
}

/** Starts to connect. What node:net refuses by throwing (a port out of range) fails like any other dial. */
function connect(socket: Socket, options: TcpNetConnectOpts): void {
  try {
    socket.connect(options);
  } catch (cause) {
    socket.destroy(cause as Error);
  }
}
