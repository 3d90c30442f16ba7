import { messageOf } from '@edgemesh/core';
import { LinuxError } from './errors.ts';
import { mustRun, type Runner } from './exec.ts';
import { removeLink } from './link/link.ts';
import { removeTable } from './nft/table.ts';
import { LINUX_DEFAULTS } from './options.ts';

export interface CleanupOptions {
  /** Link to remove. Default edgemesh0. */
  readonly linkName?: string;
}

/** One thing that cleanup looked at. */
export interface CleanupStep {
  readonly what: string;
  /** `removed`, `absent`, or why it could not be done. */
  readonly result: string;
}

/**
 * Removes everything that an agent of any version may have left in the kernel: nftables tables named edgemesh or
 * edgemesh-*, the link, our routes and rules. Never throws; each step is tried whatever became of the others.
 */
export async function cleanupAll(runner: Runner, options: CleanupOptions = {}): Promise<readonly CleanupStep[]> {
  const steps: CleanupStep[] = [];
  const attempt = async (what: string, work: () => Promise<string>) => {
    steps.push({ what, result: await work().catch((error: unknown) => messageOf(error)) });
  };
  let tables: string[] = [];
  await attempt('nftables', async () => {
    tables = await ourTables(runner);
    return tables.length === 0 ? 'absent' : `found ${tables.join(', ')}`;
  });
  for (const table of tables) {
    await attempt(`table inet ${table}`, async () => {
      await removeTable(runner, table);
      return 'removed';
    });
  }
  const link = options.linkName ?? LINUX_DEFAULTS.linkName;
  await attempt(`link ${link}`, async () => {
    const { changes } = await removeLink(runner, link);
    return changes.length === 0 ? 'absent' : 'removed';
  });
  return steps;
}

async function ourTables(runner: Runner): Promise<string[]> {
  const { stdout } = await mustRun(runner, 'nft', ['list', 'tables', 'inet']).catch((error: unknown) => {
    if (error instanceof LinuxError && error.code === 'missing-tool') return { stdout: '' };
    throw error;
  });
  return [...stdout.matchAll(/^table inet (edgemesh(?:[-_][\w-]*)?)$/gm)].map((match) => match[1] as string);
}
