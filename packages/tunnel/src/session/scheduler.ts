import type { BatchWriter } from './batch.ts';

/** A stream or channel that takes turns at the carrier. */
export interface Sendable {
  /** Kept by the scheduler: in which queue it waits; `held` is passed over. */
  queue: 'none' | 'held' | 'fresh' | 'bulk';
  /** Writes up to `quantum` bytes of data and what control frames it owes; true when it has more to send right now. */
  emit(writer: BatchWriter, quantum: number): boolean;
}

/** Data of one stream per turn: one socket read. */
const QUANTUM_BYTES = 65_536;
/** Turns of fresh streams after which a bulk stream gets one, so that no load of small messages starves it. */
const FRESH_TURNS = 8;

/**
 * Deficit-free round robin with a fast lane: a stream that has just become ready goes before those that used up their turn
 * and still have more. An interactive message therefore waits for at most one turn, not for a bulk stream's queue.
 */
export class Scheduler {
  private readonly fresh: Sendable[] = [];
  private readonly bulk: Sendable[] = [];
  private freshTurns = 0;

  get isEmpty(): boolean {
    return this.fresh.length === 0 && this.bulk.length === 0;
  }

  add(item: Sendable): void {
    if (item.queue !== 'none') return;
    item.queue = 'fresh';
    this.fresh.push(item);
  }

  /** Lets streams write until the batch holds `limit` bytes or nobody has more. */
  fill(writer: BatchWriter, limit: number): void {
    while (writer.bytes < limit && writer.hasRoom) {
      const item = this.next();
      if (item === undefined) return;
      item.queue = 'none';
      if (!item.emit(writer, QUANTUM_BYTES) || item.queue !== 'none') continue;
      item.queue = 'bulk';
      this.bulk.push(item);
    }
  }

  clear(): void {
    for (const item of [...this.fresh, ...this.bulk]) item.queue = 'none';
    this.fresh.length = 0;
    this.bulk.length = 0;
  }

  private next(): Sendable | undefined {
    const bulkFirst = this.bulk.length > 0 && (this.fresh.length === 0 || this.freshTurns >= FRESH_TURNS);
    this.freshTurns = bulkFirst ? 0 : this.freshTurns + 1;
    return bulkFirst ? this.bulk.shift() : this.fresh.shift();
  }
}
