import { type DatagramSink, type Datagrams, MeshError } from '@edgemesh/core';

/** Bounds of an in-memory datagram pair. */
export interface DatagramPairOptions {
  /** Datagrams that may wait for the reader in one direction; more are dropped. Default 256. */
  readonly queueLength?: number;
}

/** Two ends of one in-memory datagram channel. */
export interface DatagramPair {
  readonly a: Datagrams;
  readonly b: Datagrams;
}

const MAX_DATAGRAM_BYTES = 65_507;

class MemoryDatagrams implements Datagrams {
  peer: MemoryDatagrams | undefined;
  private readonly queueLength: number;
  private sink: DatagramSink | undefined;
  private inbox: Uint8Array[] = [];
  private scheduled = false;
  private done = false;
  private farClosed: { error: MeshError | undefined } | undefined;
  private owesClosed: { error: MeshError | undefined } | undefined;

  constructor(queueLength: number) {
    this.queueLength = queueLength;
  }

  attach(sink: DatagramSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    this.schedule();
  }

  send(payload: Uint8Array): boolean {
    const peer = this.peer as MemoryDatagrams;
    if (this.done || peer.done || payload.length > MAX_DATAGRAM_BYTES) return false;
    if (peer.inbox.length >= this.queueLength) return false;
    peer.inbox.push(payload);
    peer.schedule();
    return true;
  }

  close(error?: MeshError): void {
    if (this.done) return;
    const peer = this.peer as MemoryDatagrams;
    this.finish(error);
    if (peer.done) return;
    peer.farClosed = { error: error && new MeshError(error.code, error.message, { retryable: error.retryable }) };
    peer.schedule();
  }

  private finish(error: MeshError | undefined): void {
    this.done = true;
    this.inbox = [];
    if (this.sink) this.sink.closed(error);
    else this.owesClosed = { error };
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      this.pump();
    });
  }

  private pump(): void {
    if (this.sink === undefined) return;
    if (this.owesClosed) {
      const { error } = this.owesClosed;
      this.owesClosed = undefined;
      this.sink.closed(error);
    }
    while (this.inbox.length > 0) this.sink.message(this.inbox.shift() as Uint8Array);
    if (this.farClosed && !this.done) this.finish(this.farClosed.error);
  }
}

/** Makes a pair of connected in-memory datagram channels: borders kept, nothing lost but what the queue cannot hold. */
export function createDatagramPair(options: DatagramPairOptions = {}): DatagramPair {
  const a = new MemoryDatagrams(options.queueLength ?? 256);
  const b = new MemoryDatagrams(options.queueLength ?? 256);
  a.peer = b;
  b.peer = a;
  return { a, b };
}
