import type { Clock, Timer } from '@edgemesh/core';
import { type InterfaceAddress, readInterfaces } from './own-addresses.ts';

/** Events of the kernel, while they come. */
export interface NetworkEvents extends Disposable {
  /** False while some may be missed. */
  readonly isWatching: boolean;
}

/** Starts telling of changes: `default-route` is one by itself, `address` is a reason to look. */
export type WatchNetwork = (onEvent: (event: 'address' | 'default-route') => void) => NetworkEvents;

export interface NetworkWatchDeps {
  readonly clock: Clock;
  /** How often the interfaces are looked at where nobody tells of changes, in milliseconds. */
  readonly intervalMs: number;
  /** The same while the kernel's events come: for what they might not tell. */
  readonly watchedIntervalMs: number;
  /** Time from an event to the look at the interfaces, in milliseconds: they come in groups. */
  readonly settleMs: number;
  readonly watch?: WatchNetwork | undefined;
  readonly read?: () => readonly InterfaceAddress[];
}

/**
 * Tells when an address of this machine comes or goes, or its default route: a cable, Wi-Fi or 4G, a DHCP lease. An interface
 * without carrier counts as gone. Without the kernel's events the interfaces are read now and then, which takes a tenth of a
 * millisecond and works everywhere.
 */
export class NetworkWatch implements Disposable {
  readonly #deps: NetworkWatchDeps;
  readonly #listeners = new Set<() => void>();
  readonly #events: NetworkEvents | undefined;
  #seen: string;
  /** A change that need not show in the addresses. */
  #hasRerouted = false;
  #isSettling = false;
  #timer: Timer | undefined;

  constructor(deps: NetworkWatchDeps) {
    this.#deps = deps;
    this.#seen = this.#read();
    this.#events = deps.watch?.((event) => this.#onEvent(event === 'default-route'));
    this.#schedule();
  }

  /** Called after each change. Returns the way to stop it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #read(): string {
    const interfaces = (this.#deps.read ?? readInterfaces)();
    return interfaces
      .map((one) => `${one.interface} ${one.cidr}`)
      .sort()
      .join();
  }

  #onEvent(isRoute: boolean): void {
    this.#hasRerouted ||= isRoute;
    if (this.#isSettling) return;
    this.#isSettling = true;
    this.#lookAfter(this.#deps.settleMs);
  }

  #schedule(): void {
    const { intervalMs, watchedIntervalMs } = this.#deps;
    this.#lookAfter(this.#events?.isWatching ? watchedIntervalMs : intervalMs);
  }

  #lookAfter(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(ms, () => {
      const seen = this.#read();
      const changed = seen !== this.#seen || this.#hasRerouted;
      this.#seen = seen;
      this.#hasRerouted = false;
      this.#isSettling = false;
      this.#schedule();
      if (changed) for (const listener of [...this.#listeners]) listener();
    });
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#events?.[Symbol.dispose]();
    this.#listeners.clear();
  }
}
