import type { NodeRecord } from '../../types.ts';
import type { DhtRecords } from '../records/dht-records.ts';
import type { Directory } from '../records/directory.ts';
import type { RecordStore } from '../records/store.ts';
import type { Relays } from './relays.ts';

/** Relays of one node that are looked at. */
const MAX_PER_NODE = 2;
/** Time for finding one, in milliseconds. */
const FIND_TIMEOUT_MS = 5_000;

export interface RelayFinderDeps {
  readonly relays: Relays;
  readonly store: RecordStore;
  readonly directory: Pick<Directory, 'findPeer'>;
  readonly dht: DhtRecords | undefined;
  readonly ownPeerId: string;
  readonly signal: AbortSignal;
}

/** Connects to the relays of nodes that have none in common with us. */
export class RelayFinder {
  readonly #deps: RelayFinderDeps;
  readonly #running = new Set<string>();

  constructor(deps: RelayFinderDeps) {
    this.#deps = deps;
  }

  /** Looks where this node can be met; once at a time for each relay. */
  async approach(node: NodeRecord): Promise<void> {
    const { relays, ownPeerId } = this.#deps;
    const known = relays.states().map(({ peerId }) => peerId);
    if (node.peerId === ownPeerId || node.relays.some((relay) => known.includes(relay))) return;
    await Promise.all(node.relays.slice(0, MAX_PER_NODE).map((relay) => this.#learn(relay)));
  }

  async #learn(peerId: string): Promise<void> {
    if (this.#running.has(peerId)) return;
    this.#running.add(peerId);
    try {
      const relay = await this.#recordOf(peerId);
      if (relay === undefined || !relay.capabilities.includes('relay')) return;
      const addresses = [...relay.publicAddresses, ...relay.lanAddresses];
      if (addresses.length > 0) this.#deps.relays.learn(peerId, { nodeName: relay.nodeName, addresses });
    } finally {
      this.#running.delete(peerId);
    }
  }

  async #recordOf(peerId: string): Promise<NodeRecord | undefined> {
    const { store, directory, dht } = this.#deps;
    if (store.ofPeer(peerId) === undefined) {
      const signal = AbortSignal.any([this.#deps.signal, AbortSignal.timeout(FIND_TIMEOUT_MS)]);
      if (!(await directory.findPeer(peerId, signal))) await dht?.findPeer(peerId, signal);
    }
    return store.ofPeer(peerId)?.record;
  }
}
