import {
  type ByteSink,
  type ByteStream,
  giveBorrowed,
  MeshError,
  splice,
  spliceDatagrams,
  writeBorrowed,
} from '@edgemesh/core';
import type { InboundHandler, InboundRequest } from '../types.ts';
import type { MuxDatagrams } from './datagrams.ts';
import type { MuxStream } from './stream.ts';

/** Passes everything on, and accepts the peer's stream once the local one is open. */
class AcceptingSink implements ByteSink {
  private readonly sink: ByteSink;
  private readonly remote: MuxStream;

  constructor(sink: ByteSink, remote: MuxStream) {
    this.sink = sink;
    this.remote = remote;
  }

  opened(): void {
    this.remote.accept();
    this.sink.opened?.();
  }
  data(chunk: Uint8Array): void {
    this.sink.data(chunk);
  }
  borrowed(chunk: Uint8Array): void {
    giveBorrowed(this.sink, chunk);
  }
  ended(): void {
    this.sink.ended();
  }
  drained(): void {
    this.sink.drained();
  }
  closed(error?: MeshError): void {
    this.sink.closed(error);
  }
}

/** Joins a stream that the peer opened with what the handler gives, or refuses it with the handler's error. */
export function serveStream(remote: MuxStream, request: InboundRequest, inbound: InboundHandler): void {
  const local = decide(() => inbound.openStream(request));
  if (local instanceof MeshError) {
    remote.reset(local);
    return;
  }
  const tap: ByteStream = {
    attach: (sink) => local.attach(new AcceptingSink(sink, remote)),
    write: (chunk) => local.write(chunk),
    writeCopy: (chunk) => writeBorrowed(local, chunk),
    end: () => local.end(),
    reset: (error) => local.reset(error),
    pause: () => local.pause(),
    resume: () => local.resume(),
  };
  splice(remote, tap);
}

/** The same for a datagram channel; it is accepted at once, for there is no handshake behind it. */
export function serveDatagrams(remote: MuxDatagrams, request: InboundRequest, inbound: InboundHandler): void {
  const local = decide(() => inbound.openDatagrams(request));
  if (local instanceof MeshError) {
    remote.close(local);
    return;
  }
  remote.accept();
  spliceDatagrams(remote, local);
}

/** A handler that throws refuses this one stream; it must not take the session of a peer with it. */
function decide<T>(ask: () => T | MeshError): T | MeshError {
  try {
    return ask();
  } catch (error) {
    if (error instanceof MeshError) return error;
    return new MeshError('unreachable', 'the node failed to open the target', { cause: error, retryable: true });
  }
}
