import { type ByteSink, type ByteStream, MeshError } from '@edgemesh/core';

/** Bounds and opening of an in-memory stream pair. */
export interface StreamPairOptions {
  /** Bytes that may be on their way in one direction before `write` answers false. Default 65,536. */
  readonly windowBytes?: number;
  /** When false, `opened` is not announced by itself; call {@link StreamPair.open}. Default true. */
  readonly opensByItself?: boolean;
}

/** Two ends of one in-memory stream: what is written to `a` is read from `b`, and the other way round. */
export interface StreamPair {
  readonly a: ByteStream;
  readonly b: ByteStream;
  /** Announces `opened` at `a`, where the pair does not do so by itself. */
  open(): void;
  /** Bytes that were written and not yet delivered, both directions. */
  readonly pendingBytes: number;
}

const DEFAULT_WINDOW_BYTES = 65_536;

class MemoryStream implements ByteStream {
  peer: MemoryStream | undefined;
  canOpen: boolean;
  private readonly windowBytes: number;
  private sink: ByteSink | undefined;
  private inbox: Uint8Array[] = [];
  private inboxBytes = 0;
  private scheduled = false;
  private paused = false;
  private opened = false;
  private blocked = false;
  private hasEnded = false;
  private peerEnded = false;
  private endDelivered = false;
  private done: boolean = false;
  private closeError: MeshError | undefined;
  private mustClose = false;

  constructor(windowBytes: number, canOpen: boolean) {
    this.windowBytes = windowBytes;
    this.canOpen = canOpen;
  }

  get pendingBytes(): number {
    return this.inboxBytes;
  }

  attach(sink: ByteSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    this.schedule();
  }

  write(chunk: Uint8Array): boolean {
    const peer = this.peer as MemoryStream;
    if (this.hasEnded || this.done || chunk.length === 0) return true;
    if (peer.done || peer.mustClose) return true;
    peer.inbox.push(chunk);
    peer.inboxBytes += chunk.length;
    peer.schedule();
    if (peer.inboxBytes < this.windowBytes) return true;
    this.blocked = true;
    return false;
  }

  end(): void {
    if (this.hasEnded || this.done) return;
    this.hasEnded = true;
    const peer = this.peer as MemoryStream;
    peer.peerEnded = true;
    peer.schedule();
    this.schedule();
  }

  reset(error?: MeshError): void {
    if (this.done) return;
    this.finish(error ?? new MeshError('aborted', 'stream aborted'));
    (this.peer as MemoryStream).abortedByPeer(error);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.schedule();
  }

  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      this.pump();
    });
  }

  /** Like a stream of a session: the far side learns the reason; without one it sees a reset. */
  private abortedByPeer(error: MeshError | undefined): void {
    if (this.done || this.mustClose) return;
    const code = error === undefined || error.code === 'aborted' ? 'reset' : error.code;
    this.closeError = new MeshError(code, error?.message ?? 'reset by the far side', {
      retryable: error?.retryable ?? false,
    });
    this.mustClose = true;
    this.inbox = [];
    this.inboxBytes = 0;
    this.schedule();
  }

  private finish(error?: MeshError): void {
    this.done = true;
    this.inbox = [];
    this.inboxBytes = 0;
    this.mustClose = false;
    if (this.sink) this.sink.closed(error);
    else {
      this.closeError = error;
      this.mustClose = true;
    }
  }

  private pump(): void {
    if (this.sink === undefined) return;
    if (this.mustClose) this.finish(this.closeError);
    if (this.done) return;
    if (this.canOpen && !this.opened) {
      this.opened = true;
      this.sink.opened?.();
    }
    this.deliver();
    if (this.peerEnded && !this.endDelivered && this.inbox.length === 0 && !this.isDone()) {
      this.endDelivered = true;
      this.sink.ended();
      (this.peer as MemoryStream).schedule();
    }
    // In order: both sides have ended, and what this side wrote has been taken by the far side.
    const peer = this.peer as MemoryStream;
    if (this.endDelivered && this.hasEnded && !this.isDone() && (peer.endDelivered || peer.done)) this.finish();
  }

  private deliver(): void {
    const peer = this.peer as MemoryStream;
    while (this.inbox.length > 0 && !this.paused && !this.isDone()) {
      const chunk = this.inbox.shift() as Uint8Array;
      this.inboxBytes -= chunk.length;
      (this.sink as ByteSink).data(chunk);
      if (peer.blocked && this.inboxBytes <= this.windowBytes / 2) peer.announceDrained();
    }
  }

  private announceDrained(): void {
    if (this.done || !this.blocked) return;
    this.blocked = false;
    this.sink?.drained();
  }

  private isDone(): boolean {
    return this.done;
  }
}

/** Makes a pair of connected in-memory streams. Delivery is asynchronous (microtasks), in order, and bounded by the window. */
export function createStreamPair(options: StreamPairOptions = {}): StreamPair {
  const windowBytes = options.windowBytes ?? DEFAULT_WINDOW_BYTES;
  const a = new MemoryStream(windowBytes, options.opensByItself ?? true);
  const b = new MemoryStream(windowBytes, true);
  a.peer = b;
  b.peer = a;
  return {
    a,
    b,
    open() {
      a.canOpen = true;
      a.schedule();
    },
    get pendingBytes() {
      return a.pendingBytes + b.pendingBytes;
    },
  };
}
