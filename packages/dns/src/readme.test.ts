import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const folder = fileURLToPath(new URL('..', import.meta.url));

it('has a README whose example runs', async () => {
  const readme = await readFile(`${folder}README.md`, 'utf8');
  const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] as string;
  const file = `${folder}test/readme-example-${process.pid}.ts`;
  await writeFile(file, code);
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=@edgemesh/source', file]);
    expect(stdout).toContain("address: '127.0.0.1'");
    expect(stdout).toContain("domains: [ 'cluster.local.' ]");
  } finally {
    await rm(file);
  }
});
