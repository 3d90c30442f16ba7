import { readFile, rename, stat } from 'node:fs/promises';
import { type Logger, messageOf } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { DEFAULT_SNAPSHOT_MAX_BYTES } from '../options.ts';
import { decodeSnapshot } from './format.ts';
import type { Snapshot } from './types.ts';

/** Which file to load. */
export interface LoadOptions {
  readonly file: string;
  readonly maxBytes?: number;
  readonly log: Logger;
}

/**
 * Loads a snapshot. Undefined when there is none. What cannot be used is logged, set aside as `<file>.corrupt` for a human
 * to look at, and counts as none: a damaged file must never keep a node from starting.
 */
export async function loadSnapshot({
  file,
  maxBytes = DEFAULT_SNAPSHOT_MAX_BYTES,
  log,
}: LoadOptions): Promise<Snapshot | undefined> {
  try {
    const { size } = await stat(file);
    if (size > maxBytes)
      throw new DiscoveryError('snapshot-too-large', `the snapshot has ${size} bytes, at most ${maxBytes} are read`);
    return decodeSnapshot(await readFile(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const code = error instanceof DiscoveryError ? error.code : 'snapshot-io';
    log.warn('snapshot ignored', { file, code, error: messageOf(error) });
    if (error instanceof DiscoveryError) await setAside(file, log);
    return undefined;
  }
}

async function setAside(file: string, log: Logger): Promise<void> {
  try {
    await rename(file, `${file}.corrupt`);
  } catch (error) {
    log.warn('snapshot could not be set aside', { file, error: messageOf(error) });
  }
}
