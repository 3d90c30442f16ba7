import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './run.ts';

describe('a server that cannot start', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'server-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('names every wrong key with its path', async () => {
    const file = join(folder, 'config.yaml');
    await writeFile(file, 'kind: EdgeMeshServer\nlisten: nowhere\nrelay:\n  maxCircuits: many\n');
    const failed = run(['--config-file', file], {});
    await expect(failed).rejects.toThrow(/listen/);
    await expect(failed).rejects.toThrow(/relay\.maxCircuits/);
  });

  it('says how to make the secret that is missing', async () => {
    const args = ['--psk-file', join(folder, 'none'), '--data-dir', folder, '--listen', '127.0.0.1:0'];
    await expect(run(args, {})).rejects.toThrow(/openssl rand/);
  });

  it('shows its usage for unknown flags', async () => {
    await expect(run(['--nonsense'], {})).rejects.toThrow(/usage: edgemesh-server/);
  });
});
