import { type FSWatcher, watch } from 'node:fs';
import { type Logger, messageOf } from '@edgemesh/core';
import { MANIFEST_MAX_WATCHED_FOLDERS } from '../options.ts';

/** Notices of change for a set of folders. */
export interface FolderWatch extends Disposable {
  /** Watches exactly these folders from now on. True when there is one that was not watched before, or cannot be. */
  follow(folders: readonly string[]): boolean;
}

/**
 * One fs.watch per folder. Where it does not work (inotify limits, network file systems) the periodic scan is left, so a
 * failure is logged once and otherwise ignored.
 */
export function createFolderWatch(onChange: () => void, log: Logger): FolderWatch {
  const watchers = new Map<string, FSWatcher>();
  let complained = false;
  const drop = (folder: string) => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  const failed = (folder: string, error: unknown) => {
    drop(folder);
    if (!complained)
      log.warn('folder cannot be watched, relying on the periodic scan', { folder, error: messageOf(error) });
    complained = true;
  };
  return {
    follow(folders) {
      const wanted = new Set(folders.slice(0, MANIFEST_MAX_WATCHED_FOLDERS));
      for (const folder of [...watchers.keys()]) if (!wanted.has(folder)) drop(folder);
      let fresh = folders.length > wanted.size;
      for (const folder of wanted) {
        if (watchers.has(folder)) continue;
        fresh = true;
        try {
          const watcher = watch(folder, { persistent: false }, (event, name) => {
            // the folder itself was moved or removed: the watch follows the old inode, so it must be made anew
            if (event === 'rename' && name !== null && folder.endsWith(`/${name}`)) drop(folder);
            onChange();
          });
          watcher.on('error', (error) => failed(folder, error));
          watchers.set(folder, watcher);
        } catch (error) {
          failed(folder, error);
        }
      }
      return fresh;
    },
    [Symbol.dispose]() {
      for (const folder of [...watchers.keys()]) drop(folder);
    },
  };
}
