import { Socket } from 'node:net';
import type { ByteStream } from '@edgemesh/core';
import type { IdleWatch, Watched } from '../idle-watch.ts';
import { PROXY_DEFAULTS } from '../options.ts';
import type { ClientAddress } from '../upstream.ts';
import { HandleStream } from './handle-stream.ts';
import { abort, socketByteStream } from './socket-stream.ts';
import { type TcpHandle, tcpHandles } from './tcp-handles.ts';

/**
 * An accepted TCP connection that nobody has read. It becomes a stream or a socket, whichever is asked for first: a
 * `net.Socket` costs more than all else that a short connection needs.
 */
export class AcceptedConnection {
  readonly client: ClientAddress;
  private readonly accepted: TcpHandle | Socket;
  private readonly watch: IdleWatch;
  private readonly onClosed: (connection: AcceptedConnection) => void;
  private watched: Watched | undefined;
  private made: Socket | HandleStream | undefined;

  constructor(
    accepted: TcpHandle | Socket,
    client: ClientAddress,
    watch: IdleWatch,
    onClosed: (connection: AcceptedConnection) => void,
  ) {
    this.accepted = accepted;
    this.client = client;
    this.watch = watch;
    this.onClosed = onClosed;
  }

  /** The connection as a stream whose reset sends a RST. Asked for once, and not after {@link socket}. */
  stream(): ByteStream {
    const { accepted } = this;
    if (accepted instanceof Socket || tcpHandles === undefined) return socketByteStream(this.socket, 'connected');
    const stream = new HandleStream(accepted, tcpHandles, this);
    this.made = stream;
    this.watched = this.watch.add(stream);
    stream.connected();
    return stream;
  }

  /** The connection as a socket with half-open allowed. It has begun to read. */
  get socket(): Socket {
    if (this.made instanceof Socket) return this.made;
    if (this.made !== undefined) throw new Error('the connection is a stream already');
    const { accepted } = this;
    const socket = accepted instanceof Socket ? accepted : socketOf(accepted);
    this.made = socket;
    this.watched = this.watch.add(socket);
    socket.on('error', ignore);
    socket.on('close', () => this.closed());
    return socket;
  }

  /** Called when the connection was silent for too long. Without it, it may be. */
  set expired(expired: () => void) {
    if (this.watched !== undefined) this.watched.expired = expired;
  }

  /** Ends the connection with a RST. */
  abort(): void {
    const { made, accepted } = this;
    if (made instanceof HandleStream) made.reset();
    else if (made !== undefined || accepted instanceof Socket) abort(this.socket);
    else {
      accepted.reset();
      this.closed();
    }
  }

  /** It is over: for the stream. */
  closed(): void {
    if (this.watched !== undefined) this.watch.remove(this.watched);
    this.onClosed(this);
  }
}

function socketOf(handle: TcpHandle): Socket {
  const { socketBufferedBytes: highWaterMark } = PROXY_DEFAULTS;
  const options: object = { handle, allowHalfOpen: true, readable: true, writable: true, highWaterMark };
  const socket = new Socket(options);
  socket.setNoDelay(true);
  return socket;
}

/** A socket that is turned away may still fail; whoever reads it reports everything else. */
function ignore(): void {
  // nobody is interested
}
