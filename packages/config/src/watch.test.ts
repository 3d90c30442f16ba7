import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError } from './errors.ts';
import { type ConfigWatch, type WatchConfigOptions, watchConfigFile } from './watch.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-config-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Events in the order in which they come; `next` waits for one. */
function queue<T>() {
  const items: T[] = [];
  const waiting: ((item: T) => void)[] = [];
  return {
    items,
    push(item: T) {
      const waiter = waiting.shift();
      if (waiter === undefined) items.push(item);
      else waiter(item);
    },
    next: () =>
      items.length > 0 ? Promise.resolve(items.shift() as T) : new Promise<T>((resolve) => waiting.push(resolve)),
  };
}

function parse(text: string): string {
  if (text.includes('bad')) throw new ConfigError('invalid', [{ path: 'a', message: 'is bad' }]);
  return text.trim();
}

async function watching(path: string, options: Partial<WatchConfigOptions<string>> = {}) {
  const changes = queue<string>();
  const errors = queue<string>();
  const watch: ConfigWatch = await watchConfigFile(path, (value) => changes.push(value), {
    parse,
    onError: (error) => errors.push(error.code),
    debounceMs: 10,
    ...options,
  });
  return { watch, changes, errors };
}

describe('a watched file', () => {
  it('is read again after an edit in place', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'one');
    const { watch, changes } = await watching(path);
    await using _ = watch;
    await writeFile(path, 'two');
    expect(await changes.next()).toBe('two');
  });

  it('is read again after another file was renamed over it', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'one');
    const { watch, changes } = await watching(path);
    await using _ = watch;
    for (const text of ['two', 'three']) {
      await writeFile(`${path}.tmp`, text);
      await rename(`${path}.tmp`, path);
      expect(await changes.next()).toBe(text);
    }
  });

  it('is read again after the symlink swap of a ConfigMap volume', async () => {
    const version = async (name: string, text: string) => {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, 'agent.yaml'), text);
    };
    await version('..2026_01', 'one');
    await symlink('..2026_01', join(folder, '..data'));
    await symlink('..data/agent.yaml', join(folder, 'agent.yaml'));
    const { watch, changes } = await watching(join(folder, 'agent.yaml'));
    await using _ = watch;
    for (const [i, text] of ['two', 'three'].entries()) {
      await version(`..2026_0${i + 2}`, text);
      await symlink(`..2026_0${i + 2}`, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
      expect(await changes.next()).toBe(text);
    }
  });

  it('is read again after an edit in place of the file behind a symlink', async () => {
    const target = join(folder, 'elsewhere', 'agent.yaml');
    await mkdir(join(folder, 'elsewhere'));
    await mkdir(join(folder, 'here'));
    await writeFile(target, 'one');
    await symlink(target, join(folder, 'here', 'agent.yaml'));
    const { watch, changes } = await watching(join(folder, 'here', 'agent.yaml'));
    await using _ = watch;
    await writeFile(target, 'two');
    expect(await changes.next()).toBe('two');
  });

  it('that became bad is reported once and changes nothing; a good one counts again', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'one');
    const { watch, changes, errors } = await watching(path);
    await using _ = watch;
    await writeFile(`${path}.tmp`, 'bad');
    await rename(`${path}.tmp`, path);
    expect(await errors.next()).toBe('invalid');
    await watch.check();
    expect(errors.items).toEqual([]);
    expect(changes.items).toEqual([]);
    await writeFile(path, 'two');
    expect(await changes.next()).toBe('two');
  });

  it('that vanished is reported once, and found again when it comes back', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'one');
    const { watch, changes, errors } = await watching(path);
    await using _ = watch;
    await rm(path);
    expect(await errors.next()).toBe('unreadable');
    await watch.check();
    expect(errors.items).toEqual([]);
    await writeFile(`${path}.tmp`, 'two');
    await rename(`${path}.tmp`, path);
    expect(await changes.next()).toBe('two');
  });

  it('whose folder is made anew is found by the poll, and followed again', async () => {
    const inner = join(folder, 'config');
    const path = join(inner, 'agent.yaml');
    await mkdir(inner);
    await writeFile(path, 'one');
    const { watch, changes } = await watching(path, { pollMs: 30 });
    await using _ = watch;
    await rename(inner, `${inner}-old`);
    await mkdir(inner);
    await writeFile(`${path}.tmp`, 'two');
    await rename(`${path}.tmp`, path);
    expect(await changes.next()).toBe('two');
  });

  it('that differs from the text in use is told at once', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'two');
    const { watch, changes } = await watching(path, { currentText: 'one' });
    await using _ = watch;
    expect(changes.items).toEqual(['two']);
  });

  it('is silent once disposed, and disposing twice is harmless', async () => {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, 'one');
    const { watch, changes } = await watching(path);
    await watch[Symbol.asyncDispose]();
    await writeFile(path, 'two');
    await watch.check();
    await watch[Symbol.asyncDispose]();
    expect(changes.items).toEqual([]);
  });

  it('that is a folder or too large is unreadable', async () => {
    const { watch, errors } = await watching(folder, { currentText: '' });
    await using _ = watch;
    expect(errors.items).toEqual(['unreadable']);
    const path = join(folder, 'large');
    await writeFile(path, 'x'.repeat(300_000));
    const second = await watching(path, { currentText: '' });
    await using __ = second.watch;
    expect(second.errors.items).toEqual(['unreadable']);
  });
});
