import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { LinuxError, type LinuxErrorCode } from './errors.ts';
import { LINUX_DEFAULTS } from './options.ts';

/** What a finished command left. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit code; 128 where a signal that we did not send ended it. */
  readonly code: number;
}

export interface RunOptions {
  /** Text for stdin; a long one in pieces, which are made while they are written. */
  readonly input?: string | Iterable<string>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Port: runs one command to its end. Rejects only when it could not run to its end; a non-zero code is a result. */
export interface Runner {
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>;
}

export interface RunnerOptions {
  /** Runs everything inside this network namespace (tests). Default: where the process is. */
  readonly netns?: string;
  readonly timeoutMs?: number;
  readonly maxOutputBytes?: number;
}

/** The runner of the machine: spawns without a shell, with a time limit and bounded output. */
export function createRunner(options: RunnerOptions = {}): Runner {
  const prefix = options.netns === undefined ? [] : ['ip', 'netns', 'exec', options.netns];
  const maxOutputBytes = options.maxOutputBytes ?? LINUX_DEFAULTS.maxOutputBytes;
  return {
    run(command, args, run = {}) {
      const [file, ...rest] = [...prefix, command, ...args] as [string, ...string[]];
      const timeoutMs = run.timeoutMs ?? options.timeoutMs ?? LINUX_DEFAULTS.commandTimeoutMs;
      // As a whole before anything is started: a command must never see the half of it.
      const input = textOf(run.input) ?? '';
      return collect(`${command} ${args.join(' ')}`, spawn(file, rest), { ...run, input, timeoutMs, maxOutputBytes });
    },
  };
}

interface CollectOptions extends RunOptions {
  readonly input: string;
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
}

function collect(command: string, child: ChildProcessWithoutNullStreams, options: CollectOptions): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    let killedFor: LinuxErrorCode | undefined;
    const kill = (reason: LinuxErrorCode) => {
      killedFor ??= reason;
      child.kill('SIGKILL');
    };
    const abort = () => kill('aborted');
    const timer = setTimeout(() => kill('timeout'), options.timeoutMs);
    const done = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
    };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > options.maxOutputBytes) kill('output');
        else output[name].push(chunk);
      });
    }
    child.once('error', (cause: NodeJS.ErrnoException) => {
      done();
      const code = cause.code === 'ENOENT' ? 'missing-tool' : 'failed';
      reject(new LinuxError(code, `cannot start ${command}: ${cause.message}`, { command, cause }));
    });
    child.once('close', (code) => {
      done();
      const stderr = Buffer.concat(output.stderr).toString();
      if (killedFor !== undefined) {
        reject(new LinuxError(killedFor, `${command} was killed: ${killedFor}`, { command, stderr }));
      } else resolve({ stdout: Buffer.concat(output.stdout).toString(), stderr, code: code ?? 128 });
    });
    // A command may exit before it has read its input; its exit code tells more than EPIPE.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    if (options.signal?.aborted) abort();
    else options.signal?.addEventListener('abort', abort, { once: true });
  });
}

const textOf = (input: RunOptions['input']): string | undefined =>
  input === undefined || typeof input === 'string' ? input : [...input].join('');

/** Runs a command that must succeed; a non-zero exit becomes a LinuxError that says which command failed and why. */
export async function mustRun(
  runner: Runner,
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const result = await runner.run(command, args, options);
  if (result.code === 0) return result;
  const line = `${command} ${args.join(' ')}`;
  const stderr = result.stderr.trim();
  throw new LinuxError(codeOf(result), `${line} failed (${result.code}): ${stderr.slice(0, 500) || 'no message'}`, {
    command: line,
    stderr,
    exitCode: result.code,
  });
}

function codeOf(result: RunResult): LinuxErrorCode {
  if (/not permitted|permission denied/i.test(result.stderr)) return 'not-permitted';
  if (/exec of .* failed|command not found/i.test(result.stderr)) return 'missing-tool';
  if (/not supported|syntax error|unknown (type|expression)|invalid type/i.test(result.stderr)) return 'unsupported';
  return 'failed';
}

/** One call that a recording runner has seen. */
export interface RecordedCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly input?: string;
}

/** A runner that does nothing but remember. */
export interface RecordingRunner extends Runner {
  readonly calls: readonly RecordedCall[];
  /** Forgets the calls so far. */
  clear(): void;
}

/** The fake: every call succeeds silently unless `answer` says otherwise (a partial result, or something to throw). */
export function createRecordingRunner(
  answer: (call: RecordedCall) => Partial<RunResult> | Error | undefined = () => undefined,
): RecordingRunner {
  const calls: RecordedCall[] = [];
  return {
    calls,
    clear: () => void calls.splice(0),
    async run(command, args, options = {}) {
      const input = textOf(options.input);
      const call = { command, args, ...(input === undefined ? {} : { input }) };
      calls.push(call);
      const given = answer(call);
      if (given instanceof Error) throw given;
      return { stdout: '', stderr: '', code: 0, ...given };
    },
  };
}
