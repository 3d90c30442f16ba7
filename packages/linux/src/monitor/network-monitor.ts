import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Clock, systemClock, type Timer } from '@edgemesh/core';
import { LINUX_DEFAULTS } from '../options.ts';

/** What has changed: an address or a link, or the default route. */
export type NetworkEvent = 'address' | 'default-route';

/** A running watch; events come until it is disposed of. */
export interface NetworkMonitor extends Disposable {
  /** False while events may be missed: the tool is not there, or has just ended. */
  readonly isWatching: boolean;
}

export interface NetworkMonitorOptions {
  readonly onEvent: (event: NetworkEvent) => void;
  /** The command, except in tests. */
  readonly command?: readonly [string, ...string[]];
  readonly clock?: Clock;
}

const IP_MONITOR = ['ip', '-o', 'monitor', 'link', 'address', 'route'] as const;

/**
 * Tells of links, addresses and default routes as the kernel changes them, by one long-lived `ip monitor`. It is started again
 * when it ends. Needs no privilege.
 */
export function monitorNetwork(options: NetworkMonitorOptions): NetworkMonitor {
  return new IpMonitor(options);
}

class IpMonitor implements NetworkMonitor {
  readonly #options: NetworkMonitorOptions;
  #child: ChildProcess | undefined;
  #timer: Timer | undefined;
  #isDisposed = false;

  constructor(options: NetworkMonitorOptions) {
    this.#options = options;
    this.#start();
  }

  get isWatching(): boolean {
    return this.#child !== undefined;
  }

  #start(): void {
    const [command, ...args] = this.#options.command ?? IP_MONITOR;
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const event = readEvent(line);
      if (event !== undefined) this.#options.onEvent(event);
    });
    child.once('error', () => this.#restart(child)); // not installed
    child.once('close', () => this.#restart(child));
    child.unref();
    (child.stdout as unknown as { unref(): void }).unref();
  }

  #restart(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    if (this.#isDisposed) return;
    this.#timer = (this.#options.clock ?? systemClock).after(LINUX_DEFAULTS.monitorRestartMs, () => this.#start());
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#timer?.cancel();
    this.#child?.kill();
  }
}

/** Reads one line of `ip -o monitor`; routes other than the default one change with every pod and tell nothing. */
export function readEvent(line: string): NetworkEvent | undefined {
  const text = line.replace(/^Deleted /, '').replace(/^(?:unicast|local) /, '');
  if (/^default\s/.test(text)) return 'default-route';
  return /^\d+:\s/.test(text) ? 'address' : undefined;
}
