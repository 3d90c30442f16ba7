import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from './errors.ts';
import { LAB_DEFAULTS } from './options.ts';
import { type PollOptions, pollUntil } from './poll.ts';

/** What a finished command left. `code` is 128 + signal number where a signal ended it, -1 where the time limit did. */
export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

export interface ExecOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs a command to its end. Never rejects for a failing command: look at `code`. Output is bounded. */
export async function execCommand(
  command: string,
  args: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
  });
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let bytes = 0;
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > LAB_DEFAULTS.maxOutputBytes) child.kill('SIGKILL');
      else chunks[name].push(chunk);
    });
  }
  // The command may exit before it has read its input; its exit code tells more than EPIPE.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, options.timeoutMs ?? LAB_DEFAULTS.execTimeoutMs);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    const text = (name: 'stdout' | 'stderr') => Buffer.concat(chunks[name]).toString();
    return { stdout: text('stdout'), stderr: text('stderr'), code: timedOut ? -1 : (code ?? signalCode(signal)) };
  } catch (error) {
    throw new LabError('command', `cannot start ${command}`, error);
  } finally {
    clearTimeout(timer);
  }
}

function signalCode(signal: NodeJS.Signals | null): number {
  return signal === 'SIGKILL' ? 137 : signal === 'SIGTERM' ? 143 : 128;
}

/** As {@link execCommand}, but a non-zero exit is a LabError with the command's stderr. */
export async function mustExec(command: string, args: readonly string[], options: ExecOptions = {}): Promise<string> {
  const result = await execCommand(command, args, options);
  if (result.code !== 0) {
    throw new LabError(
      'command',
      `${command} ${args.join(' ')} exited with ${result.code}: ${result.stderr.slice(0, 2000)}`,
    );
  }
  return result.stdout;
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A long-running process in a namespace. */
export interface LabProcess extends AsyncDisposable {
  readonly pid: number;
  /** Complete lines so far, stdout and stderr as they came. */
  readonly lines: readonly string[];
  /** Resolves with the exit code (128 + signal where a signal ended it). */
  readonly exited: Promise<number>;
  readonly running: boolean;
  write(text: string): void;
  /** Waits for a line, also one that was printed before. Fails at once when the process ends without it. */
  waitForLine(pattern: RegExp | string, options?: PollOptions): Promise<string>;
  /** Waits until the predicate holds for the lines so far. */
  waitFor(predicate: (lines: readonly string[]) => boolean, options?: PollOptions): Promise<void>;
  /** Signals the process by its own pid. */
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, after a grace period SIGKILL; resolves with the exit code. */
  kill(signal?: NodeJS.Signals): Promise<number>;
}

/** Starts a process and collects its lines. */
export function spawnProcess(command: string, args: readonly string[], options: SpawnOptions = {}): LabProcess {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...process.env, ...options.env } }),
  });
  const lines: string[] = [];
  collectLines(child, lines);
  child.stdin?.on('error', () => undefined);
  let running = true;
  const exited = new Promise<number>((resolve) => {
    child.once('error', (error) => {
      running = false;
      lines.push(`cannot start ${command}: ${error.message}`);
      resolve(127);
    });
    const done = (code: number | null, signal: NodeJS.Signals | null) => {
      running = false;
      resolve(code ?? signalCode(signal));
    };
    child.once('close', done);
    // Children of its own may hold the pipes open: what they say late is not worth waiting for.
    child.once('exit', (code, signal) => setTimeout(done, LAB_DEFAULTS.lateOutputMs, code, signal).unref());
  });
  const said = () => `, last lines:\n${lines.slice(-20).join('\n')}`;
  const waitFor: LabProcess['waitFor'] = async (predicate, wait = {}) => {
    const what = wait.what ?? `${command} (${args.join(' ')})`;
    const found = await pollUntil(() => (predicate(lines) ? 'yes' : running ? undefined : 'ended'), {
      ...wait,
      what,
    }).catch((error: unknown) => {
      throw new LabError('timeout', `${String(error)}${said()}`, error);
    });
    if (found === 'ended') throw new LabError('command', `${what} ended before it said what was awaited${said()}`);
  };
  const kill: LabProcess['kill'] = async (signal = 'SIGTERM') => {
    if (!running) return exited;
    child.kill(signal);
    const stop = new AbortController();
    const late = delay(LAB_DEFAULTS.killGraceMs, undefined, { signal: stop.signal }).then(
      () => child.kill('SIGKILL'),
      () => false,
    );
    const code = await exited;
    stop.abort();
    await late;
    return code;
  };
  return {
    pid: child.pid ?? -1,
    lines,
    exited,
    get running() {
      return running;
    },
    write: (text) => void child.stdin?.write(text),
    waitFor,
    async waitForLine(pattern, wait = {}) {
      const matches = (line: string) => (typeof pattern === 'string' ? line.includes(pattern) : pattern.test(line));
      await waitFor((all) => all.some(matches), { what: `a line like ${String(pattern)}`, ...wait });
      return lines.find(matches) as string;
    },
    signal: (signal) => void child.kill(signal),
    kill,
    [Symbol.asyncDispose]: async () => void (await kill()),
  };
}

function collectLines(child: ChildProcess, lines: string[]): void {
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream?.setEncoding('utf8');
    stream?.on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() as string;
      lines.push(...parts);
      if (lines.length > LAB_DEFAULTS.maxLines) lines.splice(0, lines.length - LAB_DEFAULTS.maxLines);
    });
    stream?.on('end', () => {
      if (rest !== '') lines.push(rest);
    });
  }
}
