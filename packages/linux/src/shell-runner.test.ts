import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createShellRunner, type ShellRunner } from './shell-runner.ts';

describe('the shell runner', () => {
  let runner: ShellRunner;
  beforeEach(async () => {
    runner = await createShellRunner({ maxOutputBytes: 100_000 });
  });
  afterEach(() => runner[Symbol.asyncDispose]());

  it('gives output, errors and exit code', async () => {
    expect(await runner.run('sh', ['-c', 'echo out; echo err >&2; exit 3'])).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      code: 3,
    });
  });

  it('passes input and any argument unchanged', async () => {
    const odd = `it's "$HOME" \`id\` ; * \\ \n ü`;
    expect((await runner.run('printf', ['%s', odd])).stdout).toBe(odd);
    expect((await runner.run('cat', [], { input: odd })).stdout).toBe(odd);
  });

  it('runs many commands one after the other, and keeps no files', async () => {
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => runner.run('echo', [String(i)])));
    expect(results.map((result) => result.stdout.trim())).toEqual(Array.from({ length: 20 }, (_, i) => String(i)));
  });

  it('kills what takes too long', async () => {
    await expect(runner.run('sleep', ['10'], { timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
    expect((await runner.run('echo', ['next'])).stdout).toBe('next\n');
  });

  it('stops at an abort, and goes on with another shell', async () => {
    const abort = new AbortController();
    const running = runner.run('sleep', ['10'], { signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    await expect(running).rejects.toMatchObject({ code: 'aborted' });
    expect((await runner.run('echo', ['next'])).stdout).toBe('next\n');
  });

  it('says that a tool is missing, and that output is too long', async () => {
    await expect(runner.run('no-such-tool', [])).rejects.toMatchObject({ code: 'missing-tool' });
    await expect(runner.run('head', ['-c', '200000', '/dev/zero'])).rejects.toMatchObject({ code: 'output' });
  });

  it('leaves no folder behind when its process is killed', async () => {
    const code = `
      import { createShellRunner } from ${JSON.stringify(new URL('./shell-runner.ts', import.meta.url).href)};
      const { stdout } = await (await createShellRunner()).run('sh', ['-c', 'ls -l /proc/$$/fd/1']);
      process.stdout.write(stdout.split(' -> ')[1]);
      setInterval(() => {}, 1_000);`;
    const child = spawn(process.execPath, ['--conditions=@edgemesh/source', '--input-type=module', '-e', code]);
    const [output] = (await once(child.stdout, 'data')) as [Buffer];
    const folder = dirname(output.toString().trim());
    expect(folder).toContain('edgemesh-run-');
    expect(existsSync(folder)).toBe(true);
    child.kill('SIGKILL');
    await expect.poll(() => existsSync(folder), { timeout: 5_000 }).toBe(false);
  });

  it('leaves no process and no folder behind', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('edgemesh-run-'));
    const other = await createShellRunner();
    const { stdout } = await other.run('sh', ['-c', 'echo $PPID']);
    await other[Symbol.asyncDispose]();
    expect(
      readdirSync(tmpdir())
        .filter((name) => name.startsWith('edgemesh-run-'))
        .sort(),
    ).toEqual(before.sort());
    await expect.poll(() => existsSync(`/proc/${stdout.trim()}`)).toBe(false);
    await expect(other.run('true', [])).rejects.toMatchObject({ code: 'aborted' });
  });
});
