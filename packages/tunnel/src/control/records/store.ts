import { type Clock, type Logger, messageOf } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { ControlTunables } from '../../options.ts';
import type { NodeRecord } from '../../types.ts';
import type { ControlMetrics } from '../metrics.ts';
import type { JsonFile } from '../state/json-file.ts';
import type { Pins } from '../state/pins.ts';
import { openRecord, type SignedRecord } from './codec.ts';

/** What became of an offered record. */
export type Acceptance = 'new' | 'known' | 'older';

/** The outcome of an offer that was not refused. */
export interface Offered {
  readonly acceptance: Acceptance;
  readonly signed: SignedRecord;
}

export interface StoredRecord extends SignedRecord {
  /** Wall clock of the first sight of this sequence. */
  readonly receivedAt: number;
  /** Monotonic time of the last confirmation by somebody else; undefined while it is only known from disk. */
  readonly confirmedAt: number | undefined;
}

export interface RecordStoreDeps {
  readonly file: JsonFile;
  readonly pins: Pins;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
}

/** Verified records by node name: one per name, as names are pinned; bounded, persisted, expiring. */
export class RecordStore {
  readonly #deps: RecordStoreDeps;
  readonly #byName = new Map<string, StoredRecord>();
  readonly #nameOf = new Map<string, string>();
  readonly #listeners = new Set<(record: SignedRecord) => void>();

  constructor(deps: RecordStoreDeps) {
    this.#deps = deps;
  }

  /** Reads the disk cache; every record is verified again. */
  async load(): Promise<void> {
    const stored = await this.#deps.file.load();
    if (!Array.isArray(stored)) return;
    for (const item of stored.slice(0, this.#deps.tunables.maxRecords)) await this.#loadOne(item);
  }

  async #loadOne(item: unknown): Promise<void> {
    const { envelope, receivedAt } = (item ?? {}) as { envelope?: unknown; receivedAt?: unknown };
    if (typeof envelope !== 'string' || typeof receivedAt !== 'number') return;
    if (this.#expired(receivedAt)) return;
    try {
      const signed = await openRecord(Buffer.from(envelope, 'base64'), this.#deps.tunables.maxRecordBytes);
      const refusal = this.#deps.pins.check(signed.record.nodeName, signed.record.peerId, 'disk');
      if (refusal === undefined) this.#put({ ...signed, receivedAt, confirmedAt: undefined });
    } catch (error) {
      this.#deps.log.warn('a cached node record is not usable', { error: messageOf(error) });
    }
  }

  get(nodeName: string): StoredRecord | undefined {
    const stored = this.#byName.get(nodeName);
    if (stored === undefined || !this.#expired(stored.receivedAt)) return stored;
    this.#remove(stored);
    return undefined;
  }

  ofPeer(peerId: string): StoredRecord | undefined {
    const name = this.#nameOf.get(peerId);
    return name === undefined ? undefined : this.get(name);
  }

  /** Records in memory. */
  get size(): number {
    return this.#byName.size;
  }

  /** All records that have not expired. */
  all(): StoredRecord[] {
    for (const stored of [...this.#byName.values()]) if (this.#expired(stored.receivedAt)) this.#remove(stored);
    return [...this.#byName.values()];
  }

  /** Called for each record that is new or newer than before. */
  onRecord(listener: (record: SignedRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Verifies an offered record and keeps it when it is news. Rejects with TunnelError when it must not be believed. */
  async offer(envelope: Uint8Array, allowed: (record: NodeRecord) => boolean = () => true): Promise<Offered> {
    try {
      const signed = await openRecord(envelope, this.#deps.tunables.maxRecordBytes);
      if (!allowed(signed.record)) throw new TunnelError('refused', 'only a relay passes on the records of others');
      const acceptance = this.#accept(signed);
      this.#deps.metrics.records.with(acceptance).add();
      return { acceptance, signed };
    } catch (error) {
      this.#deps.metrics.records.with(error instanceof TunnelError ? error.code : 'protocol').add();
      throw error;
    }
  }

  #accept(signed: SignedRecord): Acceptance {
    const { record } = signed;
    const refusal = this.#deps.pins.check(record.nodeName, record.peerId, 'record');
    if (refusal !== undefined) throw refusal;
    const known = this.ofPeer(record.peerId);
    if (known !== undefined && known.record.sequence >= record.sequence) {
      if (known.record.sequence > record.sequence) return 'older';
      this.#byName.set(known.record.nodeName, { ...known, confirmedAt: this.#deps.clock.now() });
      return 'known';
    }
    if (known !== undefined && known.record.nodeName !== record.nodeName) this.#remove(known);
    this.publish(signed);
    return 'new';
  }

  /** Stores without further checks: own records, and those that passed them. */
  publish(signed: SignedRecord): void {
    this.#put({ ...signed, receivedAt: this.#deps.clock.wallNow(), confirmedAt: this.#deps.clock.now() });
    this.#save();
    for (const listener of this.#listeners) listener(signed);
  }

  /** Drops what is known of a node, so that its next record is taken whatever its sequence. */
  forget(nodeName: string): void {
    const stored = this.#byName.get(nodeName);
    if (stored !== undefined) this.#remove(stored);
    this.#save();
  }

  #put(stored: StoredRecord): void {
    const { nodeName, peerId } = stored.record;
    this.#byName.delete(nodeName);
    this.#byName.set(nodeName, stored);
    this.#nameOf.set(peerId, nodeName);
    if (this.#byName.size <= this.#deps.tunables.maxRecords) return;
    // insertion order: the first has not changed for longest
    for (const oldest of this.#byName.values()) {
      this.#remove(oldest);
      break;
    }
  }

  #remove(stored: StoredRecord): void {
    this.#byName.delete(stored.record.nodeName);
    if (this.#nameOf.get(stored.record.peerId) === stored.record.nodeName) this.#nameOf.delete(stored.record.peerId);
  }

  /** By first sight here, not by the sequence: clocks of edge devices are wrong too often. */
  #expired(receivedAt: number): boolean {
    return this.#deps.clock.wallNow() - receivedAt > this.#deps.tunables.recordTtlMs;
  }

  #save(): void {
    this.#deps.file.saveSoon(() =>
      this.all().map(({ envelope, receivedAt }) => ({
        envelope: Buffer.from(envelope).toString('base64'),
        receivedAt,
      })),
    );
  }
}

/** Only the record, without its proof. */
export function plainRecords(stored: readonly SignedRecord[]): NodeRecord[] {
  return stored.map(({ record }) => record);
}
