import { slabFor, type WriteSlab } from '@edgemesh/core';
import { PROXY_DEFAULTS } from '../options.ts';
import { flushLater, type Gathering } from './gather.ts';
import { FULL_WRITE_BYTES } from './memory.ts';
import type { TcpHandle, TcpHandles, WriteRequest } from './tcp-handles.ts';

/** What a writer tells. */
export interface WriterOwner {
  /** The kernel has refused; nothing is written any more. */
  writeFailed(status: number): void;
  /** The kernel has taken all that had to wait. `wasFull`: somebody waits for that. */
  emptied(wasFull: boolean): void;
}

/** A request of a write that the kernel took at once can be used for the next one. */
let spareRequest: WriteRequest | undefined;

/**
 * The writing side of a handle. What is written in one turn of the event loop leaves in one system call; small borrowed bytes wait in
 * memory that all streams share. In order: what the kernel has not taken yet, the queue, what was copied in this turn.
 */
export class HandleWriter implements Gathering {
  /** Bytes given to the kernel, or to libuv for it. */
  bytesWritten = 0;
  private readonly handle: TcpHandle;
  private readonly handles: TcpHandles;
  private readonly owner: WriterOwner;
  private state: 'waiting' | 'open' | 'stopped' = 'waiting';
  /** Bytes that are queued, or that the kernel has not taken yet. */
  private waiting = 0;
  private wasFull = false;
  private request: WriteRequest | undefined;
  private requestBytes = 0;
  private queue: Uint8Array[] = [];
  // slab.memory[from, to) was copied in this turn
  private slab: WriteSlab | undefined;
  private from = 0;
  private to = 0;
  private willFlush = false;

  constructor(handle: TcpHandle, handles: TcpHandles, owner: WriterOwner) {
    this.handle = handle;
    this.handles = handles;
    this.owner = owner;
  }

  get isEmpty(): boolean {
    return this.waiting === 0 && this.slab === undefined;
  }

  /** There is a connection. */
  start(): void {
    if (this.state !== 'waiting') return;
    this.state = 'open';
    this.sendQueue();
    this.tellEmptied();
  }

  /** Drops what waits. */
  stop(): void {
    this.state = 'stopped';
    this.queue = [];
    this.slab?.release();
    this.slab = undefined;
  }

  /** @returns false when the owner had better wait until it is {@link WriterOwner.emptied} */
  write(chunk: Uint8Array): boolean {
    this.sendGathered();
    this.waiting += chunk.length;
    const isFirst = this.queue.push(chunk) === 1;
    if (this.waiting >= FULL_WRITE_BYTES) this.sendQueue();
    else if (isFirst) process.nextTick(sendQueue, this);
    return this.hasRoom();
  }

  /** The same for borrowed bytes. */
  writeCopy(chunk: Uint8Array): boolean {
    // What a slow reader leaves behind has memory of its own, so that the shared memory is soon free again.
    if (this.waiting > 0 || this.state !== 'open' || chunk.length > FULL_WRITE_BYTES)
      return this.write(Buffer.from(chunk));
    this.gather(chunk);
    if (this.to - this.from < FULL_WRITE_BYTES) return true;
    this.sendGathered();
    return this.hasRoom();
  }

  /** Sends what can be sent now. */
  sendAll(): void {
    this.sendGathered();
    this.sendQueue();
  }

  /** The turn is over. */
  flush(): void {
    this.willFlush = false;
    this.sendGathered();
  }

  sendQueue(): void {
    const { queue } = this;
    if (queue.length === 0 || this.request !== undefined || this.state !== 'open') return;
    this.queue = [];
    this.give(queue.length === 1 ? (queue[0] as Uint8Array) : queue, this.waiting, undefined);
  }

  /** The kernel has taken what had to wait, or never will. */
  afterWrite(status: number): void {
    if (this.state !== 'open') return;
    this.request = undefined;
    this.waiting -= this.requestBytes;
    if (status !== 0) {
      this.fail(status);
      return;
    }
    this.sendQueue();
    this.tellEmptied();
  }

  private tellEmptied(): void {
    if (this.waiting > 0 || this.state !== 'open') return;
    const { wasFull } = this;
    this.wasFull = false;
    this.owner.emptied(wasFull);
  }

  private hasRoom(): boolean {
    if (this.waiting < PROXY_DEFAULTS.socketBufferedBytes) return true;
    this.wasFull = true;
    return false;
  }

  private gather(chunk: Uint8Array): void {
    const slab = slabFor(chunk.length);
    if (this.slab !== slab || this.to !== slab.used) {
      // Another stream's bytes, or the end of the memory, came in between.
      this.sendGathered();
      slab.hold();
      this.slab = slab;
      this.from = slab.used;
    }
    slab.memory.set(chunk, slab.used);
    slab.used += chunk.length;
    this.to = slab.used;
    if (this.willFlush) return;
    this.willFlush = true;
    flushLater(this);
  }

  private sendGathered(): void {
    const { slab } = this;
    if (slab === undefined) return;
    this.slab = undefined;
    const bytes = slab.memory.subarray(this.from, this.to);
    this.waiting += bytes.length;
    if (this.request === undefined) {
      this.give(bytes, bytes.length, slab.release);
      return;
    }
    // The first part of this turn's bytes was more than the kernel wanted.
    this.queue.push(Buffer.from(bytes));
    slab.release();
  }

  private give(bytes: Uint8Array | readonly Uint8Array[], length: number, release: (() => void) | undefined): void {
    const { handle, handles } = this;
    const request = spareRequest ?? handles.createWrite();
    spareRequest = undefined;
    const status =
      bytes instanceof Uint8Array ? handle.writeBuffer(request, bytes) : handle.writev(request, bytes, true);
    if (status !== 0) {
      release?.();
      this.fail(status);
      return;
    }
    this.bytesWritten += length;
    if (!handles.writeWaits()) {
      spareRequest = request;
      this.waiting -= length;
      release?.();
      return;
    }
    request.owner = this;
    request.retained = bytes;
    request.release = release;
    request.oncomplete = onWritten;
    this.request = request;
    this.requestBytes = length;
  }

  private fail(status: number): void {
    this.stop();
    this.owner.writeFailed(status);
  }
}

// One function for all: a closure for each write would cost as much as what it does.

function onWritten(this: WriteRequest, status: number): void {
  this.release?.();
  (this.owner as HandleWriter).afterWrite(status);
}

function sendQueue(writer: HandleWriter): void {
  writer.sendQueue();
}
