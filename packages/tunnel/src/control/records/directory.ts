import { type Clock, detach, type Logger, messageOf } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { ControlTunables } from '../../options.ts';
import type { NodeRecord } from '../../types.ts';
import { decodeJson, encodeJson, fromBase64, METHODS, toBase64 } from '../messages.ts';
import type { Rpc } from '../rpc.ts';
import { isNodeName, type SignedRecord } from './codec.ts';
import type { RecordStore, StoredRecord } from './store.ts';

/** Whom the directory may ask and tell. */
export interface Neighbours {
  /** Connected relays, nearest first. */
  relays(): readonly string[];
  /** Called when a relay is gained or lost. */
  onRelays(listener: () => void): () => void;
  /** True while some configured relay is not connected yet but may be soon. */
  relaysPending(): boolean;
  /** Every peer with a control connection that has greeted us, relays included. */
  peers(): readonly string[];
  hasGreeted(peerId: string): boolean;
  /** Asks the LAN who is there, where that is possible. */
  askLan(): void;
  /** Looks the name up in the DHT; false when nothing is found or there is no DHT. Never rejects. */
  askDht(nodeName: string, signal: AbortSignal): Promise<boolean>;
}

export interface DirectoryDeps {
  readonly store: RecordStore;
  readonly rpc: Rpc;
  readonly neighbours: Neighbours;
  readonly serveRelay: boolean;
  readonly ownPeerId: string;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** How many records one answer of `records.list` carries. */
const PAGE_RECORDS = 32;
/** Records in one push; a push answers a change, so it is nearly always one. */
const MAX_PUSHED = 32;
/** How long a lookup goes on after the first answer, in milliseconds, for a relay that knows a newer record. */
const SECOND_OPINION_MS = 30;
/** Names in the table of subscribers and of negative answers; the oldest go first. */
const MAX_NAMES = 10_000;

/** Node records over the control plane: publishing, telling whoever asked before, and looking up. */
export class Directory {
  readonly #deps: DirectoryDeps;
  /** Node name -> peers that asked for it; they hear about changes. */
  readonly #subscribers = new Map<string, Set<string>>();
  readonly #unknownUntil = new Map<string, number>();
  readonly #lookups = new Map<string, Promise<NodeRecord | undefined>>();

  constructor(deps: DirectoryDeps) {
    this.#deps = deps;
    const { rpc } = deps;
    rpc.handle(METHODS.push, (caller, body) => this.#onPush(caller.peerId, body));
    rpc.handle(METHODS.get, (caller, body) => Promise.resolve(this.#onGet(caller.peerId, body)));
    if (deps.serveRelay) rpc.handle(METHODS.list, (_caller, body) => Promise.resolve(this.#onList(body)));
    deps.store.onRecord(({ record }) => this.#unknownUntil.delete(record.nodeName));
  }

  /** Sends own record to every greeted peer; failures end with the connection and its next greeting. */
  announce(signed: SignedRecord): void {
    this.#push(this.#deps.neighbours.peers(), signed);
  }

  /** The freshest record: a confirmed one at once, else what relays say within the lookup time, else the cached one. */
  async resolve(nodeName: string, signal: AbortSignal): Promise<NodeRecord | undefined> {
    const { store, clock, tunables } = this.#deps;
    const stored = store.get(nodeName);
    if (stored !== undefined && this.#isFresh(stored)) return stored.record;
    if (stored === undefined && (this.#unknownUntil.get(nodeName) ?? 0) > clock.now()) return undefined;
    if (!isNodeName(nodeName)) return undefined;
    const running = this.#lookups.get(nodeName);
    const lookup =
      running ??
      this.#lookup(nodeName, stored === undefined ? tunables.lookupTimeoutMs : tunables.staleLookupTimeoutMs);
    if (running === undefined) {
      this.#lookups.set(nodeName, lookup);
      detach(
        'record lookup',
        this.#deps.log,
        lookup.finally(() => this.#lookups.delete(nodeName)),
      );
    }
    const found = await raceAbort(lookup, signal);
    if (found === undefined && !signal.aborted) this.#remember(nodeName, clock.now() + tunables.negativeTtlMs);
    return found;
  }

  #isFresh(stored: StoredRecord): boolean {
    const { peerId } = stored.record;
    // who is connected tells us about every change
    if (peerId === this.#deps.ownPeerId || this.#deps.neighbours.hasGreeted(peerId)) return true;
    if (stored.confirmedAt === undefined) return false;
    return this.#deps.clock.now() - stored.confirmedAt < this.#deps.tunables.freshRecordMs;
  }

  /** Asks every relay once, those that connect meanwhile too, until one answers or the time is over. */
  async #lookup(nodeName: string, timeoutMs: number): Promise<NodeRecord | undefined> {
    const { store, neighbours, clock } = this.#deps;
    const over = new AbortController();
    const timers = [clock.after(timeoutMs, () => over.abort())];
    const round = new Round(nodeName, AbortSignal.any([over.signal, this.#deps.signal]));
    const look = () => {
      this.#askNewRelays(round, look);
      const cached = store.get(nodeName) !== undefined;
      // without any relay a stranger may still be found on the LAN within the lookup time
      const nobodyLeft = !neighbours.relaysPending() && (cached || round.asked.size > 0);
      if (round.waiting === 0 && (round.answered || (nobodyLeft && !round.isSearching))) over.abort();
    };
    const unhookRecords = store.onRecord(({ record }) => {
      if (record.nodeName === nodeName) timers.push(clock.after(SECOND_OPINION_MS, () => over.abort()));
    });
    const unhookRelays = neighbours.onRelays(look);
    neighbours.askLan();
    this.#askDht(round, look);
    look();
    await aborted(round.signal);
    unhookRelays();
    unhookRecords();
    for (const timer of timers) timer.cancel();
    return store.get(nodeName)?.record;
  }

  #askNewRelays(round: Round, done: () => void): void {
    for (const relay of this.#deps.neighbours.relays()) {
      if (round.signal.aborted || round.asked.has(relay)) continue;
      round.asked.add(relay);
      round.waiting++;
      const question = this.#ask(relay, round).catch((error: unknown) => {
        const fields = { relay, nodeName: round.nodeName, error: messageOf(error) };
        this.#deps.log.debug('relay lookup failed', fields);
      });
      detach(
        'relay lookup',
        this.#deps.log,
        question.then(() => {
          round.waiting--;
          done();
        }),
      );
    }
  }

  #askDht(round: Round, done: () => void): void {
    round.isSearching = true; // relays that know the node end the lookup before
    const question = this.#deps.neighbours.askDht(round.nodeName, round.signal).then((found) => {
      round.answered ||= found;
      round.isSearching = false;
      done();
    });
    detach('DHT lookup', this.#deps.log, question);
  }

  async #ask(relay: string, round: Round): Promise<void> {
    const question = encodeJson({ name: round.nodeName });
    const answer = decodeJson(await this.#deps.rpc.request(relay, METHODS.get, question, round.signal));
    if (answer.record === undefined) return;
    await this.#deps.store.offer(fromBase64(answer.record));
    round.answered = true;
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

  #remember(nodeName: string, until: number): void {
    this.#unknownUntil.set(nodeName, until);
    dropOldest(this.#unknownUntil, MAX_NAMES);
  }
}

function encodeRecordAnswer(stored: StoredRecord | undefined): Uint8Array {
  return encodeJson(stored === undefined ? {} : { record: toBase64(stored.envelope) });
}

/** One lookup on its way. */
class Round {
  readonly asked = new Set<string>();
  waiting = 0;
  /** A relay had the record, or the DHT. */
  answered = false;
  /** The DHT is being asked. */
  isSearching = false;
  readonly nodeName: string;
  readonly signal: AbortSignal;

  constructor(nodeName: string, signal: AbortSignal) {
    this.nodeName = nodeName;
    this.signal = signal;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function dropOldest(entries: Map<string, unknown> | Set<string>, max: number): void {
  while (entries.size > max) {
    const oldest = entries.keys().next().value;
    if (oldest === undefined) return;
    entries.delete(oldest);
  }
}

function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve, reject) => {
    const give = () => resolve(undefined);
    signal.addEventListener('abort', give, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', give));
  });
}
