import { describe, expect, it } from 'vitest';
import { createRecordingRunner, createRunner, mustRun } from './exec.ts';

describe('the command runner', () => {
  const runner = createRunner({ timeoutMs: 5_000 });

  it('passes input and returns output, errors and the exit code', async () => {
    const result = await runner.run('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'hello' });
    expect(result).toEqual({ stdout: 'hello', stderr: 'err\n', code: 3 });
  });

  it('tells a missing tool from a failing one', async () => {
    await expect(runner.run('no-such-tool-here', [])).rejects.toMatchObject({
      name: 'LinuxError',
      code: 'missing-tool',
    });
    await expect(mustRun(runner, 'sh', ['-c', 'echo why >&2; exit 2'])).rejects.toMatchObject({
      code: 'failed',
      exitCode: 2,
      stderr: 'why',
      command: 'sh -c echo why >&2; exit 2',
    });
  });

  it.each([
    ['Operation not permitted', 'not-permitted', false],
    ['Error: Could not process rule: Operation not supported', 'unsupported', false],
    ['Error: syntax error, unexpected string', 'unsupported', false],
    ['Error: No such file or directory', 'failed', true],
  ])('reads %j as %s', async (stderr, code, retryable) => {
    const fake = createRecordingRunner(() => ({ code: 1, stderr }));
    await expect(mustRun(fake, 'nft', ['x'])).rejects.toMatchObject({ code, retryable });
  });

  it('kills what takes too long, says too much or is no longer wanted', async () => {
    await expect(runner.run('sleep', ['30'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
    const tight = createRunner({ maxOutputBytes: 1_000 });
    await expect(tight.run('yes', [])).rejects.toMatchObject({ code: 'output' });
    await expect(runner.run('sleep', ['30'], { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'aborted',
    });
    await expect(runner.run('sleep', ['30'], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
  });

  it('survives a command that does not read its input', async () => {
    expect((await runner.run('true', [], { input: 'x'.repeat(1_000_000) })).code).toBe(0);
  });
});
