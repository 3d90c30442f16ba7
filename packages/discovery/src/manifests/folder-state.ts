import { readFile } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type GroupKind, groupKind, type KubeObject, messageOf, objectKey } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { MANIFEST_TURN_MS } from '../options.ts';
import type { ListOutcome, SourceSink } from '../source.ts';
import { type ParsedManifest, parseSteps } from './parse.ts';
import type { FoundFile, Scan } from './scan.ts';

/** An object of a file, read ahead: what the sink made of it is what the sink itself holds, and takes no memory of its own. */
interface Held {
  readonly kind: GroupKind;
  readonly key: string;
  readonly metadata: Pick<KubeObject['metadata'], 'name' | 'namespace'>;
  readonly object: unknown;
}

interface FileState {
  readonly stamp: string;
  /** Objects of the last good state; undefined when there was none. */
  readonly good: readonly Held[] | undefined;
  readonly problems: readonly DiscoveryError[];
  /** It became empty, which may be an editor at work: its objects stay until it is found empty again. */
  readonly emptied?: boolean;
}

type Merged = ReadonlyMap<GroupKind, ReadonlyMap<string, Held>>;

/** What a pass over the folder found. */
export interface PassResult {
  /** A kind or a file shrank to nothing and is not believed yet. */
  readonly secondLook: boolean;
  /** Problems of all files, the ones that were known before too. */
  readonly problems: readonly DiscoveryError[];
  /** Problems that are new with this pass. */
  readonly news: readonly DiscoveryError[];
}

/** The files of a folder and what they said. */
export interface FolderState {
  /** Reads what has changed and hands the folder over to the sink. */
  apply(scan: Scan, sink: SourceSink): Promise<PassResult>;
}

/** Limits and defaults of reading. */
export interface FolderStateOptions {
  readonly maxFileBytes: number;
  readonly defaultNamespace: string;
}

/** The last good state of every file. */
export function createFolderState(options: FolderStateOptions): FolderState {
  const files = new Map<string, FileState>();
  let sent: Merged = new Map();

  const refresh = async ({ files: found, complete }: Scan, sink: SourceSink) => {
    const news: DiscoveryError[] = [];
    let emptied = false;
    const present = new Set(found.map(({ path }) => path));
    // a scan that was cut short does not prove that a file is gone
    if (complete) for (const path of [...files.keys()]) if (!present.has(path)) files.delete(path);
    for (const file of found) {
      const known = files.get(file.path);
      if (known?.stamp === file.stamp) continue;
      if (file.bytes === 0 && known?.good?.length && known.emptied !== true) {
        files.set(file.path, { ...known, emptied: true });
        emptied = true;
        continue;
      }
      const { objects, problems } = await readManifest(file, options);
      const good = problems.length === 0 ? objects.map((object) => hold(object, sink)) : known?.good;
      files.set(file.path, { stamp: file.stamp, good, problems });
      news.push(...problems);
    }
    return { news, emptied };
  };
  const merge = () => {
    const merged = new Map<GroupKind, Map<string, Held>>();
    const duplicates: DiscoveryError[] = [];
    for (const [path, { good }] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
      for (const held of good ?? []) {
        const { kind, key } = held;
        const ofKind = merged.get(kind) ?? new Map<string, Held>();
        merged.set(kind, ofKind);
        if (!ofKind.has(key)) ofKind.set(key, held);
        else duplicates.push(duplicate(path, kind, key));
      }
    }
    return { merged, duplicates };
  };
  return {
    async apply(scan, sink) {
      const { news, emptied } = await refresh(scan, sink);
      const { merged, duplicates } = merge();
      // with a file that was never readable here, the snapshot may know objects that are still meant to be
      const whole = scan.complete && [...files.values()].every(({ good }) => good !== undefined);
      const secondLook = whole ? replaceAll(sink, merged) : applyChanges(sink, sent, merged);
      sent = merged;
      const problems = [...[...files.values()].flatMap((file) => file.problems), ...duplicates];
      return { secondLook: secondLook || emptied, problems, news: news.length > 0 ? [...news, ...duplicates] : [] };
    },
  };
}

async function readManifest(file: FoundFile, options: FolderStateOptions): Promise<ParsedManifest> {
  const { path } = file;
  const bad = (message: string) => {
    const problem = new DiscoveryError('invalid-manifest', `${path}:1: ${message}`, { file: path, line: 1 });
    return { objects: [], problems: [problem] };
  };
  if (file.bytes > options.maxFileBytes)
    return bad(`has ${file.bytes} bytes, at most ${options.maxFileBytes} are read`);
  try {
    return await inTurns(parseSteps(await readFile(path, 'utf8'), path, options.defaultNamespace));
  } catch (error) {
    return bad(`cannot be read: ${messageOf(error)}`);
  }
}

/** Works through the documents of a file and gives everybody else their turn. */
async function inTurns<T>(steps: Generator<void, T, void>): Promise<T> {
  for (let started = performance.now(); ; ) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - started < MANIFEST_TURN_MS) continue;
    await nextTurn();
    started = performance.now();
  }
}

function hold(object: KubeObject, sink: SourceSink): Held {
  const kind = groupKind(object);
  const { name, namespace } = object.metadata;
  const metadata = { name, ...(namespace !== undefined && { namespace }) };
  return { kind, key: objectKey(object.metadata), metadata, object: sink.prepare?.(kind, object) ?? object };
}

function replaceAll(sink: SourceSink, merged: Merged): boolean {
  const outcomes: ListOutcome[] = [];
  for (const kind of new Set([...sink.held(), ...merged.keys()])) {
    const objects = [...(merged.get(kind)?.values() ?? [])].map(({ object }) => object);
    outcomes.push(sink.replace({ kind, objects, authority: 'authoritative' }));
  }
  return outcomes.includes('second-look');
}

/** Adds and updates all, removes only what this process itself has added before. */
function applyChanges(sink: SourceSink, before: Merged, after: Merged): boolean {
  for (const ofKind of after.values()) for (const { object } of ofKind.values()) sink.upsert(object);
  for (const [kind, ofKind] of before) {
    for (const [key, { metadata }] of ofKind) {
      if (after.get(kind)?.has(key)) continue;
      sink.remove({ kind, name: metadata.name, ...(metadata.namespace && { namespace: metadata.namespace }) });
    }
  }
  return false;
}

function duplicate(file: string, kind: GroupKind, key: string): DiscoveryError {
  const message = `${file}:1: ${kind} ${key} also stands in another file, which comes first`;
  return new DiscoveryError('invalid-manifest', message, { file, line: 1 });
}
