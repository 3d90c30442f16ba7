import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CNI_DEFAULTS } from '../options.ts';
import { type NodeFacts, renderNodeFile } from './node-file.ts';

/** Writes what the plugin must know of this node, atomically: a pod may be added at the same moment. */
export async function writeNodeFile(facts: NodeFacts, path: string = CNI_DEFAULTS.nodeFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const beside = `${path}.new`;
  await writeFile(beside, renderNodeFile(facts), { mode: 0o644 });
  await rename(beside, path);
}
