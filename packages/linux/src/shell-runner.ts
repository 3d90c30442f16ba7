import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LinuxError } from './errors.ts';
import type { Runner, RunOptions, RunResult } from './exec.ts';
import { LINUX_DEFAULTS } from './options.ts';

export interface ShellRunnerOptions {
  readonly timeoutMs?: number;
  readonly maxOutputBytes?: number;
}

/** A runner that must be disposed of: it keeps a process and a folder. */
export interface ShellRunner extends Runner, AsyncDisposable {}

/**
 * A runner that starts commands from one long-lived shell. Forking the agent itself copies its page tables and stops the
 * event loop for about 15 ms at 150 MB (measured), every few seconds for the heartbeat; the shell is a megabyte. Input and
 * output go through files in a private folder, so nothing but quoted arguments passes the shell. One command at a time.
 */
export async function createShellRunner(options: ShellRunnerOptions = {}): Promise<ShellRunner> {
  const folder = await mkdtemp(join(tmpdir(), 'edgemesh-run-')); // mode 0700
  return new ShellRunnerImpl(folder, options);
}

class ShellRunnerImpl implements ShellRunner {
  readonly #folder: string;
  readonly #options: ShellRunnerOptions;
  #shell: ChildProcessWithoutNullStreams | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #disposed = false;

  constructor(folder: string, options: ShellRunnerOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#shell = this.#start();
  }

  run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const result = this.#queue.then(() => this.#runNow(command, args, options));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #runNow(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
    const line = `${command} ${args.join(' ')}`;
    if (this.#disposed || options.signal?.aborted)
      throw new LinuxError('aborted', `${line} was not started`, { command: line });
    const base = join(this.#folder, String(this.#nextId++));
    const files = { in: `${base}.in`, out: `${base}.out`, err: `${base}.err` };
    try {
      if (options.input !== undefined) await writeFile(files.in, options.input);
      const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? LINUX_DEFAULTS.commandTimeoutMs;
      const input = options.input === undefined ? '/dev/null' : files.in;
      const words = ['timeout', '-s', 'KILL', String(timeoutMs / 1000), command, ...args].map(quote).join(' ');
      const code = await this.#ask(
        `${words} <${quote(input)} >${quote(files.out)} 2>${quote(files.err)}`,
        line,
        options.signal,
      );
      return await this.#collect(line, code, files);
    } finally {
      await Promise.all(Object.values(files).map((file) => rm(file, { force: true })));
    }
  }

  async #collect(
    command: string,
    code: number,
    files: { readonly out: string; readonly err: string },
  ): Promise<RunResult> {
    const stderr = (await readFile(files.err, 'utf8')).slice(0, 64 * 1024);
    if (code === 137) throw new LinuxError('timeout', `${command} was killed: timeout`, { command, stderr });
    if (code === 127) throw new LinuxError('missing-tool', `cannot start ${command}: not found`, { command, stderr });
    const { size } = await stat(files.out);
    if (size > (this.#options.maxOutputBytes ?? LINUX_DEFAULTS.maxOutputBytes)) {
      throw new LinuxError('output', `${command} printed ${size} bytes`, { command, stderr });
    }
    return { stdout: await readFile(files.out, 'utf8'), stderr, code };
  }

  /** Has the shell run one line; resolves with its exit code. A shell that dies is replaced by the next command. */
  #ask(line: string, command: string, signal: AbortSignal | undefined): Promise<number> {
    this.#shell ??= this.#start();
    const shell = this.#shell;
    return new Promise((resolve, reject) => {
      let answer = '';
      const fail = (code: 'failed' | 'aborted', why: string) => () => {
        done();
        this.#stop(shell);
        reject(new LinuxError(code, `${command}: ${why}`, { command }));
      };
      const onClose = fail('failed', 'the shell that runs commands ended');
      const onAbort = fail('aborted', 'aborted');
      const onData = (chunk: Buffer) => {
        answer += chunk.toString();
        if (!answer.endsWith('\n')) return;
        done();
        resolve(Number(answer));
      };
      const done = () => {
        shell.stdout.off('data', onData);
        shell.off('close', onClose);
        signal?.removeEventListener('abort', onAbort);
      };
      shell.stdout.on('data', onData);
      shell.once('close', onClose);
      signal?.addEventListener('abort', onAbort, { once: true });
      shell.stdin.write(`${line}; echo $?\n`);
    });
  }

  #start(): ChildProcessWithoutNullStreams {
    // A process group of its own: stopping it takes the running command along.
    const shell = spawn('/bin/sh', ['-s'], { detached: true });
    // Its input ends with this process, however that dies: nothing is left in the temporary folder then.
    shell.stdin.write(`trap ${quote(`rm -rf ${quote(this.#folder)}`)} EXIT\n`);
    shell.on('error', () => this.#forget(shell)); // 'close' follows and ends the command that waits
    shell.on('close', () => this.#forget(shell));
    shell.stdin.on('error', () => this.#forget(shell));
    shell.stderr.resume();
    shell.unref();
    return shell;
  }

  #forget(shell: ChildProcessWithoutNullStreams): void {
    if (this.#shell === shell) this.#shell = undefined;
  }

  #stop(shell: ChildProcessWithoutNullStreams): void {
    this.#forget(shell);
    try {
      if (shell.pid !== undefined) process.kill(-shell.pid, 'SIGKILL');
    } catch {
      // It has ended by itself meanwhile.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    await this.#queue;
    this.#disposed = true;
    if (this.#shell !== undefined) this.#stop(this.#shell);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A word for the shell, whatever it contains. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
