import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, type Logger, messageOf, type Timer } from '@edgemesh/core';

export interface JsonFileDeps {
  readonly log: Logger;
  readonly clock: Clock;
  /** Changes within this time are written together, in milliseconds. */
  readonly saveDelayMs: number;
}

/** One JSON document on disk, replaced atomically. Without a path it forgets everything at exit. */
export interface JsonFile extends AsyncDisposable {
  /** The stored value; undefined when there is none or it cannot be read (the broken file is then kept as `.broken`). */
  load(): Promise<unknown>;
  /** Writes what `read` returns at that time, soon. */
  saveSoon(read: () => unknown): void;
}

/** `path` undefined = memory only. Writing fails softly: a full disk costs the cache, not the service. */
export function createJsonFile(path: string | undefined, deps: JsonFileDeps): JsonFile {
  return path === undefined ? forgetful : new DiskFile(path, deps);
}

const forgetful: JsonFile = {
  load: () => Promise.resolve(undefined),
  saveSoon: () => undefined,
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

class DiskFile implements JsonFile {
  readonly #path: string;
  readonly #deps: JsonFileDeps;
  #timer: Timer | undefined;
  #read: (() => unknown) | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, deps: JsonFileDeps) {
    this.#path = path;
    this.#deps = deps;
  }

  async load(): Promise<unknown> {
    let content: string;
    try {
      content = await readFile(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#warn('state file is unreadable', error);
      return undefined;
    }
    try {
      return JSON.parse(content);
    } catch (error) {
      this.#warn('state file is not JSON, starting without it', error);
      await rename(this.#path, `${this.#path}.broken`).catch((cause: unknown) =>
        this.#warn('cannot set it aside', cause),
      );
      return undefined;
    }
  }

  saveSoon(read: () => unknown): void {
    this.#read = read;
    this.#timer ??= this.#deps.clock.after(this.#deps.saveDelayMs, () => this.#flush());
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const read = this.#read;
    this.#read = undefined;
    if (read === undefined) return;
    const content = JSON.stringify(read());
    this.#writing = this.#writing
      .then(() => this.#replace(content))
      .catch((error: unknown) => this.#warn('cannot save state', error));
  }

  async #replace(content: string): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const temporary = `${this.#path}.new`;
    try {
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  #warn(message: string, error: unknown): void {
    this.#deps.log.warn(message, { file: this.#path, error: messageOf(error) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush();
    await this.#writing;
  }
}
