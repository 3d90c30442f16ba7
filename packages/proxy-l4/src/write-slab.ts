import type { Socket } from 'node:net';

/** Memory that small writes of many sockets share. Fits a processor's second-level cache. */
const SLAB_BYTES = 262_144;
/** Emptied slabs kept for the next burst; a node that is busy again needs them at once. */
const MAX_SPARE_SLABS = 8;

/**
 * Memory in which bytes wait for the end of the turn of the event loop, and for the kernel. It is used again once every write
 * from it is done: no allocation per write, and so nothing to collect.
 */
export class WriteSlab {
  readonly memory = Buffer.allocUnsafeSlow(SLAB_BYTES);
  used = 0;
  /** Writes from this memory that are gathered or on their way. */
  private pending = 0;

  get room(): number {
    return SLAB_BYTES - this.used;
  }

  /** A stream begins to gather bytes here. */
  hold(): void {
    this.pending++;
  }

  /** Bytes gathered here were written, or dropped. */
  readonly release = (): void => {
    if (--this.pending > 0) return;
    this.used = 0;
    if (this !== current && spare.length < MAX_SPARE_SLABS) spare.push(this);
  };
}

let current: WriteSlab | undefined;
const spare: WriteSlab[] = [];

/** A slab with room for `bytes`, at most its size. */
export function slabFor(bytes: number): WriteSlab {
  if (current !== undefined && current.room >= bytes) return current;
  current = spare.pop() ?? new WriteSlab();
  return current;
}

/** What waits for the end of a turn. */
export interface Gathering {
  flush(): void;
}

let gathering: Gathering[] = [];

function flushAll(): void {
  const streams = gathering;
  gathering = [];
  for (const stream of streams) stream.flush();
}

/** Calls `flush` when all sockets that are readable now have been read. */
export function flushLater(stream: Gathering): void {
  if (gathering.length === 0) setImmediate(flushAll);
  gathering.push(stream);
}

/** One write of gathered bytes; false when the socket says stop. */
export function writeSlab(socket: Socket, slab: WriteSlab, from: number, to: number): boolean {
  return socket.write(slab.memory.subarray(from, to), slab.release);
}
