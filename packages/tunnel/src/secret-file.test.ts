import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMeshSecrets, readSecretFile } from './secret-file.ts';

describe('the secret file', () => {
  let folder: string;
  const write = async (text: string) => {
    const path = join(folder, 'psk');
    await writeFile(path, text);
    return path;
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'psk-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('holds one secret a line, white space around it does not count', async () => {
    expect(await readSecretFile(await write('new secret \n\n old\n'))).toEqual(['new secret', 'old']);
  });

  it('says how to make one when it is missing, empty or something else', async () => {
    await expect(readSecretFile(join(folder, 'none'))).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('openssl rand'),
    });
    await expect(readSecretFile(await write(' \n'))).rejects.toMatchObject({ code: 'config', message: /empty/ });
    await expect(readSecretFile(await write('a\nb\nc\nd\ne'))).rejects.toMatchObject({
      code: 'config',
      message: /5 lines/,
    });
  });

  it('cannot be switched off', async () => {
    const path = await write('x');
    await expect(readMeshSecrets({ enable: false, path })).rejects.toMatchObject({
      code: 'config',
      message: /open to everybody/,
    });
  });

  it('gives other secrets under another rendezvous name', async () => {
    const path = await write('x');
    const plain = await readMeshSecrets({ enable: true, path });
    expect(plain).toEqual(['x']);
    const named = await readMeshSecrets({ enable: true, path }, 'factory');
    expect(named).not.toEqual(plain);
    expect(named).toEqual(await readMeshSecrets({ enable: true, path }, 'factory'));
  });
});
