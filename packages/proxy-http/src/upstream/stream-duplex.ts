import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type ByteSink, type ByteStream, MeshError } from '@edgemesh/core';
import { readSocket } from '../sockets/read-socket.ts';

/** Bytes that the duplex takes ahead in each direction before it holds the other side back. */
const DUPLEX_BUFFERED_BYTES = 65_536;

/** A Node duplex over a {@link ByteStream}, for node:tls and node:http2; see {@link byteStreamToDuplex}. */
class StreamDuplex extends Duplex {
  private readonly stream: ByteStream;
  private waitingWrite: ((error?: Error | null) => void) | undefined;
  private streamClosed = false;

  constructor(stream: ByteStream, onOpened: (() => void) | undefined) {
    super({ allowHalfOpen: true, highWaterMark: DUPLEX_BUFFERED_BYTES });
    this.stream = stream;
    stream.attach({
      opened: () => onOpened?.(),
      data: (chunk) => {
        if (!this.push(chunk)) stream.pause();
      },
      ended: () => void this.push(null),
      drained: () => this.releaseWrite(null),
      closed: (error) => this.onStreamClosed(error),
    });
  }

  // From Node to the stream.

  override _read(): void {
    if (!this.streamClosed) this.stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.streamClosed) done(new MeshError('reset', 'the stream is closed'));
    else if (this.stream.write(chunk)) done();
    else this.waitingWrite = done;
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: (error?: Error | null) => void): void {
    this._write(
      chunks.length === 1 ? (chunks[0]?.chunk as Buffer) : Buffer.concat(chunks.map((c) => c.chunk)),
      'binary',
      done,
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    this.stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.streamClosed) {
      this.streamClosed = true;
      this.stream.reset(error instanceof MeshError ? error : undefined);
    }
    this.releaseWrite(error);
    done(error);
  }

  // From the stream to Node.

  private onStreamClosed(error: MeshError | undefined): void {
    if (this.streamClosed) return;
    this.streamClosed = true;
    this.releaseWrite(error ?? null);
    if (error !== undefined) this.destroy(error);
    else if (!this.readableEnded) this.push(null);
  }

  private releaseWrite(error: Error | null): void {
    const { waitingWrite } = this;
    this.waitingWrite = undefined;
    waitingWrite?.(error);
  }
}

/**
 * A Node duplex over any byte stream: half-close both ways, backpressure both ways, reset and errors as destroy. For what
 * insists on Node streams; costs an event and a queue per chunk.
 */
export function byteStreamToDuplex(stream: ByteStream, onOpened?: () => void): Duplex {
  return new StreamDuplex(stream, onOpened);
}

/**
 * A byte stream over a Node duplex that is (or will be) connected, such as a TLS socket. `readyEvent` is the event after
 * which bytes flow.
 */
export function duplexToByteStream(duplex: Duplex, readyEvent: string): ByteStream {
  let sink: ByteSink | undefined;
  let failure: MeshError | undefined;
  let done = false;
  const finish = (error: MeshError | undefined) => {
    if (done) return;
    done = true;
    sink?.closed(error);
  };
  duplex.on('error', (cause) => {
    failure ??= cause instanceof MeshError ? cause : new MeshError('protocol', cause.message, { cause });
  });
  duplex.once('close', () => {
    const orderly = duplex.readableEnded && duplex.writableFinished;
    finish(failure ?? (orderly ? undefined : new MeshError('reset', 'closed before its end')));
  });
  return {
    attach(given) {
      sink = given;
      duplex.once(readyEvent, () => !done && given.opened?.());
      const onData = (chunk: Uint8Array) => {
        if (!done) given.data(chunk);
      };
      if (duplex instanceof Socket) readSocket(duplex, onData);
      else duplex.on('data', onData);
      duplex.once('end', () => !done && given.ended());
      duplex.on('drain', () => !done && given.drained());
    },
    write: (chunk) => done || duplex.writableEnded || duplex.write(chunk),
    end() {
      if (!done) duplex.end();
    },
    reset(error) {
      if (done) return;
      failure = error ?? new MeshError('aborted', 'aborted');
      // So that the far side learns that this is no orderly end. TLS has no reset of its own.
      if (duplex instanceof Socket && !('encrypted' in duplex)) duplex.resetAndDestroy();
      else duplex.destroy();
      finish(failure);
    },
    pause: () => void duplex.pause(),
    resume() {
      if (!done) duplex.resume();
    },
  };
}
