import { readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LinuxError } from '../errors.ts';

/** Where kubelet puts pods, below the root of the hierarchy: the systemd driver, and the cgroupfs driver. */
const POD_GROUPS = ['kubepods.slice', 'kubepods'];

/** Groups of processes in cgroup v2, as folders. */
export interface ProcessGroups {
  /** All processes. */
  readonly all: string;
  /** Pods; undefined: there is no such group. A group that was made anew has another `inode`. */
  readonly pods?: { readonly path: string; readonly inode: number };
  /** False: this process sees a part of the hierarchy only, so `all` are those in there. */
  readonly isWhole: boolean;
}

/**
 * Finds the hierarchy of cgroup v2 and kubelet's group in it. `podGroup` names another one, relative to the hierarchy. Rejects with
 * LinuxError `unsupported` where there is none, and `failed` where the named group is missing.
 */
export async function findProcessGroups(podGroup?: string): Promise<ProcessGroups> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  const all = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, , type]) => type === 'cgroup2')?.[1];
  if (all === undefined) throw new LinuxError('unsupported', 'cgroup v2 is not mounted');
  const isWhole = (await readlink('/proc/self/ns/cgroup').catch(() => INITIAL_NAMESPACE)) === INITIAL_NAMESPACE;
  for (const name of podGroup === undefined ? POD_GROUPS : [podGroup]) {
    const path = join(all, name);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) return { all, pods: { path, inode: found.ino }, isWhole };
  }
  if (podGroup === undefined) return { all, isWhole };
  throw new LinuxError('failed', `there is no group of processes ${join(all, podGroup)}`);
}

/** Of the machine (linux/proc_ns.h). */
const INITIAL_NAMESPACE = 'cgroup:[4026531835]';
