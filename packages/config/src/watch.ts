import { type FSWatcher, watch } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, detach, type Logger, messageOf, silentLogger, systemClock, type Timer } from '@edgemesh/core';
import { ConfigError } from './errors.ts';
import { readConfigFile } from './file.ts';
import { WATCH_DEBOUNCE_MS, WATCH_POLL_MS } from './options.ts';

export interface WatchConfigOptions<C> {
  /** Turns the text into a configuration: `(text) => parseAgentConfig(text, ...)`. */
  readonly parse: (text: string) => C;
  /** The text that is in use already; only another one is reported. Default: the file's text at the start. */
  readonly currentText?: string;
  /** The file became bad or vanished. The old configuration stays in use. Once per different text. */
  readonly onError?: (error: ConfigError) => void;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Quiet time after the last event, milliseconds. */
  readonly debounceMs?: number;
  /** Time between looks without any event, milliseconds. */
  readonly pollMs?: number;
}

export interface ConfigWatch extends AsyncDisposable {
  /** Looks at once, e.g. on SIGHUP; resolves when the listeners have been called. */
  check(): Promise<void>;
}

/**
 * Follows a configuration file: edits in place, files renamed over it, and the symlink swaps (`..data`) of ConfigMap volumes.
 * Events of the folder are only a reason to look; the text decides. A poll backs them up. Resolves when it is watching.
 */
export async function watchConfigFile<C>(
  path: string,
  onChange: (parsed: C, text: string) => void,
  options: WatchConfigOptions<C>,
): Promise<ConfigWatch> {
  const watcher = new ConfigWatcher(path, onChange, options);
  await watcher.start(options.currentText);
  return watcher;
}

class ConfigWatcher<C> implements ConfigWatch {
  readonly #path: string;
  readonly #onChange: (parsed: C, text: string) => void;
  readonly #options: WatchConfigOptions<C>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #folders = new Map<bigint, FSWatcher>();
  #debounce: Timer | undefined;
  #poll: Timer | undefined;
  /** The last text looked at, good or bad; the last failure to read, so that each is told once. */
  #lastText: string | undefined;
  #lastFailure: string | undefined;
  #running: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(path: string, onChange: (parsed: C, text: string) => void, options: WatchConfigOptions<C>) {
    this.#path = path;
    this.#onChange = onChange;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? silentLogger).child({ file: path });
  }

  async start(currentText: string | undefined): Promise<void> {
    await this.#watchFolders();
    this.#lastText = currentText ?? (await this.#readQuietly());
    this.#schedulePoll();
    if (currentText !== undefined) await this.check();
  }

  /** One look after the other; a look asked for during another one comes after it. */
  check(): Promise<void> {
    this.#running = this.#running.then(() => this.#look());
    return this.#running;
  }

  async #look(): Promise<void> {
    if (this.#disposed) return;
    let text: string;
    try {
      text = await readConfigFile(this.#path);
    } catch (error) {
      this.#fail(error as ConfigError);
      return;
    }
    if (this.#disposed) return;
    this.#lastFailure = undefined;
    if (text === this.#lastText) return;
    this.#lastText = text;
    this.#apply(text);
  }

  #apply(text: string): void {
    let parsed: C;
    try {
      parsed = this.#options.parse(text);
    } catch (error) {
      const known =
        error instanceof ConfigError
          ? error
          : new ConfigError('invalid', [{ path: '', message: messageOf(error) }], { cause: error });
      this.#tell(known);
      return;
    }
    try {
      this.#onChange(parsed, text);
    } catch (error) {
      this.#log.error('listener of configuration changes failed', { error: messageOf(error) });
    }
  }

  #fail(error: ConfigError): void {
    if (this.#disposed || error.message === this.#lastFailure) return;
    this.#lastFailure = error.message;
    this.#tell(error);
  }

  #tell(error: ConfigError): void {
    this.#log.warn('configuration file is bad, the old configuration stays', { error: error.message });
    try {
      this.#options.onError?.(error);
    } catch (failure) {
      this.#log.error('listener of configuration errors failed', { error: messageOf(failure) });
    }
  }

  /** The text to compare with; a file that is not there (yet) counts as none. */
  async #readQuietly(): Promise<string | undefined> {
    try {
      return await readConfigFile(this.#path);
    } catch (error) {
      this.#lastFailure = messageOf(error);
      return undefined;
    }
  }

  #schedulePoll(): void {
    if (this.#disposed) return;
    this.#poll = this.#clock.after(this.#options.pollMs ?? WATCH_POLL_MS, () => {
      detach(
        'config poll',
        this.#log,
        this.#watchFolders()
          .then(() => this.check())
          .finally(() => this.#schedulePoll()),
      );
    });
  }

  #noticed(): void {
    if (this.#disposed) return;
    this.#debounce?.cancel();
    this.#debounce = this.#clock.after(this.#options.debounceMs ?? WATCH_DEBOUNCE_MS, () => {
      detach(
        'config check',
        this.#log,
        this.check().then(() => this.#watchFolders()),
      );
    });
  }

  /**
   * Watches the folder of the path and, behind symlinks, the folder of the file itself (either file may be replaced at any
   * time); anew when they are others than before.
   */
  async #watchFolders(): Promise<void> {
    const folders = new Map<bigint, string>();
    for (const folder of [dirname(this.#path), await this.#realFolder()]) {
      const inode = folder && (await inodeOf(folder));
      if (inode) folders.set(inode, folder);
    }
    if (this.#disposed) return;
    for (const inode of [...this.#folders.keys()]) if (!folders.has(inode)) this.#unwatch(inode, 'another one is used');
    for (const [inode, folder] of folders) if (!this.#folders.has(inode)) this.#watch(inode, folder);
  }

  #watch(inode: bigint, folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#noticed());
      watcher.on('error', (error) => this.#unwatch(inode, messageOf(error)));
      this.#folders.set(inode, watcher);
    } catch (error) {
      this.#log.debug('no notices of a folder, polling only', { folder, error: messageOf(error) });
    }
  }

  #unwatch(inode: bigint, reason: string): void {
    this.#log.debug('notices of a folder end', { reason });
    this.#folders.get(inode)?.close();
    this.#folders.delete(inode);
  }

  /** Undefined while the file is not there; that is told by the look itself. */
  async #realFolder(): Promise<string | undefined> {
    return await realpath(this.#path).then(dirname, () => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#debounce?.cancel();
    this.#poll?.cancel();
    for (const watcher of this.#folders.values()) watcher.close();
    await this.#running;
  }
}

/** Undefined for a folder that cannot be watched now. */
async function inodeOf(folder: string): Promise<bigint | undefined> {
  return await stat(folder, { bigint: true }).then(
    ({ ino }) => ino,
    () => undefined,
  );
}
