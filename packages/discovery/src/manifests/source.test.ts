import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRecordingLogger } from '@edgemesh/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiscovery, type Discovery } from '../catalog/index.ts';
import { until, untilStatus } from '../kubernetes/test-until.ts';
import { createManifestSource } from './source.ts';

let folder: string;
let stack: AsyncDisposableStack;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-manifests-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
});
afterEach(() => stack.disposeAsync());

const yaml = (name: string, port = 80) =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {ports: [{port: ${port}}]}\n`;
const put = (path: string, text: string) => writeFile(join(folder, path), text);

async function start(options: { rescanMs?: number; snapshotFile?: string; directory?: string } = {}) {
  const log = createRecordingLogger();
  const { directory = folder, rescanMs = 60_000 } = options;
  const source = createManifestSource({ directory, debounceMs: 10, rescanMs, log });
  const discovery = stack.use(
    await createDiscovery({
      sources: [source],
      publishWindowMs: 0,
      ...(options.snapshotFile && { snapshotFile: options.snapshotFile }),
    }),
  );
  await discovery.whenSynced();
  return { discovery, log };
}
const names = (discovery: Discovery) => [...discovery.current.services.keys()].sort();
const portOf = (discovery: Discovery, name: string) =>
  discovery.current.services.get(`default/${name}`)?.ports[0]?.port;

describe('a folder of manifests', () => {
  it('is read with its nested folders, without hidden and foreign files', async () => {
    await mkdir(join(folder, 'deep', 'er'), { recursive: true });
    await put('a.yaml', yaml('a'));
    await put('deep/b.yml', yaml('b'));
    await put('deep/er/c.json', JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'c' } }));
    await put('.hidden.yaml', yaml('hidden'));
    await put('notes.txt', 'not: yaml');
    await symlink('..', join(folder, 'deep', 'circle'));
    const { discovery } = await start();
    expect(names(discovery)).toEqual(['default/a', 'default/b', 'default/c']);
  });

  it('is followed: new, changed, moved and removed files', async () => {
    await put('a.yaml', yaml('a'));
    const { discovery } = await start();
    await put('b.yaml', yaml('b'));
    await until(discovery, ({ services }) => services.has('default/b'));
    await put('b.yaml', yaml('b', 81));
    await until(discovery, () => portOf(discovery, 'b') === 81);
    await mkdir(join(folder, 'sub'));
    await rename(join(folder, 'a.yaml'), join(folder, 'sub', 'c.yaml'));
    await put('sub/d.yaml', yaml('d'));
    await until(discovery, ({ services }) => services.has('default/d'));
    await unlink(join(folder, 'b.yaml'));
    await until(discovery, ({ services }) => !services.has('default/b'));
    expect(names(discovery)).toEqual(['default/a', 'default/d']);
  });

  it('believes that a file has become empty only when it still is a moment later', async () => {
    await put('a.yaml', yaml('a'));
    await put('b.yaml', yaml('b'));
    const { discovery } = await start();
    const seen: (readonly string[])[] = [];
    discovery.subscribe(() => seen.push(names(discovery)));
    // as an editor does: cut to nothing, then written
    await put('b.yaml', '');
    await put('b.yaml', yaml('b', 81));
    await until(discovery, () => portOf(discovery, 'b') === 81);
    expect(seen).toEqual([['default/a', 'default/b']]);
    await put('b.yaml', '');
    await until(discovery, ({ services }) => !services.has('default/b'));
    expect(names(discovery)).toEqual(['default/a']);
  });

  it('keeps the identity of what a changed file says as before', async () => {
    await put('a.yaml', `${yaml('a')}---\n${yaml('b')}`);
    const { discovery } = await start();
    const before = discovery.current.services.get('default/a');
    await put('a.yaml', `${yaml('a')}---\n${yaml('b', 81)}`);
    await until(discovery, () => portOf(discovery, 'b') === 81);
    expect(discovery.current.services.get('default/a')).toBe(before);
  });

  it('may become empty, after a second look', async () => {
    await put('a.yaml', yaml('a'));
    const { discovery } = await start();
    await unlink(join(folder, 'a.yaml'));
    await until(discovery, ({ services }) => services.size === 0);
  });

  it('keeps the last good state of a bad file and says where it is bad', async () => {
    await put('a.yaml', yaml('a'));
    await put('b.yaml', yaml('b'));
    const { discovery, log } = await start();
    await put('a.yaml', `${yaml('new')}---\napiVersion: v1\nkind: Service\nmetadata: {name: [}\n`);
    const status = await untilStatus(discovery, ({ sources }) => sources[0]?.error !== undefined);
    expect(status.sources[0]?.error).toContain(`${join(folder, 'a.yaml')}:8: `);
    expect(log.lines.some(({ fields }) => fields.file === join(folder, 'a.yaml') && fields.line === 8)).toBe(true);
    expect(names(discovery)).toEqual(['default/a', 'default/b']);
    await put('a.yaml', yaml('fixed'));
    await until(discovery, ({ services }) => services.has('default/fixed'));
    expect(names(discovery)).toEqual(['default/b', 'default/fixed']);
    await untilStatus(discovery, ({ sources }) => sources[0]?.error === undefined);
  });

  it('follows a ConfigMap mount, whose data is swapped behind a link', async () => {
    const version = async (name: string, ...services: string[]) => {
      await mkdir(join(folder, name));
      for (const service of services) await put(`${name}/${service}.yaml`, yaml(service));
      await symlink(name, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    await version('..2026_1', 'a', 'b');
    for (const name of ['a', 'b', 'c']) await symlink(`..data/${name}.yaml`, join(folder, `${name}.yaml`));
    const { discovery } = await start();
    expect(names(discovery)).toEqual(['default/a', 'default/b']);
    await version('..2026_2', 'b', 'c');
    await until(discovery, ({ services }) => services.has('default/c'));
    expect(names(discovery)).toEqual(['default/b', 'default/c']);
  });

  it('finds changes by its periodic scan where nothing is noticed', async () => {
    const target = await mkdtemp(join(tmpdir(), 'edgemesh-target-'));
    stack.defer(() => rm(target, { recursive: true }));
    await writeFile(join(target, 'a.yaml'), yaml('a'));
    await symlink(join(target, 'a.yaml'), join(folder, 'a.yaml'));
    const { discovery } = await start({ rescanMs: 20 });
    // no folder that is watched sees this write
    await writeFile(join(target, 'a.yaml'), yaml('changed'));
    await until(discovery, ({ services }) => services.has('default/changed'));
  });

  it('keeps everything while the folder cannot be read, and finds it again', async () => {
    const directory = join(folder, 'mounted');
    await mkdir(directory);
    await put('mounted/a.yaml', yaml('a'));
    const { discovery } = await start({ directory, rescanMs: 20 });
    await rename(directory, join(folder, 'away'));
    await untilStatus(discovery, ({ sources }) => sources[0]?.state === 'offline');
    expect(names(discovery)).toEqual(['default/a']);
    await rename(join(folder, 'away'), directory);
    await put('mounted/b.yaml', yaml('b'));
    await until(discovery, ({ services }) => services.has('default/b'));
  });

  it('takes the first of two files that say the same, and reports the other', async () => {
    await put('1.yaml', yaml('a', 81));
    await put('2.yaml', yaml('a', 82));
    const { discovery } = await start();
    expect(portOf(discovery, 'a')).toBe(81);
    expect(discovery.status().sources[0]?.error).toContain('2.yaml');
  });

  it('removes nothing on a restart with a file that is bad from the start', async () => {
    const state = await mkdtemp(join(tmpdir(), 'edgemesh-state-'));
    stack.defer(() => rm(state, { recursive: true }));
    const snapshotFile = join(state, 'snapshot');
    await put('a.yaml', yaml('a'));
    await put('b.yaml', yaml('b'));
    const first = await start({ snapshotFile });
    await first.discovery[Symbol.asyncDispose]();
    await put('b.yaml', 'broken: [');
    const { discovery } = await start({ snapshotFile });
    expect(names(discovery)).toEqual(['default/a', 'default/b']);
    await put('b.yaml', yaml('c'));
    await until(discovery, ({ services }) => !services.has('default/b'));
    expect(names(discovery)).toEqual(['default/a', 'default/c']);
  });
});
