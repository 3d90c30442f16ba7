/** Memory that small writes of many sockets share, in bytes. Fits a processor's second-level cache. */
const SLAB_BYTES = 262_144;
/** Emptied slabs kept for the next burst; a node that is busy again needs them at once. */
const MAX_SPARE_SLABS = 8;

/**
 * Memory in which bytes wait for the end of the turn of the event loop, and for the kernel. It is used again once every write
 * from it is done: no allocation per write, and so nothing to collect.
 */
export class WriteSlab {
  readonly memory = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** Bytes from the start that are taken. */
  used = 0;
  /** Writes from this memory that are gathered or on their way. */
  private pending = 0;

  get room(): number {
    return SLAB_BYTES - this.used;
  }

  /** Somebody begins to put bytes here. */
  hold(): void {
    this.pending++;
  }

  /** These bytes were written, or dropped. To be given to the write as its callback. */
  readonly release = (): void => {
    if (--this.pending > 0) return;
    this.used = 0;
    if (this !== current && spare.length < MAX_SPARE_SLABS) spare.push(this);
  };
}

let current: WriteSlab | undefined;
const spare: WriteSlab[] = [];

/** A slab with room for `bytes`, at most 256 KiB. */
export function slabFor(bytes: number): WriteSlab {
  if (current !== undefined && current.room >= bytes) return current;
  current = spare.pop() ?? new WriteSlab();
  return current;
}

/** The part of a `stream.Writable` that {@link writeThrough} uses. */
export interface WritableEnd {
  readonly writableLength: number;
  write(chunk: Uint8Array, done?: () => void): boolean;
}

/**
 * Writes borrowed bytes to a socket. What a slow reader leaves behind gets memory of its own, so that the shared memory is soon
 * free again. Answers as `write` does.
 */
export function writeThrough(socket: WritableEnd, bytes: Uint8Array): boolean {
  if (socket.writableLength > 0 || bytes.length > SLAB_BYTES) return socket.write(Buffer.from(bytes));
  const slab = slabFor(bytes.length);
  const from = slab.used;
  slab.hold();
  slab.memory.set(bytes, from);
  slab.used += bytes.length;
  return socket.write(slab.memory.subarray(from, slab.used), slab.release);
}
