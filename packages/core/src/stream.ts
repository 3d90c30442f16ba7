import type { MeshError } from './errors.ts';

/**
 * What a {@link ByteStream} tells its user. Calls are synchronous and never nested inside a call of the user's own
 * `write`, `end` or `reset` on the same stream, except `closed`, which `reset` may trigger at once.
 */
export interface ByteSink {
  /** The far side accepted the stream. Bytes may be written before; whoever wants to retry elsewhere keeps them until then. */
  opened?(): void;
  /** Bytes arrived. The receiver owns the chunk. Never called while paused or after `ended`. */
  data(chunk: Uint8Array): void;
  /**
   * As `data`, but the memory stays with the caller, who uses it again after the call: whoever keeps bytes copies them. Where it is
   * missing, `data` gets a copy.
   */
  borrowed?(chunk: Uint8Array): void;
  /** The far side has half-closed: no more data will come; writing still works. */
  ended(): void;
  /** `write` returned false before; it may be called again. */
  drained(): void;
  /** Exactly once and last. No error: both directions ended in order. With error: whatever was not yet delivered is lost. */
  closed(error?: MeshError): void;
}

/**
 * A full-duplex byte stream with half-close and backpressure: a TCP socket, or a stream of a tunnel session. Callbacks
 * instead of promises, because a proxy moves one chunk per call and a promise per chunk costs more than the copy.
 */
export interface ByteStream {
  /** Names the sink and starts reading. Called once. */
  attach(sink: ByteSink): void;
  /**
   * Takes ownership of the chunk and sends it. False: the chunk was taken, but wait for `drained` before the next one.
   * After `end` or close the chunk is dropped.
   */
  write(chunk: Uint8Array): boolean;
  /**
   * As `write`, but the chunk stays with the caller, who uses it again after the call. Where it is missing, copy and `write`; see
   * {@link writeBorrowed}.
   */
  writeCopy?(chunk: Uint8Array): boolean;
  /** Half-closes the sending direction after everything written before. */
  end(): void;
  /** Aborts both directions. The sink gets `closed` with this error, or with code `aborted`. Idempotent. */
  reset(error?: MeshError): void;
  /** Stops and restarts `data`. The far side is held back by flow control; at most one window is buffered. */
  pause(): void;
  resume(): void;
}

/** Hands borrowed bytes to a sink. */
export function giveBorrowed(sink: ByteSink, chunk: Uint8Array): void {
  if (sink.borrowed !== undefined) sink.borrowed(chunk);
  else sink.data(Buffer.from(chunk));
}

/** Writes borrowed bytes to a stream. */
export function writeBorrowed(stream: ByteStream, chunk: Uint8Array): boolean {
  return stream.writeCopy !== undefined ? stream.writeCopy(chunk) : stream.write(Buffer.from(chunk));
}

/** What a {@link Datagrams} channel tells its user. */
export interface DatagramSink {
  /** One whole datagram. The receiver owns the payload. */
  message(payload: Uint8Array): void;
  /** Exactly once and last. */
  closed(error?: MeshError): void;
}

/** A channel that keeps datagram borders (0 to 65,507 bytes each), unordered and lossy as UDP is. */
export interface Datagrams {
  attach(sink: DatagramSink): void;
  /** Takes ownership of the payload. False: it was dropped (queue full or channel closed). */
  send(payload: Uint8Array): boolean;
  /**
   * As `send`, but the payload is copied before the call returns: for callers that read into memory of their own and use it
   * again. Where it is missing, copy and `send`.
   */
  sendCopy?(payload: Uint8Array): boolean;
  /** Ends the channel; the sink gets `closed` without error. Idempotent. */
  close(error?: MeshError): void;
}
