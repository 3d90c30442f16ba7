import { readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { execCommand } from './process.ts';

/** Every namespace of every lab starts so; stale ones are found by it. */
export const LAB_PREFIX = 'emlab-';
let counter = 0;

/** A prefix that no other living process uses: `emlab-<pid>-<start time of the process>-<n>-`. */
export function newLabPrefix(): string {
  return `${LAB_PREFIX}${process.pid}-${startTime(process.pid)}-${counter++}-`;
}

/** Start time of a process in clock ticks since boot, undefined when there is none: tells a reused pid apart. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined; // gone
  }
}

/** True when the lab that owns this namespace belongs to a process that no longer runs. */
export function isStale(namespace: string): boolean {
  const match = /^emlab-(\d+)-(\d+)-/.exec(namespace);
  return match !== null && startTime(Number(match[1])) !== match[2];
}

/** Deletes namespaces and /etc/netns folders, killing what still runs in them. Missing ones are fine. */
export async function deleteNamespaces(names: readonly string[]): Promise<void> {
  const { stdout } = await execCommand('ip', ['netns', 'list']);
  const present = new Set(stdout.split('\n').map((line) => line.split(' ')[0] as string));
  const mine = names.filter((name) => present.has(name));
  for (const name of mine) {
    const pids = await execCommand('ip', ['netns', 'pids', name]);
    for (const pid of pids.stdout.split('\n').filter(Boolean)) tryKill(Number(pid));
  }
  if (mine.length > 0) {
    await execCommand('ip', ['-force', '-batch', '-'], { input: mine.map((name) => `netns del ${name}\n`).join('') });
  }
  await Promise.all(names.map((name) => rm(`/etc/netns/${name}`, { recursive: true, force: true })));
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return; // it ended by itself
  }
}

/** Deletes what labs of dead processes left behind. Returns the names. */
export async function cleanupStaleLabs(): Promise<readonly string[]> {
  const { stdout } = await execCommand('ip', ['netns', 'list']);
  const folders = await readdir('/etc/netns').catch(() => []);
  const names = new Set([...stdout.split('\n').map((line) => line.split(' ')[0] as string), ...folders]);
  const stale = [...names].filter(isStale);
  if (stale.length > 0) await deleteNamespaces(stale);
  return stale;
}
