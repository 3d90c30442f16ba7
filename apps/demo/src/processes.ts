import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A step of the demo that did not work: which one, and what to look at. */
export class StepError extends Error {
  override readonly name = 'StepError';
}

export interface DemoProcess {
  readonly name: string;
  readonly pid: number;
  /** Last lines of its output. */
  readonly tail: () => string;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 5_000;
const TAIL_LINES = 15;

/** Path of a built app, seen from this bundle. */
export const builtApp = (app: string, entry = 'main') =>
  fileURLToPath(new URL(`../../${app}/dist/${entry}.js`, import.meta.url));

/** Starts a process and resolves once it prints its ready line. */
export function start(
  name: string,
  ready: RegExp,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<DemoProcess> {
  const child = spawn(process.execPath, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let output = '';
  const tail = () => output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new StepError(`start ${name}: ${why}. Its last lines:\n${tail()}`));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`not ready after ${READY_TIMEOUT_MS / 1000} s`);
    }, READY_TIMEOUT_MS);
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-64 * 1024);
      if (!ready.test(output)) return;
      clearTimeout(timer);
      resolve({ name, pid: child.pid as number, tail, stop: () => stop(child) });
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      fail(`it ended with ${signal ?? `code ${code}`}`);
    });
  });
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
