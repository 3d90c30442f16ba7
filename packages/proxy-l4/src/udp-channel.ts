import { createSocket, type Socket } from 'node:dgram';
import { type DatagramSink, type Datagrams, ipVersion, type MeshError } from '@edgemesh/core';
import { socketError } from './errors.ts';
import { MAX_DATAGRAM_BYTES, PROXY_DEFAULTS } from './options.ts';

/** A connected UDP socket as {@link Datagrams}. Binding is asynchronous; what is sent meanwhile waits, bounded. */
class UdpChannel implements Datagrams {
  private readonly socket: Socket;
  private readonly onGone: () => void;
  private sink: DatagramSink | undefined;
  private pending: Uint8Array[] | undefined = [];
  private heard = false;
  private done: boolean = false;
  private error: MeshError | undefined;

  constructor(address: string, port: number, onGone: () => void) {
    this.onGone = onGone;
    const socket = createSocket(ipVersion(address) === 6 ? 'udp6' : 'udp4');
    this.socket = socket;
    socket.on('error', (cause) => this.finish(socketError(cause, this.heard)));
    socket.once('close', onGone);
    try {
      // Node hands a failure to this callback instead of emitting it; its types do not say so.
      const connected: (cause?: NodeJS.ErrnoException) => void = (cause) => {
        if (cause === undefined) this.flush();
        else this.finish(socketError(cause, false));
      };
      socket.connect(port, address, connected);
    } catch (cause) {
      this.finish(socketError(cause as NodeJS.ErrnoException, false));
    }
  }

  attach(sink: DatagramSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    if (this.done) {
      process.nextTick(() => sink.closed(this.error));
      return;
    }
    this.socket.on('message', (payload) => {
      if (this.done) return;
      this.heard = true;
      sink.message(payload);
    });
  }

  send(payload: Uint8Array): boolean {
    if (this.done || payload.length > MAX_DATAGRAM_BYTES) return false;
    if (this.pending !== undefined) {
      if (this.pending.length >= PROXY_DEFAULTS.maxPendingDatagrams) return false;
      this.pending.push(payload);
      return true;
    }
    if (this.socket.getSendQueueSize() > PROXY_DEFAULTS.maxUdpQueuedBytes) return false;
    this.socket.send(payload, this.sent);
    return true;
  }

  close(error?: MeshError): void {
    this.finish(error);
  }

  /** Without a callback a failed send would surface as an error event and end the channel; only a refusal may. */
  private readonly sent = (cause: NodeJS.ErrnoException | null) => {
    if (cause?.code === 'ECONNREFUSED') this.finish(socketError(cause, this.heard));
  };

  private flush(): void {
    const { pending } = this;
    this.pending = undefined;
    for (const payload of pending ?? []) this.send(payload);
  }

  private finish(error: MeshError | undefined): void {
    if (this.done) return;
    this.done = true;
    this.error = error;
    this.pending = undefined;
    try {
      this.socket.close();
    } catch {
      this.onGone(); // never bound: there is no handle, so no close event either
    }
    this.sink?.closed(error);
  }
}

/** Opens a connected UDP socket. `onGone` runs once the descriptor is released. */
export function openUdpChannel(address: string, port: number, onGone: () => void): Datagrams {
  return new UdpChannel(address, port, onGone);
}
