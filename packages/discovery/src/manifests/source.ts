import { type Clock, type Logger, messageOf, silentLogger, systemClock, type Timer } from '@edgemesh/core';
import {
  DEFAULT_MANIFEST_DEBOUNCE_MS,
  DEFAULT_MANIFEST_MAX_FILE_BYTES,
  DEFAULT_MANIFEST_MAX_FILES,
  DEFAULT_MANIFEST_RESCAN_MS,
  MANIFEST_SECOND_LOOK_MS,
} from '../options.ts';
import type { Source, SourceSink } from '../source.ts';
import { createFolderState, type FolderState, type PassResult } from './folder-state.ts';
import { createFolderWatch } from './folder-watch.ts';
import { scanFolder } from './scan.ts';

/** The folder and how it is followed. */
export interface ManifestSourceOptions {
  /** Folder of .yaml, .yml and .json files, nested ones included. */
  readonly directory: string;
  /** Default `manifests`. */
  readonly name?: string;
  /** Namespace of namespaced objects that name none. Default `default`. */
  readonly defaultNamespace?: string;
  /** Periodic scan, milliseconds. Default 30,000. */
  readonly rescanMs?: number;
  /** Milliseconds between a notice of change and the scan. Default 20. */
  readonly debounceMs?: number;
  /** Largest file, bytes. Default 8 MiB. */
  readonly maxFileBytes?: number;
  /** Files read. Default 5,000. */
  readonly maxFiles?: number;
  readonly clock?: Clock;
  readonly log?: Logger;
}

/**
 * A folder of Kubernetes objects as a source. A file with a mistake keeps its last good state and is reported with its line;
 * a removed file takes its objects with it; a folder that cannot be read keeps everything.
 */
export function createManifestSource(options: ManifestSourceOptions): Source {
  const { directory, name = 'manifests', clock = systemClock } = options;
  const log = (options.log ?? silentLogger).child({ source: name });
  const rescanMs = options.rescanMs ?? DEFAULT_MANIFEST_RESCAN_MS;
  const debounceMs = options.debounceMs ?? DEFAULT_MANIFEST_DEBOUNCE_MS;
  return {
    name,
    async run(sink, signal) {
      const pause = createPause(clock, signal);
      const state = createFolderState({
        maxFileBytes: options.maxFileBytes ?? DEFAULT_MANIFEST_MAX_FILE_BYTES,
        defaultNamespace: options.defaultNamespace ?? 'default',
      });
      using watch = createFolderWatch(pause.notice, log);
      const pass = () =>
        onePass({ directory, maxFiles: options.maxFiles ?? DEFAULT_MANIFEST_MAX_FILES, state, sink, log, watch });
      while (!signal.aborted) {
        const again = await pass();
        await pause.wait(again ? MANIFEST_SECOND_LOOK_MS : rescanMs, debounceMs);
      }
    },
  };
}

interface Pass {
  readonly directory: string;
  readonly maxFiles: number;
  readonly state: FolderState;
  readonly sink: SourceSink;
  readonly log: Logger;
  readonly watch: { follow(folders: readonly string[]): boolean };
}

/** True when a second look is wanted soon. */
async function onePass({ directory, maxFiles, state, sink, log, watch }: Pass): Promise<boolean> {
  try {
    const before = await scanFolder(directory, maxFiles);
    // watch first and read after, so that a change in between is noticed
    const scan = watch.follow(before.folders) ? await scanFolder(directory, maxFiles) : before;
    const result = await state.apply(scan, sink);
    for (const { file, line, message } of result.news)
      log.warn('manifest is bad, its last good state is kept', { file, line, error: message });
    sink.report('live', summary(result, scan.complete));
    sink.synced();
    return result.secondLook;
  } catch (error) {
    watch.follow([]);
    sink.report('offline', messageOf(error));
    return false;
  }
}

function summary({ problems }: PassResult, complete: boolean): string | undefined {
  const first = problems[0];
  if (first !== undefined)
    return problems.length === 1 ? first.message : `${first.message} (and ${problems.length - 1} more)`;
  return complete ? undefined : 'the folder has too many files, is too deep, or cannot be read in part';
}

/** A wait that a notice of change cuts short. */
function createPause(clock: Clock, signal: AbortSignal) {
  let noticed = false;
  let hurry: (() => void) | undefined;
  return {
    notice: () => {
      noticed = true;
      hurry?.();
    },
    /** Waits `ms`, or `debounceMs` from the first notice, or until the signal aborts. */
    wait: (ms: number, debounceMs: number) =>
      new Promise<void>((resolve) => {
        let timer: Timer | undefined;
        const done = () => {
          timer?.cancel();
          hurry = undefined;
          noticed = false;
          signal.removeEventListener('abort', done);
          resolve();
        };
        const set = (delay: number) => {
          timer?.cancel();
          timer = clock.after(delay, done);
        };
        if (signal.aborted) return resolve();
        signal.addEventListener('abort', done, { once: true });
        hurry = () => {
          hurry = undefined;
          set(debounceMs);
        };
        set(noticed ? Math.min(ms, debounceMs) : ms);
      }),
  };
}
