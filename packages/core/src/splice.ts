import { MeshError } from './errors.ts';
import { type ByteSink, type ByteStream, type DatagramSink, type Datagrams, writeBorrowed } from './stream.ts';

/** How a splice of two byte streams went. */
export interface SpliceResult {
  /** Bytes that came from `a` and were handed to `b`. */
  readonly bytesAtoB: number;
  /** Bytes that came from `b` and were handed to `a`. */
  readonly bytesBtoA: number;
  /** Absent: both directions ended in order. Else the first error of either stream. */
  readonly error?: MeshError;
  /** The stream that failed first, where one did. */
  readonly failed?: 'a' | 'b';
}

/** How a splice of two datagram channels went. Dropped datagrams are not counted among the delivered ones. */
export interface DatagramSpliceResult {
  readonly datagramsAtoB: number;
  readonly datagramsBtoA: number;
  readonly bytesAtoB: number;
  readonly bytesBtoA: number;
  /** Datagrams that the other channel did not take. */
  readonly dropped: number;
  readonly error?: MeshError;
  /** The channel that failed first, where one did. */
  readonly failed?: 'a' | 'b';
}

/** One direction of a splice: the sink of `from`, writing to `to`. */
class Half implements ByteSink {
  bytes = 0;
  isClosed = false;
  private hasEnded = false;
  private other: Half | undefined;
  private readonly from: ByteStream;
  private readonly to: ByteStream;
  private readonly onClosed: (half: Half, error: MeshError | undefined) => void;

  constructor(from: ByteStream, to: ByteStream, onClosed: (half: Half, error: MeshError | undefined) => void) {
    this.from = from;
    this.to = to;
    this.onClosed = onClosed;
  }

  join(other: Half): void {
    this.other = other;
  }

  data(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (!this.to.write(chunk)) this.from.pause();
  }

  borrowed(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (!writeBorrowed(this.to, chunk)) this.from.pause();
  }

  ended(): void {
    this.hasEnded = true;
    this.to.end();
  }

  drained(): void {
    this.to.resume();
  }

  closed(error?: MeshError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.onClosed(this, error);
    const other = this.other as Half;
    if (other.isClosed) return;
    if (error !== undefined) {
      this.to.reset(error);
      return;
    }
    if (!this.hasEnded) this.to.end();
    // A stream that closed in order before its peer ended can take no more: what the peer still sends has no reader.
    if (!other.hasEnded) this.to.reset(new MeshError('aborted', 'the other stream of the splice has closed'));
    // Else the peer may be paused with its last bytes taken already; let it run to its own close.
    else this.to.resume();
  }
}

/**
 * Pipes two streams into each other until both have closed: backpressure each way, independent half-close, and the error of
 * one resets the other. Attaches to both at once. `onDone` runs exactly once, after the second stream has closed.
 * Nothing is allocated per chunk.
 */
export function splice(a: ByteStream, b: ByteStream, onDone?: (result: SpliceResult) => void): void {
  let firstError: MeshError | undefined;
  let failed: 'a' | 'b' | undefined;
  const onClosed = (half: Half, error: MeshError | undefined) => {
    if (error !== undefined && firstError === undefined) {
      firstError = error;
      failed = half === fromA ? 'a' : 'b';
    }
    if (!fromA.isClosed || !fromB.isClosed) return;
    onDone?.({
      bytesAtoB: fromA.bytes,
      bytesBtoA: fromB.bytes,
      ...(firstError && { error: firstError }),
      ...(failed && { failed }),
    });
  };
  const fromA = new Half(a, b, onClosed);
  const fromB = new Half(b, a, onClosed);
  fromA.join(fromB);
  fromB.join(fromA);
  a.attach(fromA);
  b.attach(fromB);
}

/** One direction of a datagram splice. */
class DatagramHalf implements DatagramSink {
  datagrams = 0;
  bytes = 0;
  dropped = 0;
  isClosed = false;
  private readonly to: Datagrams;
  private readonly onClosed: (half: DatagramHalf, error: MeshError | undefined) => void;

  constructor(to: Datagrams, onClosed: (half: DatagramHalf, error: MeshError | undefined) => void) {
    this.to = to;
    this.onClosed = onClosed;
  }

  message(payload: Uint8Array): void {
    const length = payload.length;
    if (this.to.send(payload)) {
      this.datagrams++;
      this.bytes += length;
    } else this.dropped++;
  }

  closed(error?: MeshError): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.onClosed(this, error);
    this.to.close(error);
  }
}

/** Passes datagrams both ways, borders kept, until either channel closes; then closes the other with the same error. */
export function spliceDatagrams(a: Datagrams, b: Datagrams, onDone?: (result: DatagramSpliceResult) => void): void {
  let firstError: MeshError | undefined;
  let failed: 'a' | 'b' | undefined;
  const onClosed = (half: DatagramHalf, error: MeshError | undefined) => {
    if (error !== undefined && firstError === undefined) {
      firstError = error;
      failed = half === fromA ? 'a' : 'b';
    }
    if (!fromA.isClosed || !fromB.isClosed) return;
    onDone?.({
      datagramsAtoB: fromA.datagrams,
      datagramsBtoA: fromB.datagrams,
      bytesAtoB: fromA.bytes,
      bytesBtoA: fromB.bytes,
      dropped: fromA.dropped + fromB.dropped,
      ...(firstError && { error: firstError }),
      ...(failed && { failed }),
    });
  };
  const fromA = new DatagramHalf(b, onClosed);
  const fromB = new DatagramHalf(a, onClosed);
  a.attach(fromA);
  b.attach(fromB);
}
