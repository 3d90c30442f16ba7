import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LinuxError } from '../errors.ts';

/** Where kubelet puts pods, below the root of the hierarchy: the systemd driver, and the cgroupfs driver. */
const POD_GROUPS = ['kubepods.slice', 'kubepods'];

/** Groups of processes in cgroup v2, as folders. */
export interface ProcessGroups {
  /** All processes. */
  readonly all: string;
  /** Pods; undefined: there is no such group. */
  readonly pods?: string;
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
  if (podGroup !== undefined) {
    const pods = join(all, podGroup);
    if (!(await exists(pods))) throw new LinuxError('failed', `there is no group of processes ${pods}`);
    return { all, pods };
  }
  for (const name of POD_GROUPS) if (await exists(join(all, name))) return { all, pods: join(all, name) };
  return { all };
}

const exists = (path: string) =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
