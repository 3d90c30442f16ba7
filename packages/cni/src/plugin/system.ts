import { execFile } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname } from 'node:path';
import { CniError } from '../errors.ts';
import { CNI_DEFAULTS } from '../options.ts';
import type { Execute, Files, HostNetwork, PluginPorts } from '../ports.ts';

/** NSFS_MAGIC and PROC_SUPER_MAGIC, linux/magic.h. */
const NSFS_MAGIC = 0x6e736673;
const PROC_MAGIC = 0x9fa0;

export interface SystemPortsOptions {
  readonly commandTimeoutMs?: number;
}

/** The ports of a real machine. */
export function createSystemPorts(options: SystemPortsOptions = {}): PluginPorts {
  const timeout = options.commandTimeoutMs ?? CNI_DEFAULTS.commandTimeoutMs;
  return { execute: createExecute(timeout), files: systemFiles, network: systemNetwork };
}

function createExecute(timeout: number): Execute {
  return (command, args, options = {}) =>
    new Promise((resolve, reject) => {
      const limits = { timeout, killSignal: 'SIGKILL', maxBuffer: CNI_DEFAULTS.maxOutputBytes } as const;
      const env = options.env === undefined ? {} : { env: options.env };
      const child = execFile(command, args, { ...limits, ...env }, (error, stdout, stderr) => {
        // A number is an exit code, a text the name of a system error: it did not run, or not to its end.
        const code = error === null ? 0 : error.code;
        if (typeof code === 'number') resolve({ stdout, stderr, code });
        else {
          const why = error?.killed ? `took longer than ${timeout} ms` : (error?.message ?? 'ended by a signal');
          reject(new CniError('command', `${command} did not run: ${why}`, { cause: error }));
        }
      });
      // It may end before it has read everything; its exit code says more than EPIPE.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input ?? '');
    });
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/** Runs a file operation; `fallback` where the file is not there, CniError `io` otherwise. */
function orElse<T>(what: string, fallback: T, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return fallback;
    throw new CniError('io', `${what}: ${(cause as Error).message}`, { cause });
  }
}

let temporary = 0;

/** Writes the whole text beside its destination. */
function writeBeside(path: string, text: string): string {
  const beside = `${dirname(path)}/.${process.pid}.${temporary++}`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(beside, text, { mode: 0o600 });
  return beside;
}

const systemFiles: Files = {
  read: (path) => orElse(`reading ${path}`, undefined, () => readFileSync(path, 'utf8')),
  list: (folder) => orElse(`listing ${folder}`, [], () => readdirSync(folder)),
  create(path, text) {
    return orElse(`creating ${path}`, false, () => {
      const beside = writeBeside(path, text);
      try {
        linkSync(beside, path);
        return true;
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return false;
        throw error;
      } finally {
        unlinkSync(beside);
      }
    });
  },
  replace: (path, text) => orElse(`writing ${path}`, undefined, () => renameSync(writeBeside(path, text), path)),
  remove: (path) => orElse(`removing ${path}`, undefined, () => unlinkSync(path)),
  exists: existsSync,
  isNamespace: (path) =>
    orElse(`looking at ${path}`, false, () => {
      const { type } = statfsSync(path);
      return type === NSFS_MAGIC || type === PROC_MAGIC;
    }),
  set(setting, value) {
    try {
      writeFileSync(`/proc/sys/${setting}`, value);
      return true;
    } catch {
      return false; // no such setting, or set by somebody who may
    }
  },
  findProgram(folders, name) {
    for (const folder of folders) {
      const path = `${folder}/${name}`;
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // The next folder may have it.
      }
    }
    return undefined;
  },
};

const systemNetwork: HostNetwork = {
  link(name) {
    const found = networkInterfaces()[name];
    return found === undefined || found.length === 0
      ? undefined
      : { addresses: found.map(({ address }) => address), mac: found[0]?.mac ?? '' };
  },
};
