import { backoffDelay, type Clock, detach, type Logger, messageOf, type Random, sleep } from '@edgemesh/core';
import type { ControlTunables } from '../../options.ts';
import type { SocketAddress } from '../../types.ts';
import type { Link, Links } from '../links.ts';
import type { Sighting } from './mdns-message.ts';

export interface NeighbourhoodDeps {
  readonly links: Links;
  readonly ownPeerId: string;
  /** True while there is a direct control connection to the peer, whoever opened it. */
  readonly isConnected: (peerId: string) => boolean;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

interface Neighbour {
  address: SocketAddress;
  seenAt: number;
  /** A connection is open, being opened, or waiting for its next attempt. */
  busy: boolean;
}

/** A neighbour not seen for this many query intervals is forgotten. */
const FORGET_INTERVALS = 3;
/** The side with the larger peer id leaves the other this much time to dial, in milliseconds: one connection is enough. */
const POLITENESS_MS = 1_000;
/** Pause between attempts on a neighbour or static peer that does not answer, in milliseconds. */
const RETRY = { initialMs: 500, maxMs: 30_000 };

/** Peers on the LAN: those that multicast DNS shows, and those whose addresses the operator names. */
export class Neighbourhood {
  readonly #deps: NeighbourhoodDeps;
  readonly #neighbours = new Map<string, Neighbour>();

  constructor(deps: NeighbourhoodDeps) {
    this.#deps = deps;
  }

  /** True when multicast DNS showed the peer lately. */
  has(peerId: string): boolean {
    const neighbour = this.#neighbours.get(peerId);
    return neighbour !== undefined && !this.#isGone(neighbour);
  }

  /** Takes note of a sighting and connects where that is our turn. */
  see(sighting: Sighting): void {
    const { peerId, address, leaving } = sighting;
    if (leaving) {
      const gone = this.#neighbours.get(peerId);
      if (gone !== undefined) gone.seenAt = Number.NEGATIVE_INFINITY;
      return;
    }
    const neighbour = this.#note(peerId, address);
    if (neighbour === undefined || neighbour.busy) return;
    neighbour.busy = true;
    const work = this.#stayConnected(peerId, neighbour).finally(() => {
      neighbour.busy = false;
    });
    detach('LAN peer', this.#deps.log, work);
  }

  /** Undefined when there are too many neighbours already; these are still found through relays. */
  #note(peerId: string, address: SocketAddress): Neighbour | undefined {
    const { clock, tunables } = this.#deps;
    let neighbour = this.#neighbours.get(peerId);
    if (neighbour === undefined) {
      for (const [id, other] of this.#neighbours) if (!other.busy && this.#isGone(other)) this.#neighbours.delete(id);
      if (this.#neighbours.size >= tunables.maxLanConnections) return undefined;
      neighbour = { address, seenAt: 0, busy: false };
      this.#neighbours.set(peerId, neighbour);
    }
    neighbour.address = address;
    neighbour.seenAt = clock.now();
    return neighbour;
  }

  #isGone(neighbour: Neighbour): boolean {
    return this.#deps.clock.now() - neighbour.seenAt > FORGET_INTERVALS * this.#deps.tunables.mdnsIntervalMs;
  }

  async #stayConnected(peerId: string, neighbour: Neighbour): Promise<void> {
    const { clock, signal, ownPeerId, random } = this.#deps;
    if (ownPeerId > peerId) await sleep(POLITENESS_MS, clock, signal);
    let attempt = 0;
    while (!signal.aborted && !this.#isGone(neighbour) && !this.#deps.isConnected(peerId)) {
      const link = await this.#tryConnect([neighbour.address], peerId);
      if (link !== undefined) {
        attempt = 0;
        await link.closed;
      }
      await sleep(backoffDelay(attempt++, RETRY, random), clock, signal);
    }
  }

  /** Keeps a connection to whoever answers at one of these addresses, for ever. For sites where multicast is blocked. */
  addStatic(addresses: readonly SocketAddress[]): void {
    detach('static peer', this.#deps.log, this.#stayConnectedTo(addresses));
  }

  async #stayConnectedTo(addresses: readonly SocketAddress[]): Promise<void> {
    const { clock, signal, random } = this.#deps;
    let attempt = 0;
    while (!signal.aborted) {
      const link = await this.#tryConnect(addresses, undefined);
      if (link !== undefined) {
        attempt = 0;
        await link.closed;
      }
      await sleep(backoffDelay(attempt++, RETRY, random), clock, signal);
    }
  }

  async #tryConnect(
    addresses: readonly SocketAddress[],
    expectedPeerId: string | undefined,
  ): Promise<Link | undefined> {
    const { links, log, signal } = this.#deps;
    try {
      return await links.connect(addresses, { signal, expectedPeerId });
    } catch (error) {
      log.debug('no control connection to a LAN peer', { peerId: expectedPeerId, error: messageOf(error) });
      return undefined;
    }
  }
}
