import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KubeApi } from './api/kube-api.ts';
import { parseManifests } from './api/manifests.ts';
import type { Manifest } from './api/object.ts';

export interface FolderOptions {
  readonly api: KubeApi;
  readonly path: string;
  /** Told of files that cannot be read or applied; their objects stay as they were. */
  readonly onError: (error: Error) => void;
  /** Quiet time after a change before the folder is read again, ms; default 50. */
  readonly settleMs?: number;
}

/** Applies every `.yaml`, `.yml` and `.json` file of a folder, and keeps following it: what leaves the files is removed. */
export async function followFolder(options: FolderOptions): Promise<Disposable> {
  const { api, path, onError } = options;
  const keys = new Map<string, Map<string, Manifest>>();
  const load = async () => {
    const files = (await readdir(path)).filter((file) => /\.(ya?ml|json)$/.test(file)).sort();
    for (const file of new Set([...keys.keys(), ...files])) {
      try {
        const manifests = files.includes(file) ? parseManifests(await readFile(join(path, file), 'utf8')) : [];
        const before = keys.get(file) ?? new Map<string, Manifest>();
        const now = new Map(manifests.map((manifest) => [keyOf(manifest), manifest]));
        for (const manifest of manifests) api.apply(manifest);
        for (const [key, old] of before) if (!now.has(key)) removeManifest(api, old);
        keys.set(file, now);
      } catch (cause) {
        onError(new Error(`${join(path, file)}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause }));
      }
    }
  };
  let loading = load();
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(path, () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      loading = loading
        .then(load)
        .catch((cause: unknown) => onError(new Error(`${path}: ${String(cause)}`, { cause })));
    }, options.settleMs ?? 50);
  });
  await loading;
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watcher.close();
    },
  };
}

const keyOf = ({ apiVersion, kind, metadata }: Manifest) =>
  `${apiVersion}/${kind}/${metadata.namespace ?? 'default'}/${metadata.name}`;

function removeManifest(api: KubeApi, manifest: Manifest): void {
  const kind = api.kinds.byKind(manifest.apiVersion, manifest.kind);
  if (kind) api.remove(`${kind.kind}.${kind.group}`, manifest.metadata.namespace, manifest.metadata.name ?? '');
}
