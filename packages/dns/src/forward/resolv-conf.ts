import { type FSWatcher, watch } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, detach, ipVersion, type Logger, messageOf, type Timer } from '@edgemesh/core';

/** Addresses of the local stubs of systemd-resolved; the real upstreams stand in another file. */
const SYSTEMD_STUBS: ReadonlySet<string> = new Set(['127.0.0.53', '127.0.0.54']);
/** Events of one rewrite come in a burst. */
const DEBOUNCE_MS = 50;

/** The `nameserver` and `search` lines of a resolv.conf (resolv.conf(5)); everything else is the business of clients. */
export function parseResolvConf(text: string): { nameservers: string[]; search: string[] } {
  const nameservers = new Set<string>();
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    const first = values[0];
    // A link-local upstream carries its zone: fe80::1%eth0.
    if (keyword === 'nameserver' && first && ipVersion(first.replace(/%.*$/, '')) !== 0) nameservers.add(first);
    // The last search or domain line wins.
    if (keyword === 'search' || keyword === 'domain') search = values;
  }
  return { nameservers: [...nameservers], search };
}

export interface ResolvConfOptions {
  readonly path: string;
  readonly systemdPath: string;
  readonly pollMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called with every new list that is not empty. */
  readonly onChange: (nameservers: readonly string[]) => void;
}

/** Follows a resolv.conf. */
export interface ResolvConf extends Disposable {
  /** What went wrong with the last reading; undefined when all is well. */
  readonly error: string | undefined;
}

/**
 * Reads the file and follows it through writes, renames and symlink swaps: the directories of the path and of what it
 * points to are watched, and it is read anew every `pollMs` besides. While it is missing or names nobody, the last list
 * stays.
 */
export async function followResolvConf(options: ResolvConfOptions): Promise<ResolvConf> {
  const { clock, log } = options;
  const watchers = new Map<string, FSWatcher>();
  let last = '';
  let error: string | undefined;
  let timer: Timer | undefined;
  let closed = false;

  const schedule = (ms: number) => {
    timer?.cancel();
    if (!closed) timer = clock.after(ms, () => detach('read resolv.conf', log, reload()));
  };
  const rewatch = (files: readonly string[]) => {
    const wanted = new Set(files.map((file) => dirname(file)));
    for (const [directory, watcher] of watchers) {
      if (wanted.has(directory)) continue;
      watcher.close();
      watchers.delete(directory);
    }
    for (const directory of wanted) {
      if (!watchers.has(directory)) watchDirectory(directory, watchers, () => schedule(DEBOUNCE_MS), log);
    }
  };
  const reload = async () => {
    const found = await readNameservers(options);
    if (closed) return;
    rewatch(found.files);
    const complaint = found.error ?? (found.nameservers.length === 0 ? 'no nameserver line' : undefined);
    if (complaint !== undefined && complaint !== error) {
      log.warn('resolv.conf gives no upstream, the last list stays', { path: options.path, error: complaint });
    }
    error = complaint;
    const list = found.nameservers.join(' ');
    if (list !== '' && list !== last) {
      last = list;
      options.onChange(found.nameservers);
    }
    schedule(options.pollMs);
  };
  await reload();

  return {
    get error() {
      return error;
    },
    [Symbol.dispose]() {
      closed = true;
      timer?.cancel();
      for (const watcher of watchers.values()) watcher.close();
      watchers.clear();
    },
  };
}

interface Found {
  readonly nameservers: string[];
  readonly files: readonly string[];
  readonly error?: string;
}

async function readNameservers({ path, systemdPath }: ResolvConfOptions): Promise<Found> {
  try {
    const files = [path, await realpath(path)];
    const { nameservers } = parseResolvConf(await readFile(path, 'utf8'));
    const real = nameservers.filter((address) => !SYSTEMD_STUBS.has(address));
    if (real.length === nameservers.length) return { nameservers, files };
    const behind = parseResolvConf(await readFile(systemdPath, 'utf8')).nameservers;
    return { nameservers: [...new Set([...real, ...behind])], files: [...files, systemdPath] };
  } catch (cause) {
    return { nameservers: [], files: [path], error: messageOf(cause) };
  }
}

/** Without the watch there is still the poll: a directory that is missing, or no inotify instance left. */
function watchDirectory(path: string, watchers: Map<string, FSWatcher>, changed: () => void, log: Logger): void {
  try {
    const watcher = watch(path, { persistent: false }, changed);
    watcher.on('error', (error) => {
      log.debug('watch of a directory ended', { path, error: messageOf(error) });
      watcher.close();
      watchers.delete(path);
    });
    watchers.set(path, watcher);
  } catch (error) {
    log.debug('directory can not be watched', { path, error: messageOf(error) });
  }
}
