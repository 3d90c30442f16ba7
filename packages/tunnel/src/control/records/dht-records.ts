import { backoffDelay, type Clock, detach, type Logger, messageOf, sleep } from '@edgemesh/core';
import type { Libp2p } from '@libp2p/interface';
import type { KadDHT } from '@libp2p/kad-dht';
import { TunnelError } from '../../errors.ts';
import { openRecord, type SignedRecord } from './codec.ts';
import type { RecordStore } from './store.ts';

/** Where a record is kept in the DHT: under its node name, and under its key for whoever knows that only. */
const NAMESPACES = { name: 'edgemesh-name', peer: 'edgemesh-peer' } as const;
/** A put asks one server after the other, in milliseconds. */
const PUT_TIMEOUT_MS = 20_000;
/** Pauses while no server is there that takes it. */
const PUT_RETRY = { initialMs: 500, maxMs: 60_000 };
/** An answer that is no better than those before does not end a lookup; these many do. */
const ENOUGH_ANSWERS = 2;

export interface DhtRecordsDeps {
  readonly node: Libp2p;
  readonly store: RecordStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Signed node records in the mesh's kad-dht: relays keep them, everybody puts its own and may look for others. */
export class DhtRecords {
  readonly #deps: DhtRecordsDeps;
  readonly #dht: KadDHT;
  /** What is still to be put. */
  #latest: SignedRecord | undefined;
  #isPutting = false;

  constructor(deps: DhtRecordsDeps, dht: KadDHT) {
    this.#deps = deps;
    this.#dht = dht;
  }

  /** Puts our own record under its two keys, until some server has taken it; a newer record replaces one that waits. */
  publish(signed: SignedRecord): void {
    this.#latest = signed;
    if (this.#isPutting) return;
    this.#isPutting = true;
    detach('record to the DHT', this.#deps.log, this.#putLatest());
  }

  async #putLatest(): Promise<void> {
    const { clock, signal } = this.#deps;
    for (let attempt = 0; this.#latest !== undefined && !signal.aborted; attempt++) {
      const { record, envelope } = this.#latest;
      const isTaken = await this.#put(keyOf('peer', record.peerId), envelope);
      if (isTaken && (await this.#put(keyOf('name', record.nodeName), envelope))) {
        if (this.#latest.record === record) this.#latest = undefined;
        attempt = -1;
      } else {
        await sleep(backoffDelay(attempt, PUT_RETRY), clock, signal);
      }
    }
    this.#isPutting = false;
  }

  /** True when at least one server keeps it. */
  async #put(key: Uint8Array, envelope: Uint8Array): Promise<boolean> {
    const signal = AbortSignal.any([this.#deps.signal, AbortSignal.timeout(PUT_TIMEOUT_MS)]);
    let taken = 0;
    try {
      for await (const event of this.#dht.put(key, envelope, { signal })) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') taken++;
      }
    } catch (error) {
      if (!this.#deps.signal.aborted) this.#deps.log.debug('record not put into the DHT', { error: messageOf(error) });
    }
    return taken > 0;
  }

  /** Looks for a node's record and offers what is found to the store; true when something was. Never rejects. */
  findName(nodeName: string, signal: AbortSignal): Promise<boolean> {
    return this.#find(keyOf('name', nodeName), signal);
  }

  /** The same by peer id. */
  findPeer(peerId: string, signal: AbortSignal): Promise<boolean> {
    return this.#find(keyOf('peer', peerId), signal);
  }

  async #find(key: Uint8Array, signal: AbortSignal): Promise<boolean> {
    let found = 0;
    try {
      for await (const event of this.#dht.get(key, { signal: AbortSignal.any([signal, this.#deps.signal]) })) {
        if (event.name !== 'VALUE') continue;
        await this.#deps.store.offer(event.value);
        if (++found >= ENOUGH_ANSWERS) break;
      }
    } catch (error) {
      this.#deps.log.debug('nothing from the DHT', { error: messageOf(error) });
    }
    return found > 0;
  }
}

function keyOf(kind: keyof typeof NAMESPACES, id: string): Uint8Array {
  return new TextEncoder().encode(`/${NAMESPACES[kind]}/${id}`);
}

/** What keeps the DHT to genuine records, and chooses among several: for kad-dht's options. */
export function recordRules(maxRecordBytes: number) {
  const open = async (kind: keyof typeof NAMESPACES, key: Uint8Array, value: Uint8Array) => {
    const { record } = await openRecord(value, maxRecordBytes);
    const id = kind === 'name' ? record.nodeName : record.peerId;
    if (Buffer.compare(keyOf(kind, id), key) !== 0) throw new TunnelError('identity', 'the record of somebody else');
  };
  return {
    validators: {
      [NAMESPACES.name]: (key: Uint8Array, value: Uint8Array) => open('name', key, value),
      [NAMESPACES.peer]: (key: Uint8Array, value: Uint8Array) => open('peer', key, value),
    },
    selectors: { [NAMESPACES.name]: selectNewest, [NAMESPACES.peer]: selectNewest },
  };
}

/** The longest-lived choice that needs no verification twice: the highest sequence number. */
function selectNewest(_key: Uint8Array, values: readonly Uint8Array[]): number {
  let best = 0;
  let sequence = -1;
  for (const [i, value] of values.entries()) {
    const found = /"seq":(\d{1,16})/.exec(Buffer.from(value).toString('latin1'));
    if (Number(found?.[1] ?? -1) <= sequence) continue;
    best = i;
    sequence = Number(found?.[1]);
  }
  return best;
}
