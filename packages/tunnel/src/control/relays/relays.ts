import { backoffDelay, type Clock, detach, type Logger, messageOf, type Random, sleep } from '@edgemesh/core';
import { TunnelError } from '../../errors.ts';
import type { ControlTunables } from '../../options.ts';
import type { RelayState, SocketAddress } from '../../types.ts';
import type { Link, Links } from '../links.ts';
import type { ControlMetrics } from '../metrics.ts';
import { OWN_ADDRESS } from '../transport/tcp.ts';

/** A relay as the configuration names it. */
export interface RelayConfig {
  readonly nodeName?: string | undefined;
  readonly addresses: readonly SocketAddress[];
}

export interface RelaysDeps {
  readonly links: Links;
  readonly ownNodeName: string;
  readonly tunables: ControlTunables;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  readonly signal: AbortSignal;
  /** Called when a relay is connected and greeted, before its state says so. */
  readonly onConnected: (link: Link, signal: AbortSignal) => void;
}

/** Relays of others that this node connects to beside its own: each is one more connection to keep alive. */
const MAX_LEARNT = 4;
/** During this time of an outage retries stay quick, in milliseconds. */
const EARLY_OUTAGE_MS = 60_000;

/** Keeps one control connection to each configured relay, for ever. */
export class Relays {
  readonly #deps: RelaysDeps;
  readonly #clients = new Map<string, RelayClient>();
  #configured: readonly RelayConfig[] = [];
  /** By peer id. */
  readonly #learnt = new Map<string, RelayConfig>();
  readonly #listeners = new Set<(relays: readonly RelayState[]) => void>();
  /** Peer ids of the connected relays in the order given last. */
  #order: readonly string[] = [];

  constructor(deps: RelaysDeps) {
    this.#deps = deps;
  }

  /** Replaces the configured list; relays that stay keep their connections. */
  set(relays: readonly RelayConfig[]): void {
    this.#configured = relays;
    this.#apply();
  }

  /** Adds a relay that others are at and the configuration does not name; the oldest goes when there are too many. */
  learn(peerId: string, relay: RelayConfig): void {
    this.#learnt.delete(peerId);
    this.#learnt.set(peerId, relay);
    const oldest = this.#learnt.keys().next().value;
    if (this.#learnt.size > MAX_LEARNT && oldest !== undefined) this.#learnt.delete(oldest);
    this.#apply();
  }

  #apply(): void {
    const relays = [...this.#configured, ...this.#learnt.values()];
    const wanted = new Map(relays.map((relay) => [JSON.stringify([relay.nodeName, relay.addresses]), relay]));
    for (const [key, client] of this.#clients) {
      if (wanted.has(key)) continue;
      this.#clients.delete(key);
      client.stop();
    }
    for (const [key, relay] of wanted) {
      // a relay's configuration usually lists all relays, itself included
      if (this.#clients.has(key) || relay.nodeName === this.#deps.ownNodeName) continue;
      this.#clients.set(key, new RelayClient(relay, this.#deps, () => this.#changed()));
    }
    this.#changed();
  }

  /** Connected ones first, nearest first; those that turned out to be ourselves are left out. */
  states(): readonly RelayState[] {
    const states = [...this.#clients.values()].filter((client) => !client.isOurselves).map((client) => client.state());
    return states.sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY));
  }

  /**
   * Live connections, nearest first. Measured times wobble, so a relay overtakes another only when it is clearly nearer:
   * the order goes into our record, and every change of that is published.
   */
  links(): readonly Link[] {
    const links = [...this.#clients.values()].flatMap((client) => client.link ?? []);
    const place = (link: Link) => {
      const index = this.#order.indexOf(link.peerId);
      return index < 0 ? this.#order.length : index;
    };
    links.sort((a, b) => place(a) - place(b));
    for (let end = links.length - 1; end > 0; end--) {
      for (let i = 0; i < end; i++) {
        const [first, second] = [links[i] as Link, links[i + 1] as Link];
        if (isClearlyNearer(second, first)) [links[i], links[i + 1]] = [second, first];
      }
    }
    this.#order = links.map((link) => link.peerId);
    return links;
  }

  /** Our own network has changed: what is connected must prove it, what is not is dialled at once. */
  networkChanged(): void {
    for (const client of this.#clients.values()) client.nudge();
  }

  /** True while a relay may still become connected soon: not tried yet, or in its first attempt. */
  pending(): boolean {
    return [...this.#clients.values()].some((client) => client.isFirstAttempt);
  }

  onChange(listener: (relays: readonly RelayState[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #changed(): void {
    const states = this.states();
    this.#deps.metrics.relaysConnected.set(states.filter((relay) => relay.state === 'connected').length);
    for (const listener of this.#listeners) listener(states);
  }
}

/** 30 % and 5 ms nearer: beyond the usual jitter of either a LAN or a mobile link. */
function isClearlyNearer(a: Link, b: Link): boolean {
  return (a.rttMs ?? 0) < 0.7 * (b.rttMs ?? 0) - 5;
}

/** The connection to one configured relay. */
class RelayClient {
  link: Link | undefined;
  isFirstAttempt = true;
  isOurselves = false;
  readonly #config: RelayConfig;
  readonly #deps: RelaysDeps;
  readonly #changed: () => void;
  readonly #stopped = new AbortController();
  readonly #signal: AbortSignal;
  #peerId: string | undefined;
  #failed = false;
  #reason: string | undefined;
  #nudged = new AbortController();

  constructor(config: RelayConfig, deps: RelaysDeps, changed: () => void) {
    this.#config = config;
    this.#deps = deps;
    this.#changed = changed;
    this.#signal = AbortSignal.any([deps.signal, this.#stopped.signal]);
    detach('relay connection', deps.log, this.#run());
  }

  nudge(): void {
    this.link?.probe();
    this.#nudged.abort(new Error('our own network has changed'));
  }

  stop(): void {
    this.#stopped.abort();
    this.link?.connection.abort(new Error('the relay was removed from the configuration'));
  }

  state(): RelayState {
    const { link } = this;
    return {
      nodeName: this.#config.nodeName ?? link?.nodeName,
      peerId: this.#peerId,
      addresses: this.#config.addresses,
      connectedAddress: link?.address,
      state: link !== undefined ? 'connected' : this.#failed ? 'failed' : 'connecting',
      rttMs: link?.rttMs,
      reason: this.#reason,
    };
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    let attempt = 0;
    let lostAt = clock.now();
    while (!this.#signal.aborted && !this.isOurselves) {
      try {
        await this.#connectedTime();
        attempt = 0;
        lostAt = clock.now();
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#noteFailure(error);
      }
      await sleep(this.#pause(attempt++, clock.now() - lostAt), clock, this.#untilNudged());
      if (!this.#nudged.signal.aborted) continue;
      attempt = 0;
      lostAt = clock.now();
      this.#nudged = new AbortController();
    }
  }

  #untilNudged(): AbortSignal {
    return AbortSignal.any([this.#signal, this.#nudged.signal]);
  }

  #pause(attempt: number, outageMs: number): number {
    const { relayRetryInitialMs, relayRetryEarlyMaxMs, relayRetryMaxMs } = this.#deps.tunables;
    const maxMs = outageMs < EARLY_OUTAGE_MS ? relayRetryEarlyMaxMs : relayRetryMaxMs;
    return backoffDelay(attempt, { initialMs: relayRetryInitialMs, maxMs }, this.#deps.random);
  }

  /** Connects and returns when the connection is lost. Rejects when it could not be made. */
  async #connectedTime(): Promise<void> {
    const { links, log, metrics } = this.#deps;
    const link = await links.connect(this.#config.addresses, { signal: this.#untilNudged() });
    this.#checkRelay(link);
    const scope = new AbortController();
    this.link = link;
    this.#peerId = link.peerId;
    this.#failed = false;
    this.#reason = undefined;
    this.isFirstAttempt = false;
    metrics.relayChanges.with('connected').add();
    log.info('relay connected', {
      relay: link.nodeName,
      address: link.address?.host,
      rttMs: Math.round(link.rttMs ?? 0),
    });
    this.#deps.onConnected(link, AbortSignal.any([scope.signal, this.#signal]));
    this.#changed();
    this.#reason = await link.closed;
    scope.abort();
    this.link = undefined;
    metrics.relayChanges.with('lost').add();
    if (this.#signal.aborted) return;
    log.warn('relay connection lost', { relay: link.nodeName, reason: this.#reason });
    this.#changed();
  }

  #checkRelay(link: Link): void {
    const expected = this.#config.nodeName;
    if (expected !== undefined && expected !== link.nodeName) {
      this.#deps.log.warn('a relay calls itself differently than the configuration', {
        configured: expected,
        actual: link.nodeName,
      });
    }
    if (link.relay) return;
    link.connection.abort(new Error('not a relay'));
    throw new TunnelError(
      'refused',
      `node ${link.nodeName} answers there, but it does not relay: enable relaying on it`,
    );
  }

  #noteFailure(error: unknown): void {
    const reason = messageOf(error);
    const isNews = this.#reason !== reason;
    this.isOurselves = error instanceof TunnelError && error.message === OWN_ADDRESS;
    this.#failed = true;
    this.#reason = reason;
    this.isFirstAttempt = false;
    if (isNews && !this.isOurselves) {
      this.#deps.log.warn('relay is not reachable, retrying', { relay: this.#config.nodeName, reason });
    }
    this.#changed();
  }
}
