import { detach, messageOf } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { NodeRecord } from '../../types.ts';
import { decodeJson, encodeJson, fromBase64, METHODS, toBase64 } from '../messages.ts';
import { isNodeName, type SignedRecord } from './codec.ts';
import { dropOldest, type LookupDeps, Lookups, MAX_NAMES } from './lookups.ts';
import type { StoredRecord } from './store.ts';

export interface DirectoryDeps extends LookupDeps {
  readonly serveRelay: boolean;
}

/** How many records one answer of `records.list` carries. */
const PAGE_RECORDS = 32;
/** Records in one push; a push answers a change, so it is nearly always one. */
const MAX_PUSHED = 32;

/** Node records over the control plane: publishing, telling whoever asked before, and looking up. */
export class Directory {
  readonly #deps: DirectoryDeps;
  /** Node name -> peers that asked for it; they hear about changes. */
  readonly #subscribers = new Map<string, Set<string>>();
  readonly #lookups: Lookups;

  constructor(deps: DirectoryDeps) {
    this.#deps = deps;
    const { rpc } = deps;
    rpc.handle(METHODS.push, (caller, body) => this.#onPush(caller.peerId, body));
    rpc.handle(METHODS.get, (caller, body) => Promise.resolve(this.#onGet(caller.peerId, body)));
    if (deps.serveRelay) rpc.handle(METHODS.list, (_caller, body) => Promise.resolve(this.#onList(body)));
    this.#lookups = new Lookups(deps);
  }

  /** Sends own record to every greeted peer; failures end with the connection and its next greeting. */
  announce(signed: SignedRecord): void {
    this.#push(this.#deps.neighbours.peers(), signed);
  }

  /** The freshest record: a confirmed one at once, else what relays say within the lookup time, else the cached one. */
  resolve(nodeName: string, signal: AbortSignal): Promise<NodeRecord | undefined> {
    return this.#lookups.resolve(nodeName, signal);
  }

  /** Asks the connected relays for the record of a key; true when one had it. Never rejects. */
  async findPeer(peerId: string, signal: AbortSignal): Promise<boolean> {
    const { neighbours, rpc, store, log } = this.#deps;
    const ask = async (relay: string) => {
      const answer = decodeJson(await rpc.request(relay, METHODS.get, encodeJson({ peer: peerId }), signal));
      if (answer.record === undefined) throw new TunnelError('refused', 'the relay does not know that key');
      await store.offer(fromBase64(answer.record));
    };
    try {
      await Promise.any(neighbours.relays().map(ask));
      return true;
    } catch {
      log.debug('no relay knows the record of a key', { peerId });
      return false;
    }
  }

  /** Fetches all records of a relay; relays do this with each other so that each can answer for all. */
  async copyFrom(relay: string, signal: AbortSignal): Promise<void> {
    let after = '';
    for (;;) {
      const page = decodeJson(await this.#deps.rpc.request(relay, METHODS.list, encodeJson({ after }), signal));
      const records = Array.isArray(page.records) ? page.records : [];
      for (const record of records) await this.#offerQuietly(fromBase64(record), relay);
      if (typeof page.next !== 'string' || page.next <= after) return;
      after = page.next;
    }
  }

  async #onPush(from: string, body: Uint8Array): Promise<Uint8Array> {
    const { records } = decodeJson(body);
    if (!Array.isArray(records) || records.length > MAX_PUSHED) throw new TunnelError('protocol', 'malformed push');
    for (const record of records) await this.take(fromBase64(record), from);
    return encodeJson({});
  }

  /** Takes a record that a peer brought; a relay passes news on to other relays and to whoever asked for it. */
  async take(envelope: Uint8Array, from: string): Promise<void> {
    const { store, serveRelay, neighbours } = this.#deps;
    const { acceptance, signed } = await store.offer(envelope, (record) => this.#mayBring(from, record));
    if (acceptance !== 'new' || !serveRelay) return;
    const interested = new Set([...(this.#subscribers.get(signed.record.nodeName) ?? []), ...neighbours.relays()]);
    interested.delete(from);
    interested.delete(signed.record.peerId);
    this.#push([...interested], signed);
  }

  /** Agents speak for themselves; only relays pass on the records of others. */
  #mayBring(from: string, record: NodeRecord): boolean {
    if (record.peerId === from || this.#deps.neighbours.relays().includes(from)) return true;
    return this.#deps.store.ofPeer(from)?.record.capabilities.includes('relay') ?? false;
  }

  #push(peers: readonly string[], signed: SignedRecord): void {
    const body = encodeJson({ records: [toBase64(signed.envelope)] });
    for (const peer of peers) {
      const sent = this.#deps.rpc.request(peer, METHODS.push, body, this.#deps.signal).catch((error: unknown) => {
        this.#subscribers.get(signed.record.nodeName)?.delete(peer);
        this.#deps.log.debug('record push failed', { peer, node: signed.record.nodeName, error: messageOf(error) });
      });
      detach('record push', this.#deps.log, sent);
    }
  }

  #onGet(from: string, body: Uint8Array): Uint8Array {
    const { name, peer } = decodeJson(body);
    if (typeof peer === 'string') return encodeRecordAnswer(this.#deps.store.ofPeer(peer));
    if (typeof name !== 'string' || !isNodeName(name)) throw new TunnelError('protocol', 'not a node name');
    this.#subscribe(name, from);
    return encodeRecordAnswer(this.#deps.store.get(name));
  }

  #subscribe(nodeName: string, peer: string): void {
    const peers = this.#subscribers.get(nodeName) ?? new Set();
    peers.delete(peer);
    peers.add(peer);
    dropOldest(peers, this.#deps.tunables.maxSubscribersPerRecord);
    this.#subscribers.delete(nodeName);
    this.#subscribers.set(nodeName, peers);
    dropOldest(this.#subscribers, MAX_NAMES);
  }

  #onList(body: Uint8Array): Uint8Array {
    const after = String(decodeJson(body).after ?? '');
    const rest = this.#deps.store.all().filter(({ record }) => record.nodeName > after);
    rest.sort((a, b) => (a.record.nodeName < b.record.nodeName ? -1 : 1));
    const page: SignedRecord[] = [];
    let room = this.#deps.tunables.maxRpcBytes - 1_024;
    for (const stored of rest.slice(0, PAGE_RECORDS)) {
      room -= Math.ceil(stored.envelope.length / 3) * 4 + 3;
      if (room < 0) break;
      page.push(stored);
    }
    const next = page.length < rest.length ? page.at(-1)?.record.nodeName : undefined;
    return encodeJson({ records: page.map(({ envelope }) => toBase64(envelope)), next });
  }

  async #offerQuietly(envelope: Uint8Array, from: string): Promise<void> {
    try {
      await this.take(envelope, from);
    } catch (error) {
      this.#deps.log.warn('a relay hands out an unusable record', { relay: from, error: messageOf(error) });
    }
  }
}

function encodeRecordAnswer(stored: StoredRecord | undefined): Uint8Array {
  return encodeJson(stored === undefined ? {} : { record: toBase64(stored.envelope) });
}
