import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, detach, type Logger, messageOf, type Timer } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import {
  DEFAULT_SNAPSHOT_DEBOUNCE_MS,
  DEFAULT_SNAPSHOT_MAX_BYTES,
  DEFAULT_SNAPSHOT_MAX_DELAY_MS,
  DEFAULT_SNAPSHOT_REFRESH_MS,
  SNAPSHOT_BATCH,
  SNAPSHOT_BYTES_PER_SECOND,
} from '../options.ts';
import { encodeSnapshot } from './format.ts';
import type { Snapshot, SnapshotOptions } from './types.ts';

/** The file, the state to write and the ports. */
export interface SnapshotWriterOptions extends SnapshotOptions {
  readonly file: string;
  /** The state to write, taken at the moment of writing. */
  readonly read: () => Snapshot;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<DiscoveryMetrics, 'snapshotWrites' | 'snapshotBytes'>;
}

/** Keeps the file close behind the state without wearing out the flash it lies on. */
export interface SnapshotWriter extends AsyncDisposable {
  /** Something changed: write soon. */
  changed(): void;
  /** Only the age may have changed: write when the file is old. */
  refresh(): void;
}

/** Writes debounced, one at a time; disposing writes what is outstanding. */
export function createSnapshotWriter(options: SnapshotWriterOptions): SnapshotWriter {
  const { file, read, clock, log, metrics } = options;
  const debounceMs = options.debounceMs ?? DEFAULT_SNAPSHOT_DEBOUNCE_MS;
  const maxDelayMs = options.maxDelayMs ?? DEFAULT_SNAPSHOT_MAX_DELAY_MS;
  const refreshMs = options.refreshMs ?? DEFAULT_SNAPSHOT_REFRESH_MS;
  const maxBytes = options.maxBytes ?? DEFAULT_SNAPSHOT_MAX_BYTES;
  let dirtySince: number | undefined;
  let timer: Timer | undefined;
  let writtenAt = clock.now();
  /** Of the last file that was written. */
  let bytes = 0;
  let writing: Promise<void> = Promise.resolve();
  let stopped = false;

  const write = async () => {
    dirtySince = undefined;
    writtenAt = clock.now();
    try {
      bytes = await writeSnapshot(file, read(), maxBytes);
      metrics.snapshotWrites.with('ok').add();
      metrics.snapshotBytes.set(bytes);
    } catch (error) {
      metrics.snapshotWrites.with('failed').add();
      log.error('snapshot not written', { file, error: messageOf(error) });
    }
  };
  const start = () => {
    timer = undefined;
    writing = writing.then(write);
    detach('write snapshot', log, writing);
  };
  const schedule = () => {
    if (stopped) return;
    const now = clock.now();
    dirtySince ??= now;
    timer?.cancel();
    const soon = Math.min(debounceMs, Math.max(0, dirtySince + maxDelayMs - now));
    // a large cluster always changes: without this its whole state would go to the flash every 30 seconds
    const spared = writtenAt + (bytes * 1_000) / SNAPSHOT_BYTES_PER_SECOND - now;
    timer = clock.after(Math.max(soon, bytes === 0 ? 0 : spared), start);
  };
  return {
    changed: schedule,
    refresh() {
      if (dirtySince === undefined && clock.now() - writtenAt >= refreshMs) schedule();
    },
    async [Symbol.asyncDispose]() {
      if (!stopped) {
        stopped = true;
        timer?.cancel();
        start();
      }
      await writing;
    },
  };
}

/**
 * Writes atomically: a temporary file beside it, fsync, rename, fsync of the folder. A power cut leaves the old file or the
 * new one. Readable by the owner only, as it may hold the Secrets of gateways. Returns the size in bytes.
 */
export async function writeSnapshot(file: string, snapshot: Snapshot, maxBytes: number): Promise<number> {
  const temporary = `${file}.tmp`;
  await mkdir(dirname(file), { recursive: true });
  let bytes = 0;
  try {
    await using handle = await open(temporary, 'w', 0o600);
    for (const chunk of batches(encodeSnapshot(snapshot))) {
      bytes += Buffer.byteLength(chunk);
      if (bytes > maxBytes) {
        throw new DiscoveryError(
          'snapshot-too-large',
          `the snapshot would exceed ${maxBytes} bytes, the last one is kept`,
        );
      }
      await handle.appendFile(chunk);
      await nextTurn();
    }
    await handle.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await rename(temporary, file);
  await syncFolder(dirname(file));
  return bytes;
}

function* batches(lines: Iterable<string>): Generator<string, void, void> {
  let batch: string[] = [];
  for (const line of lines) {
    batch.push(line);
    if (batch.length < SNAPSHOT_BATCH) continue;
    yield batch.join('');
    batch = [];
  }
  if (batch.length > 0) yield batch.join('');
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}
