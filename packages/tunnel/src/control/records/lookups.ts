import { type Clock, detach, type Logger, messageOf } from '@edgemesh/core';
import type { ControlTunables } from '../../options.ts';
import type { NodeRecord } from '../../types.ts';
import { decodeJson, encodeJson, fromBase64, METHODS } from '../messages.ts';
import type { Rpc } from '../rpc.ts';
import { isNodeName } from './codec.ts';
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

/** What lookups need. */
export interface LookupDeps {
  readonly store: RecordStore;
  readonly rpc: Rpc;
  readonly neighbours: Neighbours;
  readonly ownPeerId: string;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** How long a lookup goes on after the first answer, in milliseconds, for a relay that knows a newer record. */
const SECOND_OPINION_MS = 30;
/** Names in the table of subscribers and of negative answers; the oldest go first. */
export const MAX_NAMES = 10_000;

/** Node records by name, asked for where nobody has confirmed them: each name once for all who want it. */
export class Lookups {
  readonly #deps: LookupDeps;
  readonly #unknownUntil = new Map<string, number>();
  readonly #lookups = new Map<string, Promise<NodeRecord | undefined>>();

  constructor(deps: LookupDeps) {
    this.#deps = deps;
    deps.store.onRecord(({ record }) => this.#unknownUntil.delete(record.nodeName));
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

  #remember(nodeName: string, until: number): void {
    this.#unknownUntil.set(nodeName, until);
    dropOldest(this.#unknownUntil, MAX_NAMES);
  }
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

/** Keeps the latest of a table. */
export function dropOldest(entries: Map<string, unknown> | Set<string>, max: number): void {
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
