import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MANIFEST_MAX_DEPTH } from '../options.ts';

/** A manifest file as it lies on disk. */
export interface FoundFile {
  readonly path: string;
  readonly bytes: number;
  /** Changes with the content. */
  readonly stamp: string;
}

/** What a folder holds at one moment. */
export interface Scan {
  /** Sorted by path. */
  readonly files: readonly FoundFile[];
  readonly folders: readonly string[];
  /** False when the limit of files or depth cut it short, or a folder could not be read. */
  readonly complete: boolean;
}

/**
 * Walks a folder for .yaml, .yml and .json files. Symbolic links are followed, circles are not. Names that begin with a dot
 * are skipped: editors' files, and the `..data` folders of a ConfigMap mount, whose files are seen through their links.
 * Rejects when the folder itself cannot be read.
 */
export async function scanFolder(root: string, maxFiles: number): Promise<Scan> {
  const files: FoundFile[] = [];
  const folders: string[] = [];
  const visited = new Set<string>();
  let complete = true;
  const walk = async (folder: string, depth: number): Promise<void> => {
    const real = await realpath(folder);
    if (visited.has(real)) return;
    visited.add(real);
    const names = await readdir(folder);
    folders.push(folder);
    for (const name of names.sort((a, b) => (a < b ? -1 : 1))) {
      if (name.startsWith('.')) continue;
      const path = join(folder, name);
      const info = await statOrUndefined(path);
      if (info?.isDirectory()) {
        if (depth >= MANIFEST_MAX_DEPTH) complete = false;
        else {
          await walk(path, depth + 1).catch(() => {
            // gone or unreadable: what was read from it before stays until it can be read again
            complete = false;
          });
        }
      } else if (info?.isFile() && /\.(ya?ml|json)$/i.test(name)) {
        if (files.length >= maxFiles) complete = false;
        else files.push({ path, bytes: info.size, stamp: `${info.mtimeMs} ${info.ctimeMs} ${info.size} ${info.ino}` });
      }
    }
  };
  await walk(root, 0);
  return { files, folders, complete };
}

/** Undefined for what vanished between reading the folder and looking at it, and for dangling links. */
async function statOrUndefined(path: string) {
  try {
    return await stat(path);
  } catch {
    // the next scan sees what became of it
    return undefined;
  }
}
