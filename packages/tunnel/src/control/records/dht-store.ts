import { NotFoundError } from '@libp2p/interface';

/** A key of libp2p's datastores: a path such as `/dht/record/...`. */
interface StoreKey {
  toString(): string;
}

/** How much a server of the DHT keeps for others. */
export interface DhtStoreLimits {
  readonly maxDhtRecords: number;
  readonly maxDhtBytes: number;
}

/** Counts what was not kept or had to go, by reason. */
export type CountDropped = (reason: 'too-many' | 'too-big' | 'provider') => void;

const RECORDS = '/dht/record/';

/**
 * What kad-dht keeps in memory: records, the latest put last. libp2p's own store grows with whatever members put; in this
 * one the record that nobody has put again for longest goes first. Provider entries (who has which content) are not kept, as
 * no member asks for any.
 */
export class DhtStore {
  readonly #limits: DhtStoreLimits;
  readonly #dropped: CountDropped;
  readonly #records = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(limits: DhtStoreLimits, dropped: CountDropped) {
    this.#limits = limits;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#records.size;
  }

  /** Of keys and values together. */
  get bytes(): number {
    return this.#bytes;
  }

  put<Key extends StoreKey>(key: Key, value: Uint8Array): Key {
    const path = key.toString();
    const { maxDhtRecords, maxDhtBytes } = this.#limits;
    if (!path.startsWith(RECORDS)) this.#dropped('provider');
    else if (costOf(path, value) > maxDhtBytes || maxDhtRecords === 0) this.#dropped('too-big');
    else {
      this.#remove(path);
      this.#records.set(path, value);
      this.#bytes += costOf(path, value);
      this.#makeRoom();
    }
    return key;
  }

  get(key: StoreKey): Uint8Array {
    const value = this.#records.get(key.toString());
    if (value === undefined) throw new NotFoundError('no such record');
    return value;
  }

  has(key: StoreKey): boolean {
    return this.#records.has(key.toString());
  }

  delete(key: StoreKey): void {
    this.#remove(key.toString());
  }

  /** Only ever asked for providers. */
  query(): [] {
    return [];
  }

  #makeRoom(): void {
    const { maxDhtRecords, maxDhtBytes } = this.#limits;
    for (const path of this.#records.keys()) {
      if (this.#records.size <= maxDhtRecords && this.#bytes <= maxDhtBytes) return;
      this.#remove(path);
      this.#dropped('too-many');
    }
  }

  #remove(path: string): void {
    const value = this.#records.get(path);
    if (value === undefined) return;
    this.#records.delete(path);
    this.#bytes -= costOf(path, value);
  }
}

function costOf(path: string, value: Uint8Array): number {
  return path.length + value.byteLength;
}
