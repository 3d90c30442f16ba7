import type { Logger } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { ControlMetrics } from '../metrics.ts';
import { isNodeName } from '../records/codec.ts';
import type { JsonFile } from './json-file.ts';

/** A second key turned up for a pinned node name. */
export interface PinConflict {
  readonly nodeName: string;
  /** The key that the name belongs to. */
  readonly pinnedPeerId: string;
  /** The key that claims it now and is refused. */
  readonly claimedPeerId: string;
  /** Where the claim came from: `record`, `session`, `disk`. */
  readonly source: string;
}

export interface PinsDeps {
  readonly file: JsonFile;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  readonly maxPins: number;
}

/** Which key each node name belongs to: trust on first use, kept on disk, never overwritten by the network. */
export class Pins {
  readonly #deps: PinsDeps;
  readonly #peerOf = new Map<string, string>();
  readonly #listeners = new Set<(conflict: PinConflict) => void>();
  /** Conflicts already reported, so that a busy impostor does not flood the log; bounded by clearing. */
  readonly #reported = new Set<string>();
  #fullReported = false;

  private constructor(deps: PinsDeps) {
    this.#deps = deps;
  }

  static async load(deps: PinsDeps): Promise<Pins> {
    const pins = new Pins(deps);
    const stored = await deps.file.load();
    if (typeof stored === 'object' && stored !== null) {
      for (const [name, peerId] of Object.entries(stored)) {
        if (isNodeName(name) && typeof peerId === 'string') pins.#peerOf.set(name, peerId);
      }
    }
    return pins;
  }

  /** The key of a node name; undefined before it was first seen. */
  peerOf(nodeName: string): string | undefined {
    return this.#peerOf.get(nodeName);
  }

  /** Pins the name at first sight. An error (code `identity`) says that it belongs to another key. */
  check(nodeName: string, peerId: string, source: string): TunnelError | undefined {
    const pinned = this.#peerOf.get(nodeName);
    if (pinned === peerId) return undefined;
    if (pinned === undefined) {
      this.#pin(nodeName, peerId);
      return undefined;
    }
    this.#report({ nodeName, pinnedPeerId: pinned, claimedPeerId: peerId, source });
    return new TunnelError(
      'identity',
      `node name ${nodeName} is pinned to key ${pinned}, but ${peerId} claims it: two nodes with one name (give one ` +
        'another: --node-name of a server, NODE_NAME of an agent), or a node that was reinstalled without its key ' +
        '(then forget the old pin on this node and on the relays)',
    );
  }

  /** Lets the next key that claims the name have it. True when there was a pin. */
  forget(nodeName: string): boolean {
    const had = this.#peerOf.delete(nodeName);
    if (had) this.#save();
    this.#reported.clear();
    return had;
  }

  onConflict(listener: (conflict: PinConflict) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #pin(nodeName: string, peerId: string): void {
    if (this.#peerOf.size >= this.#deps.maxPins) {
      if (!this.#fullReported)
        this.#deps.log.warn('too many node names, new ones are not pinned', { nodeName, maxPins: this.#deps.maxPins });
      this.#fullReported = true;
      return;
    }
    this.#peerOf.set(nodeName, peerId);
    this.#save();
  }

  #save(): void {
    this.#deps.file.saveSoon(() => Object.fromEntries(this.#peerOf));
  }

  #report(conflict: PinConflict): void {
    this.#deps.metrics.pinConflicts.with(conflict.source).add();
    const key = `${conflict.nodeName} ${conflict.claimedPeerId}`;
    if (this.#reported.has(key)) return;
    if (this.#reported.size >= 1_000) this.#reported.clear();
    this.#reported.add(key);
    this.#deps.log.error('a second key claims a pinned node name and is refused', { ...conflict });
    for (const listener of this.#listeners) listener(conflict);
  }
}
