import type { Clock, Timer } from '@edgemesh/core';
import { type InterfaceAddress, readInterfaces } from './own-addresses.ts';

export interface NetworkWatchDeps {
  readonly clock: Clock;
  /** How often the interfaces are looked at, in milliseconds. */
  readonly intervalMs: number;
  readonly read?: () => readonly InterfaceAddress[];
}

/**
 * Tells when an address of this machine comes or goes: a cable, Wi-Fi or 4G, a DHCP lease. An interface without carrier
 * counts as gone. Reading the interfaces takes a tenth of a millisecond, and works everywhere without a netlink socket.
 */
export class NetworkWatch implements Disposable {
  readonly #deps: NetworkWatchDeps;
  readonly #listeners = new Set<() => void>();
  #seen: string;
  #timer: Timer | undefined;

  constructor(deps: NetworkWatchDeps) {
    this.#deps = deps;
    this.#seen = this.#read();
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

  #schedule(): void {
    this.#timer = this.#deps.clock.after(this.#deps.intervalMs, () => {
      const seen = this.#read();
      const changed = seen !== this.#seen;
      this.#seen = seen;
      this.#schedule();
      if (changed) for (const listener of [...this.#listeners]) listener();
    });
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#listeners.clear();
  }
}
