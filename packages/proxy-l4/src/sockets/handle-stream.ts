import { getSystemErrorName } from 'node:util';
import { type ByteSink, type ByteStream, giveBorrowed, MeshError } from '@edgemesh/core';
import { socketError } from '../errors.ts';
import { HandleWriter, type WriterOwner } from './handle-writer.ts';
import { RECEIVED } from './memory.ts';
import { END_OF_STREAM, type Request, type TcpHandle, type TcpHandles } from './tcp-handles.ts';

/** What the maker of a stream wants to know. */
export interface StreamLife {
  /** There is a connection. */
  opened?(): void;
  /** The descriptor is closed. Called once, before the sink hears of it. */
  closed(): void;
}

/** A {@link ByteStream} straight over a TCP handle: what {@link socketByteStream} does, at half the cost for a short connection. */
export class HandleStream implements ByteStream, WriterOwner {
  bytesRead = 0;
  private readonly handle: TcpHandle;
  private readonly handles: TcpHandles;
  private readonly life: StreamLife;
  private readonly writer: HandleWriter;
  private sink: ByteSink | undefined;
  private isOpen = false;
  private isReading = false;
  private isPaused = false;
  private peerEnded = false;
  /** How far the end of our own side has come: `shutting` is with libuv, `shut` with the kernel. */
  private sending: 'open' | 'ending' | 'shutting' | 'shut' = 'open';
  private done = false;
  private hasTold = false;
  private error: MeshError | undefined;
  private target: { readonly address: string; readonly port: number } | undefined;

  constructor(handle: TcpHandle, handles: TcpHandles, life: StreamLife) {
    this.handle = handle;
    this.handles = handles;
    this.life = life;
    this.writer = new HandleWriter(handle, handles, this);
    handle.owner = this;
    handle.setNoDelay(true);
  }

  // For whoever watches idle connections

  get bytesWritten(): number {
    return this.writer.bytesWritten;
  }
  get readableEnded(): boolean {
    return this.peerEnded;
  }
  get writableEnded(): boolean {
    return this.sending !== 'open';
  }
  setKeepAlive(on: boolean, ms: number): void {
    if (!this.done) this.handle.setKeepAlive(on, Math.max(1, Math.round(ms / 1000)));
  }

  // Connecting

  /** Connects to an address of IPv4 or IPv6, once. */
  connect(target: { readonly address: string; readonly port: number }, localAddress: string | undefined): void {
    const { handle } = this;
    const { address, port } = target;
    this.target = target;
    const request = this.handles.createConnect();
    request.owner = this;
    request.oncomplete = onConnect;
    let status = localAddress === undefined ? 0 : bind(handle, localAddress);
    if (status === 0)
      status = address.includes(':') ? handle.connect6(request, address, port) : handle.connect(request, address, port);
    if (status !== 0) this.fail(status, 'connect');
  }

  /** There is a connection, or there will be none. */
  connected(status = 0): void {
    if (this.done) return;
    if (status !== 0) {
      this.fail(status, 'connect');
      return;
    }
    this.isOpen = true;
    this.life.opened?.();
    this.sink?.opened?.();
    this.writer.start();
    this.shutWhenSent();
    this.read();
  }

  // The port

  attach(sink: ByteSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    if (this.hasTold) process.nextTick(() => sink.closed(this.error));
    else this.read();
  }

  write(chunk: Uint8Array): boolean {
    if (this.done || this.sending !== 'open' || chunk.length === 0) return true;
    return this.writer.write(chunk);
  }

  writeCopy(chunk: Uint8Array): boolean {
    if (this.done || this.sending !== 'open' || chunk.length === 0) return true;
    return this.writer.writeCopy(chunk);
  }

  end(): void {
    if (this.done || this.sending !== 'open') return;
    this.sending = 'ending';
    this.writer.sendAll();
    this.shutWhenSent();
  }

  reset(error?: MeshError): void {
    if (this.done) return;
    this.close(error ?? new MeshError('aborted', 'connection aborted'), true);
    this.tellClosed();
  }

  pause(): void {
    this.isPaused = true;
    if (!this.isReading || this.done) return;
    this.isReading = false;
    this.handle.readStop();
  }

  resume(): void {
    this.isPaused = false;
    this.read();
  }

  // Reading

  private read(): void {
    if (this.sink === undefined || !this.isOpen || this.isReading || this.isPaused) return;
    if (this.peerEnded || this.done) return;
    const { handle } = this;
    if (handle.onread !== onRead) {
      handle.onread = onRead;
      handle.useUserBuffer(RECEIVED);
    }
    this.isReading = true;
    const status = handle.readStart();
    if (status !== 0) this.fail(status, 'read');
  }

  /** The handle has read into the shared memory. */
  received(): void {
    const length = this.handles.readLength();
    if (length === 0 || this.done) return;
    const sink = this.sink as ByteSink;
    if (length > 0) {
      this.bytesRead += length;
      giveBorrowed(sink, RECEIVED.subarray(0, length));
      return;
    }
    this.isReading = false;
    if (length !== END_OF_STREAM) {
      this.fail(length, 'read');
      return;
    }
    this.peerEnded = true;
    sink.ended();
    this.closeWhenBothEnded();
  }

  // Writing

  writeFailed(status: number): void {
    this.fail(status, 'write');
  }

  emptied(wasFull: boolean): void {
    this.shutWhenSent();
    if (wasFull && this.sending === 'open') this.sink?.drained();
  }

  // Ending

  private shutWhenSent(): void {
    if (this.sending !== 'ending' || !this.isOpen || this.done || !this.writer.isEmpty) return;
    // Both ways are over and all is with the kernel: closing says so as well as shutdown, and once.
    this.sending = this.peerEnded ? 'shut' : 'shutting';
    if (this.peerEnded) {
      this.closeWhenBothEnded();
      return;
    }
    const request = this.handles.createShutdown();
    request.owner = this;
    request.oncomplete = onShut;
    // What may be wrong with the connection is seen by reading.
    if (this.handle.shutdown(request) !== 0) this.afterShut();
  }

  afterShut(): void {
    this.sending = 'shut';
    this.closeWhenBothEnded();
  }

  private closeWhenBothEnded(): void {
    if (this.done || !this.peerEnded || this.sending !== 'shut') return;
    this.close(undefined, false);
    process.nextTick(tellClosed, this);
  }

  /** Never tells at once: the caller may be in the middle of a write. */
  private fail(status: number, call: string): void {
    if (this.done) return;
    const code = getSystemErrorName(status);
    const where = this.target === undefined ? '' : ` ${this.target.address} port ${this.target.port}`;
    const cause = Object.assign(new Error(`${call} ${code}${where}`), { code, errno: status, syscall: call });
    this.close(socketError(cause, this.isOpen), false);
    process.nextTick(tellClosed, this);
  }

  private close(error: MeshError | undefined, abruptly: boolean): void {
    this.done = true;
    this.error = error;
    this.writer.stop();
    // libuv does not reset while its shutdown is under way, and would leave the descriptor open. A connection that is not there
    // yet has nobody to tell, and if the kernel has just finished it, it gets its RST too.
    if (abruptly && this.sending !== 'shutting') this.handle.reset();
    else this.handle.close();
  }

  tellClosed(): void {
    this.hasTold = true;
    this.life.closed();
    this.sink?.closed(this.error);
  }
}

function bind(handle: TcpHandle, address: string): number {
  return address.includes(':') ? handle.bind6(address, 0, 0) : handle.bind(address, 0);
}

// One function for all streams: a closure for each would cost as much as what it does.

function onRead(this: TcpHandle): void {
  (this.owner as HandleStream).received();
}

function onConnect(this: Request, status: number): void {
  (this.owner as HandleStream).connected(status);
}

function onShut(this: Request): void {
  (this.owner as HandleStream).afterShut();
}

function tellClosed(stream: HandleStream): void {
  stream.tellClosed();
}
