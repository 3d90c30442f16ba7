import type { Clock, Logger, Timer } from '@edgemesh/core';
import { detach } from '@edgemesh/core';
import type { PrivateKey } from '@libp2p/interface';
import type { ControlTunables } from '../options.ts';
import type { NodeRecord } from '../types.ts';
import { type SignedRecord, signRecord } from './records/codec.ts';

/** The parts of a node's own record that change. */
export type OwnFacts = Omit<NodeRecord, 'sequence'>;

export interface OwnRecordDeps {
  readonly key: PrivateKey;
  /** Reads the facts as they are now. */
  readonly facts: () => OwnFacts;
  /** Called with each newly signed record. */
  readonly publish: (signed: SignedRecord) => void;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Signs our record again whenever the facts have changed, and now and then even if they have not. */
export class OwnRecord implements Disposable {
  readonly #deps: OwnRecordDeps;
  #signed: SignedRecord | undefined;
  #signedAt = 0;
  #facts = '';
  #lowest: number;
  #work: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #disposed = false;

  /** `lastSequence` is the highest sequence that this key is known to have used. */
  constructor(deps: OwnRecordDeps, lastSequence: number) {
    this.#deps = deps;
    this.#lowest = lastSequence;
  }

  /** The signed record; present after the first `update`. */
  get current(): SignedRecord {
    if (this.#signed === undefined) throw new Error('own record used before it was made');
    return this.#signed;
  }

  /** Signs anew where needed; calls are done one after the other. */
  update(): Promise<void> {
    this.#work = this.#work.then(() => this.#update());
    return this.#work;
  }

  /** Somebody holds a record of ours with this sequence: we lost state and must go on above it. */
  noteSequence(sequence: number): void {
    if (this.#signed === undefined || sequence <= this.#signed.record.sequence) return;
    this.#lowest = Math.max(this.#lowest, sequence);
    this.#facts = '';
    detach('own record', this.#deps.log, this.update());
  }

  /** Looks at the facts every few seconds. */
  watch(): void {
    if (this.#disposed) return;
    this.#timer = this.#deps.clock.after(this.#deps.tunables.addressIntervalMs, () => {
      detach('own record', this.#deps.log, this.update());
      this.watch();
    });
  }

  async #update(): Promise<void> {
    const { clock, tunables } = this.#deps;
    const facts = this.#deps.facts();
    const text = JSON.stringify(facts);
    const due = clock.now() - this.#signedAt > tunables.recordRefreshMs;
    if (this.#disposed || (text === this.#facts && !due)) return;
    const sequence = Math.max(clock.wallNow(), this.#lowest + 1);
    const signed = await signRecord({ ...facts, sequence }, this.#deps.key);
    this.#lowest = sequence;
    this.#facts = text;
    this.#signed = signed;
    this.#signedAt = clock.now();
    this.#deps.publish(signed);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.cancel();
  }
}
